"""
Four compressed cameras of 640 x 480 at 30 Hz, and corrections at 10,000 a second, for a minute.

Each party is a process of its own on real DDS, on the loopback: classifier, cameras,
operator, and this one, which listens. Prints, and writes to out/bench/flood.json, what a robot's
owner asks: how late predictions are, whether a queue grows, and whether every correction was
acknowledged or counted.
"""

from __future__ import annotations

import argparse
from array import array
from collections.abc import Callable
from contextlib import closing
import json
import os
from pathlib import Path
import subprocess
import sys
import tempfile
import time
from typing import Any

from builtin_interfaces.msg import Time
import cv2
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage

from benchmark.cells import ROOT
from instantft_ros.demo.belt import Belt, Drift
from instantft_ros.demo.run import command, loopback_environment, stop
from instantft_ros.msg import Correction, CorrectionAck, Prediction, Status
from instantft_ros.nodes import qos
from instantft_ros.nodes.correction_queue import CAPACITY

sys.path.insert(0, str(ROOT / 'test' / 'nodes'))
from harness import resident_mb

CAMERAS, RATE_HZ, CORRECTIONS_HZ = 4, 30.0, 10_000.0

#: Corrections per burst of the operator: it sleeps between two.
BURST = 50

#: How long the cameras go on at most after the last correction, seconds.
CAMERAS_STAY_S = 60.0

#: What must hold (p99 of the age of a frame when its prediction is sent, milliseconds).
AGE_LIMIT_MS = 100.0


def main() -> int:
    """Run it all; an exit code that says whether everything held."""
    parser = argparse.ArgumentParser(prog='python -m benchmark.flood', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=float, default=60.0,
                        help='how long the flood lasts (default: %(default)s)')
    parser.add_argument('--rate', type=float, default=CORRECTIONS_HZ,
                        help='corrections a second (default: %(default)s)')
    parser.add_argument('--out', type=Path, default=ROOT / 'out/bench/flood.json')
    parser.add_argument('--party', choices=('cameras', 'operator'), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.party == 'cameras':
        return _cameras(args.seconds)
    if args.party == 'operator':
        return _operator(args.seconds, args.rate)
    result = _listen(args.seconds, args.rate)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + '\n')
    for key, value in result.items():
        print(f'{key:34} {value}')
    return 0 if all(result['held'].values()) else 1


class _Listener(Node):
    """Counts everything that comes out of the classifier."""

    def __init__(self) -> None:
        super().__init__('listener')
        self.ages_ms: list[float] = []
        self.acks = 0
        self.statuses: list[Status] = []
        self.create_subscription(Prediction, 'predictions', self._on_prediction,
                                 qos.predictions())
        # as bytes: reading each would make this process the slowest
        self._acks = self.create_subscription(CorrectionAck, 'correction_acks', self._on_ack,
                                              QoSProfile(depth=100_000), raw=True)
        self.create_subscription(Status, 'status', self.statuses.append, qos.status())

    def _on_prediction(self, prediction: Prediction) -> None:
        self.ages_ms.append(prediction.age_ms)

    def _on_ack(self, ack: bytes) -> None:
        self.acks += 1
        subscription: Any = self._acks
        with subscription.handle:
            while subscription.handle.take_message(subscription.msg_type, True):
                self.acks += 1


def _listen(seconds: float, rate: float) -> dict[str, Any]:
    environment = loopback_environment(os.environ)
    os.environ |= environment
    folder = Path(tempfile.mkdtemp())
    names = [f'camera_{index}' for index in range(CAMERAS)]
    settings: dict[str, Any] = {'cameras': f'[{", ".join(names)}]'} | {
        f'{name}.topic': f'{name}/compressed' for name in names}
    me = [sys.executable, '-m', 'benchmark.flood', '--seconds', str(seconds), '--rate', str(rate)]
    lines = {'classifier': command('classifier', settings),
             'cameras': [*me, '--party', 'cameras'], 'operator': [*me, '--party', 'operator']}
    processes = {}
    rclpy.init(domain_id=int(environment['ROS_DOMAIN_ID']))
    listener, executor = _Listener(), SingleThreadedExecutor()
    executor.add_node(listener)
    try:
        for name, line in lines.items():
            if name == 'operator':
                _wait(executor, lambda: len(listener.ages_ms) > 2 * RATE_HZ
                      and listener.count_publishers('correction_acks') == 1)
            with (folder / f'{name}.log').open('wb') as log:
                processes[name] = subprocess.Popen(line, stdout=log, stderr=subprocess.STDOUT,
                                                   env=environment, cwd=ROOT)
        limit_s = time.monotonic() + seconds + 90.0
        told_s = time.monotonic()
        queued = []
        while processes['operator'].poll() is None and time.monotonic() < limit_s:
            executor.spin_once(timeout_sec=0.1)
            if listener.statuses and time.monotonic() - told_s > 5.0:
                told_s = time.monotonic()
                status = listener.statuses[-1]
                queued.append(int(status.corrections_queued))
                print(f'{status.predictions} predictions, {status.corrections_accepted} '
                      f'corrections accepted, {status.corrections_rejected} rejected, '
                      f'{status.corrections_dropped} dropped, {status.corrections_queued} wait, '
                      f'{status.trainings} trainings', flush=True)
        sent = int((folder / 'operator.log').read_text().split()[-1])
        ages = np.array(listener.ages_ms)
        _drain(listener, executor, sent)
        return _result(listener, ages, queued, sent, seconds, processes['classifier'].pid)
    finally:
        stop(processes)
        executor.shutdown()
        listener.destroy_node()
        rclpy.shutdown()


