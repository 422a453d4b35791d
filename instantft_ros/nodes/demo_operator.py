"""The demo's operator: knows what is on the belt and corrects some wrong predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from rclpy.node import Node
from rclpy.time import Time

from instantft_ros.core import messages
from instantft_ros.demo.world_parameters import WorldParameters
from instantft_ros.msg import Correction, CorrectionAck, Label, Prediction
from instantft_ros.nodes import conversions, qos
from instantft_ros.nodes.managed_node import run
from instantft_ros.nodes.parameters import parameter, Parameters


@dataclass(frozen=True)
class OperatorParameters:
    """How fast the operator is."""

    rate_hz: float = parameter(2.0, 'corrections a second, at most', low=0.01, high=100.0)
    reaction_s: float = parameter(0.8, 'median time from a wrong prediction to its correction',
                                  low=0.0, high=60.0)


@dataclass
class _Garment:
    """What the operator remembers of one garment."""

    label: Label
    first_ns: int
    last_ns: int


class DemoOperator(Node):
    """Corrects the garment as a whole: every frame in which it lay under the camera."""

    def __init__(self) -> None:
        super().__init__('demo_operator')
        self._world = Parameters(self, WorldParameters, 'world.').value
        self._settings = Parameters(self, OperatorParameters).value
        self._rng = np.random.default_rng(self._world.seed)
        self._garments: dict[int, _Garment] = {}
        self._objects: dict[int, int] = {}
        self._start_ns: int | None = None
        self._free_at_ns = 0
        self._sent = 0
        self._due: list[tuple[int, int]] = []
        self._corrections = self.create_publisher(Correction, 'corrections', qos.corrections())
        self.create_subscription(Label, 'labels', self._on_label, qos.predictions())
        self.create_subscription(Prediction, 'predictions', self._on_prediction,
                                 qos.predictions())
        self.create_subscription(CorrectionAck, 'correction_acks', self._on_ack,
                                 qos.corrections())
        self.create_timer(0.01, self._send_due)

    def _on_label(self, label: Label) -> None:
        stamp_ns = messages.nanoseconds(label.header.stamp)
        if self._start_ns is None:
            self._start_ns = stamp_ns
        self._objects[stamp_ns] = label.object_id
        garment = self._garments.setdefault(label.object_id, _Garment(label, stamp_ns, stamp_ns))
        garment.last_ns = stamp_ns

    def _on_prediction(self, prediction: Prediction) -> None:
        stamp_ns = messages.nanoseconds(prediction.header.stamp)
        object_id = self._objects.pop(stamp_ns, None)
        if object_id is None or self._start_ns is None:
            return
        garment = self._garments[object_id]
        since_s = (stamp_ns - self._start_ns) / 1e9
        if prediction.class_id == garment.label.class_id or stamp_ns < self._free_at_ns \
                or since_s < self._world.operator_start_s:
            return
        reaction_s = self._settings.reaction_s * float(self._rng.lognormal(0.0, 0.25))
        self._due.append((self._now_ns() + int(1e9 * reaction_s), object_id))
        self._free_at_ns = stamp_ns + int(1e9 / self._settings.rate_hz)

    def _send_due(self) -> None:
        now_ns = self._now_ns()
        for _, object_id in [due for due in self._due if due[0] <= now_ns]:
            garment = self._garments[object_id]
            self._sent += 1
            correction = Correction(
                id=f'demo-{self._sent}', operator_id=self.get_name(), camera=garment.label.camera,
                selector=Correction.WINDOW, stamp=conversions.stamp(garment.first_ns),
                stamp_end=conversions.stamp(garment.last_ns),
                class_name=garment.label.class_name)
            correction.header.stamp = Time(nanoseconds=now_ns).to_msg()
            self._corrections.publish(correction)
        self._due = [due for due in self._due if due[0] > now_ns]

    def _on_ack(self, ack: CorrectionAck) -> None:
        if not ack.accepted and ack.operator_id == self.get_name():
            self.get_logger().warning(f'{ack.correction_id}: {ack.reason}')

    def _now_ns(self) -> int:
        return int(self.get_clock().now().nanoseconds)


def main() -> int:
    """Run the node."""
    return run(DemoOperator)
