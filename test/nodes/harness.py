"""Real nodes in processes of their own, and a client that talks to them over DDS."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
import fcntl
import itertools
import os
from pathlib import Path
import signal
import subprocess
import tempfile
import time
from typing import Any

from ament_index_python.packages import get_package_prefix, get_package_share_directory
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
import numpy as np
import rclpy
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import Image

from instantft_ros.action import FineTune
from instantft_ros.demo.belt import Belt, Drift, STATION
from instantft_ros.msg import Correction, CorrectionAck, Prediction, Status
from instantft_ros.nodes import qos

#: Longest wait for anything, seconds: generous, as nothing is timed here.
PATIENCE_S = 30.0

#: Runs that go on at once use different blocks of DDS domains, 1 to 100.
BLOCKS, DOMAINS = 5, 20


def _free_domains() -> Iterator[int]:
    """Give the domains of a block that no other run on this machine holds, round and round."""
    for block in (number % BLOCKS for number in range(os.getpid(), os.getpid() + BLOCKS)):
        try:
            lock = (Path(tempfile.gettempdir()) / f'instantft_ros_domains_{block}').open('a')
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another run has it, or another user's did
            continue
        for number in itertools.count():  # the lock is held as long as this lives
            yield 1 + DOMAINS * block + number % DOMAINS
    raise RuntimeError(f'{BLOCKS} runs go on already')


_domains = _free_domains()


def environment() -> dict[str, str]:
    """Give an environment with a DDS domain of its own, on the loopback."""
    profile = Path(get_package_share_directory('instantft_ros')) / 'config' / 'fastdds.xml'
    return {**os.environ, 'ROS_DOMAIN_ID': str(next(_domains)),
            'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST', 'ROS_PYTHON_CHECK_FIELDS': '1',
            'FASTRTPS_DEFAULT_PROFILES_FILE': str(profile), 'PYTHONUNBUFFERED': '1'}


def resident_mb(pid: int) -> float:
    """Give the resident memory of a process, MB."""
    status = Path(f'/proc/{pid}/status').read_text()
    return int(status.split('VmRSS:')[1].split()[0]) / 1024


def image_of(pixels: np.ndarray, stamp: int) -> Image:
    """Make the message of a (H, W, 3) BGR image, with that many seconds as its stamp."""
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding='bgr8',
                    step=3 * pixels.shape[1], data=array('B', pixels.tobytes()))
    message.header.stamp = Time(sec=stamp)
    return message


class Process:
    """One node in a process of its own; its output is kept for when a test fails."""

    def __init__(self, name: str, parameters: dict[str, Any], env: dict[str, str],
                 log: Path) -> None:
        program = Path(get_package_prefix('instantft_ros')) / 'lib' / 'instantft_ros' / name
        line = [str(program), '--ros-args']
        for key, value in parameters.items():
            line += ['-p', f'{key}:={value}']
        self.log = log
        self._stream = log.open('ab')
        self._process = subprocess.Popen(line, stdout=self._stream, stderr=subprocess.STDOUT,
                                         env=env)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        """Interrupt, as ros2 launch does; gives the exit code."""
        if self.alive:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(10.0)
            except subprocess.TimeoutExpired:
                self.kill()
        self._stream.close()
        return self._process.returncode


class Robot:
    """A classifier process, perhaps an accelerator, and this test's camera and operator."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trainer = 'own'  # of the next classifier; an accelerator node changes it
        self.env = environment()
        self.processes: list[Process] = []
        os.environ |= {name: self.env[name] for name in (
            'ROS_AUTOMATIC_DISCOVERY_RANGE', 'FASTRTPS_DEFAULT_PROFILES_FILE')}
        self.context = Context()
        rclpy.init(context=self.context, domain_id=int(self.env['ROS_DOMAIN_ID']))
        self.node = Node('operator', context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.belt = Belt(seed=3, drift=Drift(start_s=-1.0, end_s=-1.0), dwell=1)
        self.predictions: dict[int, Prediction] = {}
        self.acks: dict[str, CorrectionAck] = {}
        self.statuses: list[Status] = []
        self.diagnostics: list[DiagnosticArray] = []
        self._numbers = itertools.count(1)
        self.fine_tune = ActionClient(self.node, FineTune, 'fine_tune')
        self.images = self.node.create_publisher(Image, 'image_raw', qos.images('reliable', 50))
        self.corrections = self.node.create_publisher(Correction, 'corrections',
                                                      qos.corrections())
        for kind, topic, keep, profile in (
                (Prediction, 'predictions', self._keep_prediction, qos.predictions()),
                (CorrectionAck, 'correction_acks', self._keep_ack, qos.corrections()),
                (Status, 'status', self.statuses.append, qos.status()),
                (DiagnosticArray, '/diagnostics', self.diagnostics.append, 10)):
            self.node.create_subscription(kind, topic, keep, profile)

    def start(self, name: str, **parameters: Any) -> Process:
        process = Process(name, parameters, self.env, self.folder / f'{name}.log')
        self.processes.append(process)
        return process

    def start_classifier(self, images: Publisher | None = None, **parameters: Any) -> Process:
        """
        Start it and wait until it is subscribed to `images`, by default this camera's.

        Its status comes only when the topics that were made before it are connected too.
        """
        images = images or self.images
        process = self.start('classifier', **{
            'camera.region': list(STATION), 'holdout_share': 0.0, 'image_depth': 50,
            'image_reliability': 'reliable', 'retry_s': 0.2, 'trainer': self.trainer,
            **parameters})
        self.wait(lambda: self.statuses or not process.alive)
        self.wait(lambda: images.get_subscription_count() == 1 or not process.alive)
        if self.fine_tune.server_is_ready():
            self.wait(lambda: self.status.accelerator_ready or not process.alive)
        return process

    def start_accelerator(self, **parameters: Any) -> Process:
        self.trainer = 'accelerator'
        process = self.start('accelerator', **parameters)
        self.wait(lambda: self.fine_tune.server_is_ready() or not process.alive)
        return process

    def close(self) -> None:
        for process in self.processes:
            process.stop()
        self.executor.remove_node(self.node)
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)

    def wait(self, condition: Callable[[], Any], patience_s: float = PATIENCE_S) -> Any:
        """Spin until the condition holds; fails with the nodes' output when it never does."""
        deadline_s = time.monotonic() + patience_s
        while not (value := condition()):
            if time.monotonic() > deadline_s:
                logs = '\n'.join(f'--- {p.log.name}\n{p.log.read_text()[-3000:]}'
                                 for p in self.processes)
                raise AssertionError(f'waited {patience_s} s in vain\n{logs}')
            self.executor.spin_once(timeout_sec=0.02)
        return value

    def spin(self, seconds: float) -> None:
        """Spin for a while, to see that something does not happen."""
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            self.executor.spin_once(timeout_sec=0.02)

    @property
    def status(self) -> Status:
        return self.statuses[-1]

    def image(self, index: int) -> Image:
        """The belt's frame `index`, with that many seconds as its stamp."""
        message = image_of(self.belt.frame(index), index)
        message.header.frame_id = 'belt'
        return message

    def show(self, index: int) -> Prediction:
        """Show a frame and give its prediction."""
        self.predictions.pop(index, None)
        self.images.publish(self.image(index))
        prediction: Prediction = self.wait(lambda: self.predictions.get(index))
        return prediction

    def accuracy(self, indices: range) -> float:
        return float(np.mean([self.show(index).class_id == self.belt.label(index)
                              for index in indices]))

    def correct(self, index: int, **fields: Any) -> CorrectionAck:
        """Correct a frame, by default to what it shows, and give the acknowledgement."""
        number = next(self._numbers)
        message = Correction(id=str(number), stamp=Time(sec=index), camera='camera',
                             operator_id='test', class_id=self.belt.label(index))
        message.header.stamp = Time(sec=1_000_000, nanosec=number)
        for name, value in fields.items():
            setattr(message, name, value)
        self.wait(lambda: self.corrections.get_subscription_count() == 1)
        self.corrections.publish(message)
        ack: CorrectionAck = self.wait(lambda: self.acks.get(str(number)))
        return ack

    def learn(self, indices: Iterable[int]) -> CorrectionAck:
        """Correct frames and wait for an adapter that knows all of these corrections."""
        for index in indices:
            ack = self.correct(index)
            assert ack.accepted, ack.reason
        self.wait(lambda: self.status.adapter_cache_version >= ack.cache_version)
        return ack

    def change_state(self, transition: int) -> bool:
        """Ask the classifier for a lifecycle transition; whether it succeeded."""
        request = Transition(id=transition)
        return bool(self.call(ChangeState, 'classifier/change_state',
                              transition=request).success)

    def call(self, kind: Any, name: str, **fields: Any) -> Any:
        """Call a service and give its response."""
        client = self.node.create_client(kind, name)
        self.wait(client.service_is_ready)
        future = client.call_async(kind.Request(**fields))
        self.wait(future.done)
        self.node.destroy_client(client)
        return future.result()

    def _keep_prediction(self, prediction: Prediction) -> None:
        self.predictions[prediction.header.stamp.sec] = prediction

    def _keep_ack(self, ack: CorrectionAck) -> None:
        self.acks[ack.correction_id] = ack


@contextmanager
def robot(folder: Path) -> Iterator[Robot]:
    """Make a robot and end whatever it started."""
    made = Robot(folder)
    try:
        yield made
    finally:
        made.close()
