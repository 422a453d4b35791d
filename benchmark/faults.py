"""
A campaign of faults against real nodes: what must hold, and whether it held.

`make faults` runs every fault of this file, each on nodes of its own over DDS on the loopback (or
on the files that such a node left), and writes out/faults/report.json. The nodes are those of the
package, nothing in them is replaced; only the accelerator is sometimes one that misbehaves.
"""

from __future__ import annotations

import argparse
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
import json
import os
from pathlib import Path
import random
import resource
import shutil
import sys
import tempfile
import threading
import time
import traceback
from typing import Any

from builtin_interfaces.msg import Duration, Time
import cv2
import numpy as np
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool, Trigger

from benchmark.cells import ROOT
from instantft_ros.action import FineTune
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.backbone import Backbone
from instantft_ros.core.errors import InstantFTError
from instantft_ros.core.forward_cache import ForwardCache
from instantft_ros.demo.belt import Belt, Drift, STATION
from instantft_ros.models import DEFAULT_MANIFEST
from instantft_ros.msg import Correction, CorrectionAck
from instantft_ros.nodes import qos
from instantft_ros.nodes.state_keeper import StateKeeper
from instantft_ros.training import replay

sys.path.insert(0, str(ROOT / 'test' / 'nodes'))
from harness import Robot
from harness import robot as make_robot
from test_failing_accelerators import FakeAccelerator, good

OUT = ROOT / 'out/faults'
KILLS = 50


@dataclass(frozen=True)
class Fault:
    """A fault: its name, what must hold, and how it is brought about; raises when it did not."""

    name: str
    must_hold: str
    run: Callable[[Path], None]


FAULTS: list[Fault] = []


def fault(name: str, must_hold: str) -> Callable[[Callable[[Path], None]], Callable[..., None]]:
    """Add a function to the campaign."""
    def add(run: Callable[[Path], None]) -> Callable[..., None]:
        FAULTS.append(Fault(name, must_hold, run))
        return run

    return add


@contextmanager
def predicting(folder: Path, **parameters: Any) -> Iterator[Robot]:
    """Give a robot that predicts, and check at the end that it still does."""
    with make_robot(folder) as robot:
        robot.start_classifier(**parameters)
        robot.show(1)
        yield robot
        classifier = next(each for each in robot.processes if 'classifier' in each.log.name)
        assert classifier.alive, 'the classifier has ended'
        assert robot.show(999_999).scores, 'no prediction any more'
        assert 'Traceback' not in classifier.log.read_text(), classifier.log.read_text()[-2000:]


# images

def _image(**changes: Any) -> Image:
    fields = {'encoding': 'mono8', 'width': 640, 'height': 480, 'step': 640,
              'data': array('B', bytes(640 * 480))} | changes
    return Image(**fields)


def _png(width: int = 32, height: int = 24) -> bytes:
    picture = np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)
    return cv2.imencode('.png', picture)[1].tobytes()


def _claiming() -> bytes:
    data = bytearray(_png())
    at = data.index(b'IDAT') - 4
    data[at:at + 4] = (2**31 - 1).to_bytes(4, 'big')
    return bytes(data)


def _huge() -> bytes:
    data = bytearray(_png())
    data[16:24] = (60_000).to_bytes(4, 'big') * 2
    return bytes(data)


IMAGES: dict[str, Image] = {
    'an unknown encoding': _image(encoding='nonsense'),
    'no encoding': _image(encoding=''),
    'a width of zero': _image(width=0),
    'a width of four billion': _image(width=2**32 - 1),
    'rows shorter than the image is wide': _image(step=1),
    'rows of four billion bytes': _image(step=2**32 - 1),
    'no data': _image(data=array('B')),
    'data that is cut off': _image(data=array('B', bytes(1000))),
    'an image smaller than the region': _image(width=4, height=4, step=4,
                                               data=array('B', bytes(16))),
}

COMPRESSED: dict[str, bytes] = {
    'a JPEG that is cut off': cv2.imencode('.jpg', np.zeros((64, 64, 3), np.uint8))[1].tobytes()[
        :200],
    'a PNG whose chunk claims two gigabytes': _claiming(),
    'a PNG of 60,000 x 60,000 pixels by its header': _huge(),
    'bytes that are no image': b'this is no image',
    'an empty compressed image': b'',
}


