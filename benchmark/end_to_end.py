"""
The classifier as a process on real DDS, training by itself: a camera of 640 x 480, an operator.

Correction -> first prediction by an adapter that knows it, of the newest image (renewed) or of the
next one, and of the next one alone; prediction latency (image published -> prediction sent) idle,
while fine-tunings run back to back, and while another process computes as long and as often, in
blocks that take turns; frames lost; CPU share by number of cameras; resident memory over many
retrainings. Uses the harness of the node tests.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
import contextlib
from functools import partial
import json
import os
from pathlib import Path
import random
import subprocess
import sys
import tempfile
import time
from typing import Any

from builtin_interfaces.msg import Time
import numpy as np
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from benchmark.cells import ROOT
from instantft_ros.demo.belt import STATION
from instantft_ros.msg import Correction
from instantft_ros.nodes import qos

sys.path.insert(0, str(ROOT / 'test' / 'nodes'))
from harness import Process, resident_mb, Robot, robot

RATE_HZ = 30.0
DIFFERENT_IMAGES = 200

#: What goes on beside the predictions.
STATES = ('idle', 'training', 'other work')


class Bench:
    """A robot with a filled cache, its camera, and what was measured on it."""

    def __init__(self, robot: Robot, samples: int) -> None:
        self._robot, self._samples = robot, samples
        self._images = [robot.image(index) for index in range(DIFFERENT_IMAGES)]
        self._index = 0
        self._received_s: dict[int, float] = {}
        self._sent_ms: dict[int, float] = {}
        self._latency_ms: dict[int, float] = {}
        self._next_image_s = 0.0
        self._renewed = 0, 0.0  # the cache version of the last renewed prediction, when it came
        keep = robot._keep_prediction

        def received(prediction: Any, info: Any) -> None:
            keep(prediction)
            index = prediction.header.stamp.sec
            self._received_s[index] = time.monotonic()
            # when the classifier sent it: this client's own queue is no part of the latency
            self._latency_ms[index] = info['source_timestamp'] / 1e6 - self._sent_ms[index]

        from instantft_ros.msg import Prediction
        robot.node.create_subscription(Prediction, 'predictions', received, qos.predictions())
        robot.node.create_subscription(Prediction, 'renewed_predictions', self._keep_renewed,
                                       qos.predictions())
        self.classifier = robot.start_classifier(
            cache_capacity=samples + 2000, ring_frames=samples + 1000, holdout_share=0.1,
            min_corrections=1_000_000, max_wait_s=1e6,
            guard_tolerance=1.0)  # few images, many times: not what a gate is made for

    def fill(self) -> None:
        """Show and correct as many frames as the cache is to hold, then train once."""
        for number in range(self._samples):
            index = self._publish()
            self._robot.wait(lambda index=index: index in self._received_s)
            self._correct(index)
            if number % 1000 == 999:
                print(f'  {number + 1} of {self._samples} samples', flush=True)
        self._robot.wait(lambda: self._robot.status.cache_samples == self._samples, 60.0)
        self._set(min_corrections=1)
        self._robot.wait(lambda: self._robot.status.trainings >= 1)

    def blocks(self, count: int, seconds: float) -> dict[str, Any]:
        """Take turns: idle, fine-tunings back to back, and as much work of another process."""
        reactions: list[tuple[float, float]] = []
        latencies: dict[str, list[float]] = {state: [] for state in STATES}
        in_node: dict[str, list[float]] = {state: [] for state in STATES}
        first = self._index + 1

        def watch(state: str, do: Callable[[], None]) -> int:
            begin, end_s, done = self._index + 1, time.monotonic() + seconds, 0
            while time.monotonic() < end_s:
                do()
                done += 1
            block = range(begin, self._index + 1)
            self._settle(block)
            latencies[state] += [self._latency_ms[index] for index in block
                                 if index in self._latency_ms]
            in_node[state] += [self._robot.predictions[index].latency_ms
                               for index in block if index in self._received_s]
            return done

        for _ in range(count):
            watch('idle', self._spin_once)
            trainings = watch('training', lambda: reactions.append(self._react()))
            busy_s = self._robot.status.train_ms / 1e3
            with _other_work(busy_s, max(seconds / trainings - busy_s, 0.0), seconds):
                watch('other work', self._spin_once)
        frames = range(first, self._index + 1)
        first_s, next_image_s = np.array(reactions).T
        p99 = {state: float(np.percentile(each, 99)) for state, each in latencies.items()}
        return {
            'retrainings': len(reactions),
            'reaction_ms_p50': 1e3 * float(np.percentile(first_s, 50)),
            'reaction_ms_p99': 1e3 * float(np.percentile(first_s, 99)),
            'next_image_ms_p50': 1e3 * float(np.percentile(next_image_s, 50)),
            'next_image_ms_p99': 1e3 * float(np.percentile(next_image_s, 99)),
            'latency_ms_p50': {state: float(np.median(each)) for state, each in latencies.items()},
            'in_node_ms_p99': {state: float(np.percentile(each, 99))
                               for state, each in in_node.items()},
            'latency_ms_p99': p99, 'latency_ratio_while_training': p99['training'] / p99['idle'],
            'latency_ratio_other_work': p99['other work'] / p99['idle'],
            'frames': len(frames),
            'frames_lost': sum(index not in self._received_s for index in frames),
            'refused': self._robot.status.trainings_refused,
            'failed': self._robot.status.trainings_failed,
            'train_ms': self._robot.status.train_ms,
        }

    def _keep_renewed(self, prediction: Any) -> None:
        self._renewed = prediction.adapter_cache_version, time.monotonic()

    def _react(self) -> tuple[float, float]:
        """
        Correct a frame that was just seen; gives seconds to predictions that know of it.

        To the first of all, and to the first of an image that came later.
        """
        pause_end_s = time.monotonic() + random.random() / RATE_HZ  # any phase of the camera
        while time.monotonic() < pause_end_s:
            self._spin_once(pause_end_s)
        index = max(self._received_s)
        started_s = time.monotonic()
        name = self._correct(index)
        limit_s, first_s = started_s + 10.0, float('inf')
        while time.monotonic() < limit_s:
            self._spin_once()
            ack = self._robot.acks.get(name)
            if ack is None:
                continue
            if self._renewed[0] >= ack.cache_version:
                first_s = min(first_s, self._renewed[1] - started_s)
            newest = self._robot.predictions[max(self._received_s)]
            if newest.adapter_cache_version >= ack.cache_version:
                next_image_s = self._received_s[newest.header.stamp.sec] - started_s
                return min(first_s, next_image_s), next_image_s
        raise RuntimeError(f'a correction had no effect within 10 s: {self._robot.status}')

    def _spin_once(self, until_s: float = float('inf')) -> None:
        now_s = time.monotonic()
        if now_s >= self._next_image_s:
            self._publish()
            # after a pause the rhythm begins anew: a real camera never sends two at once
            on_time = now_s - self._next_image_s < 1.0 / RATE_HZ
            self._next_image_s = (self._next_image_s if on_time else now_s) + 1.0 / RATE_HZ
        self._robot.executor.spin_once(
            timeout_sec=max(0.0, min(self._next_image_s, until_s) - now_s))

    def _publish(self) -> int:
        self._index += 1
        image = self._images[self._index % DIFFERENT_IMAGES]
        image.header.stamp = Time(sec=self._index)
        self._sent_ms[self._index] = time.time_ns() / 1e6
        self._robot.images.publish(image)
        return self._index

    def _correct(self, index: int) -> str:
        name = f'{index}'
        message = Correction(id=name, stamp=Time(sec=index), camera='camera', operator_id='bench',
                             class_id=self._robot.belt.label(index % DIFFERENT_IMAGES))
        message.header.stamp = Time(sec=1_000_000 + index)
        self._robot.corrections.publish(message)
        return name

    def _settle(self, block: range) -> None:
        """Take in what is still under way; what is not here after 2 s is lost."""
        end_s = time.monotonic() + 2.0
        while time.monotonic() < end_s and any(i not in self._received_s for i in block):
            self._robot.executor.spin_once(timeout_sec=0.01)

    def _set(self, **values: int) -> None:
        parameters = [Parameter(name=name, value=ParameterValue(
            type=ParameterType.PARAMETER_INTEGER, integer_value=value))
            for name, value in values.items()]
        done = self._robot.call(SetParameters, 'classifier/set_parameters', parameters=parameters)
        assert all(each.successful for each in done.results), done


def cpu_shares(robot: Robot, cameras: int, seconds: float) -> float:
    """Give the share of one core that the classifier takes, idle, with cameras of 30 Hz each."""
    names = [f'camera{number}' for number in range(cameras)]
    topics = {f'{name}.topic': f'{name}/image' for name in names}
    regions = {f'{name}.region': list(STATION) for name in names}
    publishers = [robot.node.create_publisher(Image, topic, qos.images('reliable', 5))
                  for topic in topics.values()]
    process = robot.start('classifier', cameras=names, **topics, **regions)
    robot.wait(lambda: all(each.get_subscription_count() for each in publishers))
    image, ticks = robot.image(0), os.sysconf('SC_CLK_TCK')
    used, started_s = _cpu_ticks(process), time.monotonic()
    number = 0
    while time.monotonic() - started_s < seconds:
        number += 1
        image.header.stamp = Time(sec=number)
        for publisher in publishers:
            publisher.publish(image)
        next_s = started_s + number / RATE_HZ
        while (left_s := next_s - time.monotonic()) > 0:
            robot.executor.spin_once(timeout_sec=left_s)
    return (_cpu_ticks(process) - used) / ticks / (time.monotonic() - started_s)


def memory(robot: Robot, retrainings: int) -> dict[str, Any]:
    """Give the resident memory of the node, MB, after 1 and after many retrainings."""
    classifier = robot.start_classifier()
    for index in range(50):
        robot.show(index)
        robot.correct(index)
    robot.wait(lambda: robot.status.corrections_pending == 0)
    result: dict[str, Any] = {'retrainings': retrainings}
    done = robot.status.trainings
    for number in range(1, retrainings + 1):
        robot.wait(lambda: robot.call(Trigger, 'classifier/retrain').success)
        robot.wait(lambda number=number: robot.status.trainings >= done + number)
        if number in (1, retrainings):
            result[f'classifier_mb_after_{number}'] = resident_mb(classifier.pid)
        if number % 250 == 0:
            print(f'  {number} of {retrainings} retrainings', flush=True)
    return result


@contextlib.contextmanager
def _other_work(busy_s: float, rest_s: float, total_s: float) -> Iterator[None]:
    with subprocess.Popen([sys.executable, '-m', 'benchmark.other_work', str(busy_s), str(rest_s),
                           str(total_s)], cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline() == b'ready\n'
        yield
        process.terminate()


def _cpu_ticks(process: Process) -> int:
    fields = Path(f'/proc/{process.pid}/stat').read_text().rsplit(')', 1)[1].split()
    return int(fields[11]) + int(fields[12])


def with_robot(work: Callable[[Robot], Any]) -> Any:
    """Do something with a fresh robot."""
    with tempfile.TemporaryDirectory() as folder, robot(Path(folder)) as made:
        return work(made)


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, required=True)
    parser.add_argument('--quick', action='store_true')
    args = parser.parse_args()
    random.seed(0)

    def session(samples: int, blocks: int) -> dict[str, Any]:
        print(f'end to end: a cache of {samples}', flush=True)

        def work(robot: Robot) -> dict[str, Any]:
            bench = Bench(robot, samples)
            bench.fill()
            return bench.blocks(blocks, 6.0)

        result: dict[str, Any] = with_robot(work)
        return result

    results: dict[str, Any] = {'caches': {}}
    for samples in (1024,) if args.quick else (1024, 128, 8192):
        results['caches'][str(samples)] = session(samples, 2 if args.quick else 5)
    if not args.quick:
        results['cpu_share'] = {}
        for cameras in (1, 2, 4):
            print(f'end to end: {cameras} cameras', flush=True)
            results['cpu_share'][str(cameras)] = with_robot(
                partial(cpu_shares, cameras=cameras, seconds=8.0))
        print('memory', flush=True)
        results['memory'] = with_robot(lambda robot: memory(robot, 1000))
    args.out.write_text(json.dumps(results, indent=1) + '\n')


if __name__ == '__main__':
    main()
