"""The demo's camera: publishes the belt's frames, and what they really show."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

from rclpy.node import Node
from sensor_msgs.msg import Image

from instantft_ros.core.manifest import Manifest
from instantft_ros.demo.belt import HEIGHT, WIDTH
from instantft_ros.demo.world_parameters import WorldParameters
from instantft_ros.models import DEFAULT_MANIFEST
from instantft_ros.msg import Label
from instantft_ros.nodes import conversions, qos
from instantft_ros.nodes.managed_node import run
from instantft_ros.nodes.parameters import parameter, Parameters


@dataclass(frozen=True)
class DemoCameraParameters:
    """When to start."""

    listeners: int = parameter(0, 'subscribers of `labels` to wait for', low=0, high=100)


class DemoCamera(Node):
    """
    Starts when someone subscribes to its images, and all listeners to its labels.

    Frame i has the stamp start + i / rate_hz, so that its number can be told from its stamp.
    """

    def __init__(self) -> None:
        super().__init__('demo_camera')
        self._world = Parameters(self, WorldParameters, 'world.').value
        self._settings = Parameters(self, DemoCameraParameters).value
        self._belt = self._world.belt()
        self._class_names = Manifest.load(DEFAULT_MANIFEST).classes
        self._images = self.create_publisher(Image, 'image_raw', qos.images('best_effort', 5))
        self._labels = self.create_publisher(Label, 'labels', qos.predictions())
        self._index = 0
        self._start_ns = 0
        self._timer = self.create_timer(1.0 / self._world.rate_hz, self._publish)

    def _publish(self) -> None:
        if self._index == 0:
            if self._images.get_subscription_count() == 0 \
                    or self._labels.get_subscription_count() < self._settings.listeners:
                return
            self._start_ns = self.get_clock().now().nanoseconds
        index = self._index
        self._index += 1
        stamp = conversions.stamp(self._start_ns + round(index * 1e9 / self._world.rate_hz))
        image = Image(height=HEIGHT, width=WIDTH, encoding='bgr8', step=3 * WIDTH,
                      data=array('B', self._belt.frame(index).tobytes()))
        image.header.stamp, image.header.frame_id = stamp, 'camera'
        class_id = self._belt.label(index)
        self._labels.publish(Label(
            header=image.header, camera='camera', class_id=class_id,
            class_name=self._class_names[class_id], object_id=1 + index // self._belt.dwell))
        self._images.publish(image)
        if self._index == self._world.frames:
            self._timer.cancel()
            self.get_logger().info(f'the belt has stopped after {self._index} frames')


def main() -> int:
    """Run the node."""
    return run(DemoCamera)