def _add_images() -> None:
    for name, image in IMAGES.items():
        def raw(folder: Path, image: Image = image) -> None:
            with predicting(folder) as robot:
                robot.images.publish(image)
                robot.wait(lambda: robot.status.images_rejected == 1)
        fault(f'image: {name}', 'it is rejected and counted, the next one is predicted')(raw)
    for name, data in COMPRESSED.items():
        def packed(folder: Path, data: bytes = data) -> None:
            with make_robot(folder) as robot:
                images = robot.node.create_publisher(CompressedImage, 'image_raw/compressed',
                                                     qos.images('reliable', 5))
                robot.start_classifier(images, **{'camera.topic': 'image_raw/compressed',
                                                  'camera.region': [0, 0, 0, 0]})
                images.publish(CompressedImage(format='png', data=array('B', data)))
                robot.wait(lambda: robot.status.images_rejected == 1)
                good = CompressedImage(format='png', data=array('B', _png()))
                good.header.stamp.sec = 7
                images.publish(good)
                robot.wait(lambda: 7 in robot.predictions)
        fault(f'image: {name}', 'it is rejected and counted, the next one is predicted')(packed)


_add_images()


# stamps and clocks

def _show(robot: Robot, stamp: Time) -> None:
    message = robot.image(3)
    message.header.stamp = stamp
    robot.predictions.clear()
    robot.images.publish(message)
    robot.wait(lambda: stamp.sec in robot.predictions)


@fault('stamps that repeat', 'a correction names the newest image with that stamp')
def _repeating(folder: Path) -> None:
    with predicting(folder) as robot:
        for _ in range(3):
            _show(robot, Time(sec=5))
        assert robot.correct(5).frames == 1


@fault('a clock that jumps back by a year', 'no frame is lost, corrections of both times count')
def _backwards(folder: Path) -> None:
    with predicting(folder) as robot:
        for second in (40_000_000, 40_000_001, 100, 101):
            _show(robot, Time(sec=second))
        assert robot.correct(40_000_000).accepted and robot.correct(101).accepted


@fault('a clock that jumps forward by a year', 'corrections of both times count')
def _forwards(folder: Path) -> None:
    with predicting(folder) as robot:
        for second in (100, 40_000_000):
            _show(robot, Time(sec=second))
        assert robot.correct(100).accepted and robot.correct(40_000_000).accepted


@fault('stamps of zero and before 1970', 'they are names like others')
def _before_time(folder: Path) -> None:
    with predicting(folder) as robot:
        for second in (0, -5):
            _show(robot, Time(sec=second))
            assert robot.correct(second, class_id=3).accepted


# corrections

CORRECTIONS: dict[str, tuple[dict[str, Any], int]] = {
    'of a frame that has left the ring': ({'stamp': Time(sec=-9)}, CorrectionAck.LATE),
    'of a frame that was never seen': ({'stamp': Time(sec=77)}, CorrectionAck.UNKNOWN_FRAME),
    'of an unknown camera': ({'camera': 'nowhere'}, CorrectionAck.UNKNOWN_CAMERA),
    'of an unknown region': ({'region': 'nowhere'}, CorrectionAck.UNKNOWN_REGION),
    'with an unknown class': ({'class_name': 'nothing'}, CorrectionAck.UNKNOWN_CLASS),
    'with a class name of 100,000 characters': ({'class_name': 'x' * 100_000},
                                                CorrectionAck.UNKNOWN_CLASS),
    'with a class id of two billion': ({'class_id': 2**31 - 1}, CorrectionAck.UNKNOWN_CLASS),
    'with a selector that does not exist': ({'selector': 200}, CorrectionAck.MALFORMED),
    'with an operation that does not exist': ({'operation': 200}, CorrectionAck.MALFORMED),
    'of a window that ends before it starts': (
        {'selector': Correction.WINDOW, 'stamp_end': Time(sec=-7)}, CorrectionAck.MALFORMED),
    'with a negative tolerance': (
        {'selector': Correction.NEAREST, 'tolerance': Duration(sec=-1)}, CorrectionAck.MALFORMED),
    'that retracts what nobody said': ({'operation': Correction.RETRACT},
                                       CorrectionAck.NOT_LABELLED),
}


