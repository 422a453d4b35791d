"""One camera's subscription: the newest image wins, and those it overtakes are counted."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.lifecycle import LifecycleNode
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from instantft_ros.nodes import qos, silent_camera
from instantft_ros.nodes.silent_camera import Offer

#: Called with the camera's name, the newest image, and how many older ones it overtook.
OnImage = Callable[[str, 'Image | CompressedImage', int], None]


class CameraInput:
    """
    Subscribes to a camera's topic; a name that ends in `/compressed` carries CompressedImage.

    reliability: 'best_effort', 'reliable', or 'auto': what the publishers offer, looked up again
    as they come and go. Images that arrived while the node was busy are all taken before one is
    handled, so that a slow moment is followed by the newest image and not by a backlog.
    """

    def __init__(self, node: LifecycleNode, camera: str, topic: str, reliability: str, depth: int,
                 on_image: OnImage) -> None:
        self._node, self._camera, self._on_image = node, camera, on_image
        self._name, self._depth = topic, depth
        self._auto = reliability == 'auto'
        self._kind = CompressedImage if topic.endswith('/compressed') else Image
        self._subscribe('best_effort' if self._auto else reliability)
        self.follow_publishers()

    @property
    def topic(self) -> str:
        """The topic's full name, after remapping."""
        return str(self._subscription.topic_name)

    def follow_publishers(self) -> None:
        """Subscribe anew where another reliability fits the publishers better; once a second."""
        if self._auto and (wanted := silent_camera.reliability_for(self._offers())) \
                != self.reliability:
            self.close()
            self._subscribe(wanted)

    def why_silent(self) -> str:
        """Say why no image may be arriving, and what to do."""
        image_topics = [name for name, types in self._node.get_topic_names_and_types()
                        if {silent_camera.IMAGE, silent_camera.COMPRESSED} & set(types)
                        and any(info.node_name != self._node.get_name()  # not our annotated ones
                                for info in self._node.get_publishers_info_by_topic(name))]
        kind = (silent_camera.COMPRESSED if self._kind is CompressedImage else
                silent_camera.IMAGE)
        return silent_camera.reason(self.topic, kind, self.reliability, self._offers(),
                                    image_topics)

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self, reliability: str) -> None:
        self.reliability = reliability
        self._subscription = self._node.create_subscription(
            self._kind, self._name, self._newest_of, qos.images(reliability, self._depth))

    def _offers(self) -> list[Offer]:
        return [Offer(f'{info.node_namespace.rstrip("/")}/{info.node_name}', info.topic_type,
                      ReliabilityPolicy(info.qos_profile.reliability).name.lower())
                for info in self._node.get_publishers_info_by_topic(self.topic)]

    def _newest_of(self, message: Image | CompressedImage) -> None:
        superseded = 0
        subscription = self._subscription
        with subscription.handle:
            while (taken := subscription.handle.take_message(subscription.msg_type, False)):
                message, superseded = taken[0], superseded + 1
        self._on_image(self._camera, message, superseded)
