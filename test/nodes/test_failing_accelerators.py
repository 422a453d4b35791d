"""Accelerators that are not there, slow, killed, or answer garbage: the node lives and says so."""

from array import array
from collections.abc import Callable
import threading

import numpy as np
import pytest
from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor
from rclpy.node import Node

from instantft_ros.action import FineTune
from instantft_ros.core import nf4
from instantft_ros.msg import AcceleratorInfo, CorrectionAck
from instantft_ros.nodes import qos


class FakeAccelerator:
    """An accelerator node in this process that answers as the test wants."""

    def __init__(self, robot, answer: Callable[[FineTune.Goal], FineTune.Result | None]) -> None:
        robot.trainer = 'accelerator'
        self.goals: list[FineTune.Goal] = []
        self.cancelled = threading.Event()
        self.released = threading.Event()
        self._answer = answer
        self._node = Node('fake_accelerator', context=robot.context)
        self._server = ActionServer(self._node, FineTune, 'fine_tune', self._execute,
                                    cancel_callback=self._cancel,
                                    callback_group=ReentrantCallbackGroup())
        self._executor = MultiThreadedExecutor(num_threads=4, context=robot.context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()
        robot.wait(robot.fine_tune.server_is_ready)

    def _execute(self, handle):
        self.goals.append(handle.request)
        result = self._answer(handle.request)
        if result is None:  # hang until the test is over
            self.released.wait()
            result = FineTune.Result(status=FineTune.Result.FAILED)
        if handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.succeed()
        return result

    def _cancel(self, handle):
        self.cancelled.set()
        return CancelResponse.ACCEPT

    def close(self) -> None:
        if self.released.is_set():
            return
        self.released.set()
        self._executor.shutdown()
        self._thread.join(5.0)
        self._server.destroy()
        self._node.destroy_node()


@pytest.fixture
def fake(robot):
    made: list[FakeAccelerator] = []

    def make(answer: Callable[[FineTune.Goal], FineTune.Result | None]) -> FakeAccelerator:
        made.append(FakeAccelerator(robot, answer))
        return made[-1]

    yield make
    for each in made:
        each.close()


def still_predicts_with_the_start_adapter(robot, index: int = 2) -> bool:
    return robot.show(index).adapter_version == 0


def warned(robot, words: str) -> bool:
    return any(words in status.message
               for array in robot.diagnostics for status in array.status)


def good(goal: FineTune.Goal, **changes: object) -> FineTune.Result:
    return FineTune.Result(**{'status': FineTune.Result.OK, 'backend': 'fake', 'a': goal.a,
                              'b': goal.b, 'losses': array('f', [0.5]),
                              'energy_j': float('nan')} | changes)


def test_absent_then_there(robot):
    classifier = robot.start_classifier(trainer='accelerator')
    robot.show(1)
    assert robot.correct(1).accepted
    robot.wait(lambda: robot.status.trainings_failed >= 2)  # it tries again
    assert still_predicts_with_the_start_adapter(robot)
    assert robot.status.corrections_pending == 1
    assert 'no accelerator node' in robot.status.last_event
    robot.wait(lambda: warned(robot, 'no accelerator node'))
    robot.start_accelerator()
    robot.wait(lambda: robot.status.adapter_version == 1)
    assert robot.status.corrections_pending == 0
    assert classifier.alive


def test_slow_one_misses_its_deadline_and_is_cancelled(robot, fake):
    accelerator = fake(lambda goal: None)
    robot.start_classifier(deadline_s=0.5, retry_s=100.0)
    robot.show(1)
    assert robot.correct(1).accepted
    robot.wait(lambda: robot.status.trainings_failed == 1)
    assert 'did not answer within' in robot.status.last_event
    robot.wait(accelerator.cancelled.is_set)
    assert still_predicts_with_the_start_adapter(robot)


def test_an_answer_after_the_deadline_is_ignored(robot, fake):
    late = threading.Event()

    def answer(goal: FineTune.Goal) -> FineTune.Result:
        late.wait(20.0)
        return good(goal)

    fake(answer)
    robot.start_classifier(deadline_s=0.3, retry_s=100.0)
    robot.show(1)
    robot.correct(1)
    robot.wait(lambda: robot.status.trainings_failed == 1)
    late.set()
    robot.spin(1.0)
    assert still_predicts_with_the_start_adapter(robot)
    assert robot.status.trainings == 0


def test_killed_in_the_middle_and_started_again(robot):
    accelerator = robot.start_accelerator()
    classifier = robot.start_classifier(epochs=1000, batch_size=1, deadline_s=3.0)
    robot.accuracy(range(60))
    for index in range(60):
        robot.correct(index)
    robot.wait(lambda: robot.status.state == robot.status.TRAINING)
    accelerator.kill()
    robot.wait(lambda: robot.status.trainings_failed == 1)
    assert classifier.alive
    assert robot.show(100).adapter_version == robot.status.adapter_version
    trainings = robot.status.trainings
    from test_classifier import set_parameters
    assert set_parameters(robot, epochs=10).successful
    robot.start_accelerator()
    robot.wait(lambda: robot.status.trainings > trainings)
    assert robot.status.corrections_pending == 0


def test_one_that_forgot_the_cache_gets_all_of_it_again(robot):
    accelerator = robot.start_accelerator()
    robot.start_classifier()
    robot.accuracy(range(6))
    for index in range(5):
        ack = robot.correct(index)
    robot.wait(lambda: robot.status.adapter_cache_version >= ack.cache_version)
    accelerator.stop()
    robot.wait(lambda: not robot.status.accelerator_ready)
    robot.start_accelerator()
    robot.wait(lambda: robot.status.accelerator_ready)
    ack = robot.correct(5)
    robot.wait(lambda: robot.status.adapter_cache_version >= ack.cache_version)
    assert robot.status.trainings_failed == robot.status.trainings_refused == 0
    assert 'from 6 samples' in robot.status.last_event


def test_only_what_changed_is_sent(robot, fake):
    accelerator = fake(good)
    robot.start_classifier(replay_per_class=0)
    robot.accuracy(range(3))
    for index in range(3):
        ack = robot.correct(index)
        robot.wait(lambda ack=ack: robot.status.adapter_cache_version >= ack.cache_version)
    assert [(goal.base_version, len(goal.slots), len(goal.order)) for goal in accelerator.goals] \
        == [(0, 1, 1), (1, 1, 2), (2, 1, 3)]


def filled(goal: FineTune.Goal, name: str, value: float) -> array:
    return array('f', [value] * len(getattr(goal, name)))


def against(goal: FineTune.Goal) -> FineTune.Result:
    """Every tap of the only sample speaks for each class but its own."""
    x = nf4.dequantize(np.array([goal.codes]), np.array([goal.scales]), tuple(goal.tap_sizes))
    return good(goal, a=array('f', np.tile(0.1 * np.sign(x[0]), goal.rank)), b=array('f', (
        float(10 * i // len(goal.b) != goal.labels[0]) for i in range(len(goal.b)))))


@pytest.mark.parametrize(('answer', 'counter', 'words'), [
    (lambda goal: good(goal, a=filled(goal, 'a', float('nan'))), 'trainings_failed', 'NaN'),
    (lambda goal: good(goal, b=filled(goal, 'b', float('inf'))), 'trainings_failed', 'infinity'),
    (lambda goal: good(goal, a=array('f')), 'trainings_failed', 'a must have'),
    (lambda goal: good(goal, b=array('f', [0.0])), 'trainings_failed', 'b must have'),
    (lambda goal: FineTune.Result(status=FineTune.Result.FAILED, message='out of order'),
     'trainings_failed', 'out of order'),
    (lambda goal: FineTune.Result(status=77), 'trainings_failed', 'failed'),
    (lambda goal: good(goal, a=filled(goal, 'a', 3e38), b=filled(goal, 'b', 3e38)),
     'trainings_refused', 'refused'),
    (against, 'trainings_refused', 'loss'),
])
def test_garbage_never_goes_live(robot, fake, answer, counter, words):
    fake(answer)
    robot.start_classifier(retry_s=100.0, replay_per_class=0)
    robot.show(1)
    assert robot.correct(1).accepted
    robot.wait(lambda: getattr(robot.status, counter) == 1)
    assert words in robot.status.last_event
    assert still_predicts_with_the_start_adapter(robot)
    assert robot.status.trainings == 0


def test_attempts_end_until_something_new_happens_and_it_comes_back(robot, fake):
    failing = fake(lambda goal: FineTune.Result(status=FineTune.Result.FAILED, message='broken'))
    robot.start_classifier(retry_s=0.02, max_retries=3)
    robot.show(1)
    robot.show(2)
    assert robot.correct(1).accepted
    robot.wait(lambda: robot.status.trainings_failed == 3)
    robot.wait(lambda: 'failures in a row' in robot.status.last_event)
    robot.wait(lambda: warned(robot, '3 failures in a row'))
    robot.spin(1.0)
    assert robot.status.trainings_failed == 3, 'it goes on trying'
    assert robot.correct(2).accepted  # a new correction is worth one more attempt
    robot.wait(lambda: robot.status.trainings_failed == 4)
    robot.spin(1.0)
    assert robot.status.trainings_failed == 4
    failing.close()
    robot.wait(lambda: not robot.status.accelerator_ready)
    robot.start_accelerator()
    robot.wait(lambda: robot.status.adapter_version == 1)
    assert robot.status.corrections_pending == 0


def test_what_is_beyond_the_accelerator_is_said_before_any_training(robot):
    robot.start_classifier(max_classes=20, trainer='accelerator')
    info = robot.node.create_publisher(AcceleratorInfo, 'accelerator_info', qos.status())
    info.publish(AcceleratorInfo(
        backend='tiny', max_samples=1 << 20, max_features=1 << 20, max_taps=16, max_classes=10,
        max_rank=4, optimizers=['sgd', 'adam'], batch_sizes=array('I')))
    robot.wait(lambda: warned(robot, "backend 'tiny' can do rank up to 4, asked are 8"))
    robot.show(1)
    refused = robot.correct(1, class_name='bottle')
    assert refused.verdict == CorrectionAck.UNKNOWN_CLASS
    assert 'the accelerator can do no more than 10' in refused.reason