def _add_corrections() -> None:
    for name, (fields, verdict) in CORRECTIONS.items():
        def wrong(folder: Path, fields: dict[str, Any] = fields, verdict: int = verdict) -> None:
            with predicting(folder) as robot:
                ack = robot.correct(1, **fields)
                assert ack.verdict == verdict and ack.reason and not ack.accepted, ack
                assert robot.correct(1).accepted
        fault(f'a correction {name}', 'it is refused with its reason, the next one counts')(wrong)


_add_corrections()


@fault('a correction that comes twice', 'the second one changes nothing')
def _twice(folder: Path) -> None:
    with predicting(folder) as robot:
        robot.correct(1)
        assert robot.correct(1).verdict == CorrectionAck.DUPLICATE


@fault('contradicting corrections in the wrong order', 'the one that was issued last stands')
def _contradiction(folder: Path) -> None:
    with predicting(folder) as robot:
        early = Correction().header
        early.stamp.sec = 5
        assert robot.correct(1, class_id=2).accepted
        assert robot.correct(1, class_id=3, header=early).verdict == CorrectionAck.SUPERSEDED


@fault('twenty thousand corrections at once', 'each is acknowledged or counted, images go first')
def _flood(folder: Path) -> None:
    with predicting(folder, min_corrections=1_000_000, max_wait_s=1e6) as robot:
        flood = robot.node.create_publisher(Correction, 'corrections', QoSProfile(depth=30_000))
        robot.wait(lambda: flood.get_subscription_count() == 1)
        for number in range(20_000):
            flood.publish(Correction(stamp=Time(sec=1), class_id=number % 10))
        robot.show(5)
        robot.wait(lambda: robot.status.corrections_accepted + robot.status.corrections_rejected
                   + robot.status.corrections_dropped == 20_000, 60.0)


def _with_replay_of_the_belt(folder: Path) -> Path:
    """Give the network a replay file of the robot's own camera (doc/on_your_robot.md)."""
    for path in DEFAULT_MANIFEST.parent.iterdir():
        if path.is_file():
            shutil.copy(path, folder / path.name)
    belt, (x, y, width, height) = Belt(seed=9, drift=Drift(1e9, 1e9), dwell=1), STATION
    images = np.stack([cv2.resize(belt.frame(index)[y:y + height, x:x + width], (112, 112),
                                  interpolation=cv2.INTER_AREA) for index in range(300)])
    labels = np.array([belt.label(index) for index in range(300)])
    replay.write(folder / 'manifest.json', images, labels, per_class=16)
    return folder / 'manifest.json'


@fault('everything is corrected to one class', 'no adapter that forgets the others goes live, '
       'where the replay images are of the same camera')
def _one_class(folder: Path) -> None:
    manifest = _with_replay_of_the_belt(folder)
    with predicting(folder, min_corrections=1_000_000, max_wait_s=1e6,
                    manifest=str(manifest)) as robot:
        robot.belt = Belt(seed=3, drift=Drift(1e9, 1e9), dwell=1)
        before = robot.accuracy(range(200, 300))
        robot.accuracy(range(2, 130))
        for index in range(2, 130):
            assert robot.correct(index, class_id=4).accepted
        robot.call(Trigger, 'classifier/retrain')
        robot.wait(lambda: robot.status.trainings + robot.status.trainings_refused == 1)
        assert robot.accuracy(range(200, 300)) > before - 0.3, robot.status.last_event


# the accelerator

@contextmanager
def _fake(robot: Robot, answer: Callable[[Any], Any]) -> Iterator[FakeAccelerator]:
    accelerator = FakeAccelerator(robot, answer)
    try:
        yield accelerator
    finally:
        accelerator.close()


