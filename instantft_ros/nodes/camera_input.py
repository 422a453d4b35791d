"""One camera's subscription: the newest image wins, and those it overtakes are counted."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image

#: Called with the camera's name, the newest image, and how many older ones it overtook.
OnImage = Callable[[str, 'Image | CompressedImage', int], None]


class CameraInput:
    """
    Subscribes to a camera's topic; a name that ends in `/compressed` carries CompressedImage.

    Images that arrived while the node was busy are all taken before one is handled, so that
    a slow moment is followed by the newest image and not by a backlog.
    """

    def __init__(self, node: LifecycleNode, camera: str, topic: str, qos: QoSProfile,
                 on_image: OnImage) -> None:
        self._node, self._camera, self._on_image = node, camera, on_image
        kind = CompressedImage if topic.endswith('/compressed') else Image
        self._subscription = node.create_subscription(kind, topic, self._newest_of, qos)

    @property
    def topic(self) -> str:
        """The topic's full name, after remapping."""
        return str(self._subscription.topic_name)

    def _newest_of(self, message: Image | CompressedImage) -> None:
        superseded = 0
        subscription = self._subscription
        with subscription.handle:
            while (taken := subscription.handle.take_message(subscription.msg_type, False)):
                message, superseded = taken[0], superseded + 1
        self._on_image(self._camera, message, superseded)

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)