def _drain(listener: _Listener, executor: SingleThreadedExecutor, sent: int) -> None:
    """Wait until what waits has been handled, at the latest a while after the last image."""
    def done() -> bool:
        status = listener.statuses[-1]
        return (_handled(status) + status.corrections_dropped >= sent
                and listener.acks >= _handled(status))

    _wait(executor, done, CAMERAS_STAY_S + 30.0)


def _wait(executor: SingleThreadedExecutor, condition: Callable[[], bool],
          patience_s: float = 30.0) -> None:
    limit_s = time.monotonic() + patience_s
    while not condition() and time.monotonic() < limit_s:
        executor.spin_once(timeout_sec=0.1)


def _handled(status: Status) -> int:
    return int(status.corrections_accepted + status.corrections_rejected)


def _result(listener: _Listener, ages_ms: np.ndarray, queued: list[int], sent: int,
            seconds: float, classifier: int) -> dict[str, Any]:
    status = listener.statuses[-1]
    memory_mb = int(resident_mb(classifier))
    p99 = float(np.percentile(ages_ms, 99))
    return {
        'seconds': seconds, 'cameras': CAMERAS, 'corrections_sent': sent,
        'corrections_per_second': round(sent / seconds),
        'corrections_handled': _handled(status),
        'corrections_dropped_and_counted': int(status.corrections_dropped),
        'acknowledgements': listener.acks,
        'images_received': int(status.images_received), 'predictions': int(status.predictions),
        'images_superseded': int(status.images_superseded),
        'age_ms_p50': round(float(np.median(ages_ms)), 2), 'age_ms_p99': round(p99, 2),
        'age_ms_max': round(float(ages_ms.max()), 2),
        'corrections_waiting_over_time': queued, 'trainings': int(status.trainings),
        'trainings_failed': int(status.trainings_failed), 'classifier_rss_mb': memory_mb,
        'held': {
            'p99 of the age below 100 ms': p99 <= AGE_LIMIT_MS,
            'every correction acknowledged or counted':
                _handled(status) + int(status.corrections_dropped) == sent
                and listener.acks >= _handled(status),
            'no queue grows': max(queued, default=0) <= CAPACITY
                and int(status.corrections_queued) == 0,
        },
    }


def _cameras(seconds: float) -> int:
    """Publish JPEG images of four belts, evenly spread in time, until the operator has ended."""
    rclpy.init()
    node = Node('cameras')
    publishers = [node.create_publisher(CompressedImage, f'camera_{index}/compressed',
                                        qos.images('best_effort', 5)) for index in range(CAMERAS)]
    belts = [Belt(seed=index, drift=Drift(start_s=-1.0, end_s=-1.0), dwell=1)
             for index in range(CAMERAS)]
    images = [[array('B', cv2.imencode('.jpg', belt.frame(number))[1].tobytes())
               for number in range(60)] for belt in belts]
    period_s = 1.0 / RATE_HZ / CAMERAS
    next_s, end_s = time.monotonic(), time.monotonic() + seconds + CAMERAS_STAY_S
    number = 0
    while time.monotonic() < end_s:
        time.sleep(max(next_s - time.monotonic(), 0.0))
        next_s += period_s
        camera = number % CAMERAS
        message = CompressedImage(format='jpeg', data=images[camera][number // CAMERAS % 60])
        message.header.stamp = node.get_clock().now().to_msg()
        publishers[camera].publish(message)
        number += 1
    return 0


def _operator(seconds: float, rate: float) -> int:
    """Say all kinds of things of recent frames, as fast as asked; print how many they were."""
    rclpy.init()
    node = Node('flooding_operator')
    with closing(_Flood(node)) as flood:
        limit_s = time.monotonic() + 60.0
        while flood.listeners == 0 and time.monotonic() < limit_s:
            time.sleep(0.1)
        begin_s = time.monotonic()
        while time.monotonic() - begin_s < seconds:
            flood.burst()
            time.sleep(max(begin_s + flood.sent / rate - time.monotonic(), 0.0))
        print(flood.sent, flush=True)
        time.sleep(2.0)  # let the last ones leave
    return 0


class _Flood:
    """Corrections of every kind: good, contradicting, late, of unknown classes, of windows."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(Correction, 'corrections',
                                                QoSProfile(depth=100_000))
        self._rng = np.random.default_rng(1)
        self.sent = 0

    @property
    def listeners(self) -> int:
        return int(self._publisher.get_subscription_count())

    def burst(self) -> None:
        """Send `BURST` of them."""
        now_ns = self._node.get_clock().now().nanoseconds
        for draw in self._rng.integers(0, 1 << 30, BURST).tolist():
            kind = draw % 20
            stamp_ns = now_ns - 10**7 * (draw % 1000)  # up to ten seconds ago
            message = Correction(
                camera=f'camera_{draw % CAMERAS}', class_id=draw // 20 % 10,
                selector=Correction.NEAREST,
                stamp=Time(sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9))
            if kind == 0:
                message.class_name = 'nobody knows it'
            elif kind == 1:
                message.stamp = Time(sec=5)
            elif kind == 2:
                message.selector = Correction.LATEST
            elif kind == 3:
                message.operation = Correction.RETRACT
            elif kind == 4:
                message.camera = 'nowhere'
            self._publisher.publish(message)
        self.sent += BURST

    def close(self) -> None:
        """Leave."""
        self._node.destroy_node()
        rclpy.shutdown()


if __name__ == '__main__':
    sys.exit(main())