ANSWERS: dict[str, Callable[[Any], Any]] = {
    'that fails': lambda goal: FineTune.Result(status=FineTune.Result.FAILED, message='broken'),
    'that finds the job invalid': lambda goal: FineTune.Result(status=FineTune.Result.INVALID,
                                                               message='too large'),
    'that never holds the cache': lambda goal: FineTune.Result(
        status=FineTune.Result.CACHE_MISMATCH, message='I have nothing'),
    'that answers NaN': lambda goal: good(goal, b=array('f', [float('nan')] * len(goal.b))),
    'that answers infinity': lambda goal: good(goal, a=array('f', [float('inf')] * len(goal.a))),
    'that answers too few weights': lambda goal: good(goal, b=array('f', [0.0])),
    'that answers garbage': lambda goal: good(goal, b=array('f', (50 * np.random.default_rng(
        1).normal(size=len(goal.b))).astype(np.float32))),
    'that answers a status that does not exist': lambda goal: good(goal, status=99),
}


def _add_accelerators() -> None:
    for name, answer in ANSWERS.items():
        def bad(folder: Path, answer: Callable[[Any], Any] = answer) -> None:
            with predicting(folder, trainer='accelerator', retry_s=0.05) as robot, \
                    _fake(robot, answer):
                robot.wait(lambda: robot.status.accelerator_ready)
                assert robot.correct(1).accepted
                robot.wait(lambda: robot.status.trainings_failed
                           + robot.status.trainings_refused >= 1)
                assert robot.show(2).adapter_version == 0
                assert any('fine-tuning failed' in each.message or 'refused' in each.message
                           for each in _diagnostics(robot))
        fault(f'an accelerator {name}', 'no wrong adapter goes live, the diagnostics say why')(bad)


def _diagnostics(robot: Robot) -> list[Any]:
    robot.spin(1.2)
    return [status for message in robot.diagnostics for status in message.status]


_add_accelerators()


@fault('no accelerator, then one', 'it says so, and the corrections are trained when it comes')
def _absent(folder: Path) -> None:
    with predicting(folder, trainer='accelerator', retry_s=0.1) as robot:
        assert robot.correct(1).accepted
        robot.wait(lambda: 'no accelerator node' in robot.status.last_event)
        robot.start_accelerator()
        robot.wait(lambda: robot.status.adapter_version >= 1)


@fault('an accelerator that hangs', 'it is given up at its deadline, predictions go on')
def _hanging(folder: Path) -> None:
    with predicting(folder, trainer='accelerator', deadline_s=0.5, retry_s=100.0) as robot, \
            _fake(robot, lambda goal: None):
        robot.wait(lambda: robot.status.accelerator_ready)
        robot.correct(1)
        assert robot.show(2).adapter_version == 0
        robot.wait(lambda: robot.status.trainings_failed == 1)
        assert 'did not answer' in robot.status.last_event


@fault('an accelerator that answers after its deadline', 'the answer is ignored')
def _late(folder: Path) -> None:
    release = threading.Event()

    def answer(goal: Any) -> Any:
        release.wait(20.0)
        return good(goal)

    with predicting(folder, trainer='accelerator', deadline_s=0.3, retry_s=100.0) as robot, \
            _fake(robot, answer):
        robot.wait(lambda: robot.status.accelerator_ready)
        robot.correct(1)
        robot.wait(lambda: robot.status.trainings_failed == 1)
        release.set()
        robot.spin(1.0)
        assert robot.show(2).adapter_version == 0


@fault('an accelerator that is killed again and again', 'corrections are trained in the end')
def _killed_accelerator(folder: Path) -> None:
    with predicting(folder, trainer='accelerator', retry_s=0.1, deadline_s=1.0) as robot:
        for index in range(2, 6):
            accelerator = robot.start_accelerator()
            robot.show(index)
            robot.correct(index)
            robot.spin(0.02 * index)
            accelerator.kill()
            robot.wait(lambda: not robot.fine_tune.server_is_ready())
        robot.start_accelerator()
        robot.wait(lambda: robot.status.corrections_pending == 0
                   and robot.status.adapter_version >= 1, 60.0)


# the disk

