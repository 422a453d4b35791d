"""The demo's monitor: shows what happens while it happens, and writes the summary."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import sys
import time

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from instantft_ros.core import messages
from instantft_ros.demo import report
from instantft_ros.demo.world_parameters import WorldParameters
from instantft_ros.msg import Correction, CorrectionAck, Label, Prediction, Status
from instantft_ros.nodes import qos
from instantft_ros.nodes.parameters import parameter, Parameters

#: Silence after the last frame that is waited for before the summary is made, seconds.
SETTLE_S = 1.5

#: Without a first frame for this long the demo has failed, seconds.
START_S = 30.0


@dataclass(frozen=True)
class MonitorParameters:
    """Where the results go."""

    out: str = parameter('out/demo', 'folder for summary.json and accuracy.png')
    adapters: str = parameter('out/demo/adapters', 'where the classifier writes its adapters')


class DemoMonitor(Node):
    """Listens only; `log` is complete when `finished` is true."""

    def __init__(self) -> None:
        super().__init__('demo_monitor')
        self.world = Parameters(self, WorldParameters, 'world.').value
        self.parameters = Parameters(self, MonitorParameters).value
        self.log = report.Log()
        self.status: Status | None = None
        self._belt = self.world.belt()
        self._start_ns: int | None = None
        self._last_s = time.monotonic()
        self._sent_s: dict[str, float] = {}
        self._unseen: list[tuple[int, float]] = []
        self._recent: list[bool] = []
        self.create_subscription(Label, 'labels', self._on_label, qos.predictions())
        self.create_subscription(Prediction, 'predictions', self._on_prediction,
                                 qos.predictions())
        self.create_subscription(Correction, 'corrections', self._on_correction,
                                 qos.corrections())
        self.create_subscription(CorrectionAck, 'correction_acks', self._on_ack,
                                 qos.corrections())
        self.create_subscription(Status, 'status', self._on_status, qos.status())

    @property
    def finished(self) -> bool:
        """Whether the belt has stopped and everything that follows from it has been seen."""
        done = self.log.frames_published >= self.world.frames
        return done and time.monotonic() - self._last_s > SETTLE_S

    @property
    def failed(self) -> str:
        """Why nothing more can come, empty while all is well."""
        waited_s = time.monotonic() - self._last_s
        if self._start_ns is None:
            return '' if waited_s < START_S else f'no frame was published within {START_S:.0f} s'
        return '' if waited_s < START_S else f'nothing came for {START_S:.0f} s'

    def line(self) -> str:
        """Say in one line how things stand."""
        if self._start_ns is None or self.status is None:
            return 'waiting for the camera'
        elapsed_s = self.log.frames_published / self.world.rate_hz
        tilt = self.world.tilt_deg * self._belt.drift.progress(elapsed_s)
        recent = self._recent[-90:]
        accuracy = f'{np.mean(recent):4.0%}' if recent else '   -'
        retrained = f'{self.log.retrain_ms[-1]:4.0f} ms' if self.log.retrain_ms else '   -   '
        bar = '#' * round(20 * float(np.mean(recent or [False])))
        return (f'{elapsed_s:4.0f} s  tilt {tilt:3.0f} deg  accuracy {accuracy} [{bar:20}]  '
                f'corrections {len(self.log.corrections_s):3d}  '
                f'adapter {self.status.adapter_version:3d}  retrained in {retrained}')

    def _elapsed_s(self, stamp_ns: int) -> float:
        return (stamp_ns - (self._start_ns or stamp_ns)) / 1e9

    def _on_label(self, label: Label) -> None:
        stamp_ns = messages.nanoseconds(label.header.stamp)
        if self._start_ns is None:
            self._start_ns = stamp_ns
        self.log.frames_published += 1
        self._last_s = time.monotonic()

    def _on_prediction(self, prediction: Prediction) -> None:
        now_s = self._last_s = time.monotonic()
        if self._start_ns is None:
            return
        elapsed_s = self._elapsed_s(messages.nanoseconds(prediction.header.stamp))
        index = round(elapsed_s * self.world.rate_hz)
        before = self.log.seen[-1].version if self.log.seen else 0
        if prediction.adapter_version != before:
            self.log.swaps_s.append(elapsed_s)
        self.log.seen.append(report.Seen(index, prediction.adapter_version,
                                         np.array(prediction.scores, np.float32)))
        self._recent.append(prediction.class_id == self._belt.label(index))
        known = [each for each in self._unseen if each[0] <= prediction.adapter_cache_version]
        for unseen in known:
            self.log.correction_to_prediction_ms.append(1e3 * (now_s - unseen[1]))
            self._unseen.remove(unseen)

    def _on_correction(self, correction: Correction) -> None:
        self._sent_s[correction.id] = time.monotonic()
        self.log.corrections_s.append(
            self._elapsed_s(messages.nanoseconds(correction.header.stamp)))

    def _on_ack(self, ack: CorrectionAck) -> None:
        sent_s = self._sent_s.pop(ack.correction_id, None)
        if sent_s is not None and ack.accepted and ack.frames:
            self._unseen.append((ack.cache_version, sent_s))

    def _on_status(self, status: Status) -> None:
        if self.status is not None and status.trainings > self.status.trainings:
            self.log.retrain_ms.append(status.round_trip_ms)
        self.status = status
        self.log.node = {key: getattr(status, key) for key in (
            'images_received', 'images_superseded', 'images_stale', 'images_rejected',
            'predictions', 'trainings', 'trainings_failed', 'trainings_refused')}


def main() -> int:
    """Run the node until the belt has stopped; 0 when a summary was written."""
    rclpy.init()
    try:
        node = DemoMonitor()
        problem = _watch(node)
        if problem:
            print(f'\nthe demo failed: {problem}', file=sys.stderr)
            return 1
        return _finish(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    finally:
        rclpy.try_shutdown()


def _watch(node: DemoMonitor) -> str:
    """Show progress, on a terminal in one line, else a line every five seconds."""
    live, shown_s = sys.stdout.isatty(), 0.0
    while not node.finished and not node.failed:
        rclpy.spin_once(node, timeout_sec=0.1)
        now_s = time.monotonic()
        if now_s - shown_s >= (0.5 if live else 5.0):
            shown_s = now_s
            print(f'\r{node.line()}' if live else node.line(), end='' if live else '\n',
                  flush=True)
    if live:
        print()
    if node.finished and node.log.corrections_s and not node.log.node['trainings']:
        return 'no fine-tuning succeeded; see the logs of classifier and accelerator'
    return '' if node.finished else node.failed


def _finish(node: DemoMonitor) -> int:
    print('checking every prediction against its adapter version', flush=True)
    out = Path(node.parameters.out)
    out.mkdir(parents=True, exist_ok=True)
    checked = report.check(node.log, node.world, Path(node.parameters.adapters))
    figures = report.summary(node.log, checked, node.world)
    report.write(out, node.log, checked, node.world, figures)
    print(f'\n{report.table(figures)}\n\n  {out}/summary.json  {out}/accuracy.png', flush=True)
    return 0