def _learned(folder: Path, state: Path, frames: int = 8, **parameters: Any) -> int:
    """Let a node learn something and end; gives the version in use."""
    with make_robot(folder) as robot:
        process = robot.start_classifier(state_directory=str(state), **parameters)
        for index in range(1, frames):
            robot.show(index)
            ack = robot.correct(index)
        robot.wait(lambda: robot.status.adapter_cache_version >= ack.cache_version)
        robot.wait(lambda: robot.status.corrections_pending == 0)
        number = int(robot.status.adapter_version)
        assert process.stop() == 0
    return number


BACKBONE = Backbone(DEFAULT_MANIFEST)


def _restore(state: Path) -> tuple[int, int]:
    """Do what a node does at its start; gives version and samples."""
    keeper = StateKeeper(state, BACKBONE.layout, BACKBONE.digest, 1024, lambda text: None)
    try:
        found = keeper.restore_version(BACKBONE)
        cache = ForwardCache(BACKBONE.layout, 1024)
        keeper.restore_cache(cache, 0.0)
        if found.adapter is not None:
            found.adapter.check_backbone(BACKBONE.layout, BACKBONE.digest)
        return (0 if found.manifest is None else found.manifest.number), len(cache)
    finally:
        keeper.close()


def _add_damage() -> None:
    files = {'the adapter in use': lambda state, number: state / f'adapter-{number:06d}.npz',
             'its manifest': lambda state, number: state / f'adapter-{number:06d}.json',
             'the name of the version in use': lambda state, number: state / 'current.json',
             'the journal of corrections': lambda state, number: state / 'cache.journal',
             'the audit log': lambda state, number: state / 'audit.jsonl'}
    for name, which in files.items():
        def torn(folder: Path, which: Callable[[Path, int], Path] = which) -> None:
            _damage(folder, which, lambda data, at: data[:at])

        def flipped(folder: Path, which: Callable[[Path, int], Path] = which) -> None:
            _damage(folder, which, lambda data, at: data[:at] + bytes([data[at] ^ 0x10])
                    + data[at + 1:])

        must = 'a restart loads nothing damaged, and the newest sound version'
        fault(f'{name} torn at 40 places', must)(torn)
        fault(f'a flipped bit in {name}, at 40 places', must)(flipped)


def _damage(folder: Path, which: Callable[[Path, int], Path],
            change: Callable[[bytes, int], bytes]) -> None:
    state = folder / 'state'
    number = _learned(folder, state)
    good = Adapter.from_bytes((state / f'adapter-{number:06d}.npz').read_bytes()).digest()
    digests = {json.loads(path.read_text())['digest'] for path in state.glob('adapter-*.json')}
    data = which(state, number).read_bytes()
    rng = random.Random(1)
    for at in sorted(rng.sample(range(len(data)), min(40, len(data)))):
        copy = folder / 'copy'
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(state, copy)
        which(copy, number).write_bytes(change(data, at))
        found, samples = _restore(copy)
        assert found <= number and samples <= 7
        if found:
            path = copy / f'adapter-{found:06d}.npz'
            assert Adapter.from_bytes(path.read_bytes()).digest() in digests
        if found == number and which(state, number).suffix == '.npz':
            assert Adapter.from_bytes(
                (copy / f'adapter-{number:06d}.npz').read_bytes()).digest() == good


_add_damage()


@fault('a full disk from the start', 'it predicts and learns, and says what is not kept')
def _full(folder: Path) -> None:
    with make_robot(folder) as robot:
        process = robot.start_classifier(state_directory=str(folder / 'state'))
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        robot.show(1)
        robot.correct(1)
        robot.wait(lambda: robot.status.adapter_version >= 1)
        assert robot.show(2).adapter_version >= 1
        robot.wait(lambda: any('written' in each.message or 'cannot be' in each.message
                               for each in _diagnostics(robot)))


@fault('a disk that is full for a while',
       'what was acknowledged meanwhile is there after a restart')
def _full_for_a_while(folder: Path) -> None:
    state = folder / 'state'
    with make_robot(folder) as robot:
        process = robot.start_classifier(state_directory=str(state))
        for index in range(1, 5):
            robot.show(index)
        robot.correct(1)
        size = (state / 'cache.journal').stat().st_size
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        assert robot.correct(2).accepted and robot.correct(3).accepted
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE,
                         (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert robot.correct(4).accepted
        robot.spin(2.5)  # a flush
        process.kill()
    assert _restore(state)[1] == 4


@fault('a state directory that is a file', 'it says so and does not start')
def _no_directory(folder: Path) -> None:
    (folder / 'state').write_text('a file')
    with make_robot(folder) as robot:
        process = robot.start('classifier', state_directory=str(folder / 'state'))
        robot.wait(lambda: 'cannot be used' in process.log.read_text())
        assert process.alive and 'Traceback' not in process.log.read_text()


@fault('a state directory that cannot be made', 'it says so and does not start')
def _read_only(folder: Path) -> None:
    with make_robot(folder) as robot:
        process = robot.start('classifier', state_directory='/proc/instantft/state')
        robot.wait(lambda: 'cannot be used' in process.log.read_text())
        assert process.alive and 'Traceback' not in process.log.read_text()


@fault('two nodes on one state directory', 'the second one says who has it')
def _two_nodes(folder: Path) -> None:
    with predicting(folder, state_directory=str(folder / 'state')) as robot:
        second = robot.start('classifier', state_directory=str(folder / 'state'))
        robot.wait(lambda: 'is in use by process' in second.log.read_text())


@fault('a state directory of another network', 'nothing of it is loaded, and that is said')
def _foreign_state(folder: Path) -> None:
    state = folder / 'state'
    number = _learned(folder, state)
    path = state / f'adapter-{number:06d}.npz'
    adapter = Adapter.from_bytes(path.read_bytes())
    path.write_bytes(Adapter(adapter.layout, adapter.a, adapter.b, 'ab' * 32).to_bytes())
    assert _restore(state)[0] < number


@fault(f'kill -9 at {KILLS} random moments', 'every acknowledged correction and the last version '
       'that was named in use are there')
def _kills(folder: Path) -> None:
    rng, state = random.Random(5), folder / 'state'
    accepted: set[int] = set()
    for round_ in range(KILLS):
        with make_robot(folder) as robot:  # in a domain without the ghosts of those killed before
            process = robot.start_classifier(state_directory=str(state), cache_capacity=2000)
            first = 1 + 20 * round_
            for index in range(first, first + 10):
                robot.show(index)
            end_s = time.monotonic() + rng.uniform(0.0, 0.4)
            for index in range(first, first + 10):
                if time.monotonic() > end_s:
                    break
                if robot.correct(index).accepted:
                    accepted.add(index)
            robot.spin(max(0.0, end_s - time.monotonic()))
            process.kill()
        named = state / 'current.json'
        number = json.loads(named.read_text())['number'] if named.exists() else 0
        found, samples = _restore(state)
        assert found == number, f'round {round_}: {found} instead of {number}'
        assert samples >= len(accepted), f'round {round_}: {samples} of {len(accepted)}'


# the node

@fault('a storm of 400 parameter changes', 'all or nothing each, predictions go on')
def _storm(folder: Path) -> None:
    with predicting(folder) as robot:
        client = robot.node.create_client(SetParameters, 'classifier/set_parameters')
        robot.wait(client.service_is_ready)
        rng = random.Random(2)
        for number in range(400):
            name, value = rng.choice([('epochs', rng.randint(-5, 2000)), ('rank', 3),
                                      ('nonsense', 1), ('min_corrections', rng.randint(0, 5))])
            request = SetParameters.Request(parameters=[Parameter(name=name, value=ParameterValue(
                type=ParameterType.PARAMETER_INTEGER, integer_value=value))])
            future = client.call_async(request)
            robot.wait(future.done)
            if number % 100 == 0:
                robot.show(10 + number)


@fault('a camera with another QoS than was asked for', 'the diagnostics name both sides')
def _qos(folder: Path) -> None:
    with make_robot(folder) as robot:
        images = robot.node.create_publisher(Image, 'other_camera', qos.images('best_effort', 5))
        robot.start('classifier', **{'camera.topic': 'other_camera',
                                     'image_reliability': 'reliable'})
        end_s = time.monotonic() + 30.0
        while time.monotonic() < end_s and not any(
                'offers best_effort' in each.message for each in _diagnostics(robot)):
            images.publish(_image())
        assert any('offers best_effort' in each.message for each in _diagnostics(robot))


@fault('a manifest of another network file', 'it says so and does not start')
def _wrong_network(folder: Path) -> None:
    manifest = json.loads(DEFAULT_MANIFEST.read_text())
    manifest['sha256'] = 'ab' * 32
    (folder / 'manifest.json').write_text(json.dumps(manifest))
    for name in (manifest['network'], manifest.get('replay', '')):
        if name:
            shutil.copy(DEFAULT_MANIFEST.parent / name, folder / name)
    with make_robot(folder) as robot:
        process = robot.start('classifier', manifest=str(folder / 'manifest.json'))
        robot.wait(lambda: 'is not the network' in process.log.read_text())
        assert process.alive


@fault('interrupted in the middle of a training', 'it ends cleanly, the corrections are open')
def _interrupted(folder: Path) -> None:
    state = folder / 'state'
    with make_robot(folder) as robot, _fake(robot, lambda goal: None):
        process = robot.start_classifier(state_directory=str(state))
        robot.wait(lambda: robot.status.accelerator_ready)
        robot.show(1)
        robot.correct(1)
        robot.wait(lambda: robot.status.state == robot.status.TRAINING)
        assert process.stop() == 0
    keeper = StateKeeper(state, BACKBONE.layout, BACKBONE.digest, 1024, lambda text: None)
    try:
        assert keeper.restore_cache(ForwardCache(BACKBONE.layout, 10), 0.0) == (1, 1)
    finally:
        keeper.close()


@fault('frozen, cleared and rolled back while it trains', 'no result of that training goes live')
def _dropped(folder: Path) -> None:
    release = threading.Event()

    def answer(goal: Any) -> Any:
        release.wait(10.0)
        return good(goal)

    with predicting(folder, trainer='accelerator') as robot, _fake(robot, answer):
        robot.wait(lambda: robot.status.accelerator_ready)
        robot.correct(1)
        robot.wait(lambda: robot.status.state == robot.status.TRAINING)
        assert robot.call(SetBool, 'classifier/freeze', data=True).success
        assert robot.call(Trigger, 'classifier/clear').success
        release.set()
        robot.spin(1.0)
        assert robot.show(2).adapter_version == 0


def main() -> int:
    """Run the campaign; an exit code that says whether everything held."""
    parser = argparse.ArgumentParser(prog='python -m benchmark.faults', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', default='', help='faults whose name contains this')
    parser.add_argument('--out', type=Path, default=OUT / 'report.json')
    args = parser.parse_args()
    os.environ['ROS_PYTHON_CHECK_FIELDS'] = '1'
    chosen = [each for each in FAULTS if args.only in each.name]
    results: list[dict[str, Any]] = []
    for number, each in enumerate(chosen, 1):
        begin_s, problem = time.monotonic(), ''
        with tempfile.TemporaryDirectory() as folder:
            try:
                each.run(Path(folder))
            except (AssertionError, InstantFTError, OSError, KeyError, ValueError) as error:
                problem = ''.join(traceback.format_exception_only(error)).strip()[:2000]
        results.append({'name': each.name, 'must_hold': each.must_hold, 'held': not problem,
                        'seconds': round(time.monotonic() - begin_s, 1)}
                       | ({'problem': problem} if problem else {}))
        print(f'{number:3} of {len(chosen)}  {"held" if not problem else "BROKEN":7}'
              f'{results[-1]["seconds"]:6.1f} s  {each.name}', flush=True)
        if problem:
            print(f'      {problem[:600]}', flush=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    held = sum(each['held'] for each in results)
    args.out.write_text(json.dumps({'held': held, 'of': len(results), 'faults': results},
                                   indent=2) + '\n')
    print(f'{held} of {len(results)} held; {args.out}')
    return 0 if held == len(results) else 1


if __name__ == '__main__':
    sys.exit(main())
