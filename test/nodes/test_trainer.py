"""What becomes of a job, whoever trains: every trainer goes through the same checks."""

from collections.abc import Callable
from dataclasses import dataclass
import threading
from types import SimpleNamespace

from action_msgs.msg import GoalStatus
import numpy as np
import pytest
from rclpy.task import Future

from instantft_ros.accelerator.cpu import CpuBackend
from instantft_ros.accelerator.job import FineTuneJob, Schedule
from instantft_ros.accelerator.numpy_reference import NumpyReference
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.features import FeatureLayout, FeatureRecord, Features
from instantft_ros.core.forward_cache import ForwardCache
from instantft_ros.core.frame_ring import FrameId
from instantft_ros.nodes import conversions, fine_tune_client
from instantft_ros.nodes.own_trainer import OwnTrainer
from instantft_ros.nodes.trainer import Done, Trainer

PATIENCE_S = 10.0

LAYOUT = FeatureLayout((4, 3), 3)


class Server:
    """Stands in for rclpy's action client; `accept` and `answer` resolve what it was asked."""

    def __init__(self, *_: object) -> None:
        self.accepted, self.result, self.cancelled = Future(), Future(), 0

    def server_is_ready(self) -> bool:
        return True

    def send_goal_async(self, goal: object) -> Future:
        self.accepted, self.result = Future(), Future()
        return self.accepted

    def cancel_goal_async(self) -> None:
        self.cancelled += 1

    def destroy(self) -> None:
        pass

    def answer(self, message: object) -> None:
        self.accepted.set_result(SimpleNamespace(
            accepted=True, get_result_async=lambda: self.result,
            cancel_goal_async=self.cancel_goal_async))
        self.result.set_result(SimpleNamespace(result=message,
                                               status=GoalStatus.STATUS_SUCCEEDED))


class Node:
    """Stands in for rclpy's node; `hear` waits for the guard condition and does its work."""

    def __init__(self) -> None:
        self.triggered = threading.Event()
        self.destroyed = 0

    def create_guard_condition(self, callback):
        self.callback, self.trigger = callback, self.triggered.set
        return self

    def destroy_guard_condition(self, condition) -> None:
        self.destroyed += 1

    def hear(self) -> None:
        assert self.triggered.wait(PATIENCE_S)
        self.triggered.clear()
        self.callback()


class Slow(CpuBackend):
    """Trains when `go` is set; `began` tells that it has been asked to."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.go, self.closed = threading.Event(), threading.Event(), threading.Event()

    def fine_tune(self, asked, on_epoch=None):
        self.began.set()
        assert self.go.wait(PATIENCE_S)
        return super().fine_tune(asked, on_epoch)

    def close(self) -> None:
        self.closed.set()


def job() -> FineTuneJob:
    cache = ForwardCache(LAYOUT, 8)
    features = Features(np.ones(7, np.float32), np.zeros(3, np.float32))
    cache.add(FrameId('camera', 1), FeatureRecord.of(features, LAYOUT), 1, 1)
    return FineTuneJob(cache.update_since(0), Adapter.initial(LAYOUT, 'ab' * 32),
                       cache.training_order(), Schedule(2))


@dataclass
class Made:
    """A trainer; what was done, what it put off; `answer` has the training answer it."""

    trainer: Trainer
    done: list[Done]
    later: list[Callable[[], None]]
    answer: Callable[[FineTuneJob], None]


@pytest.fixture(params=['own', 'accelerator'])
def made(request, monkeypatch):
    done, later = [], []
    if request.param == 'own':
        node, backend = Node(), Slow()
        trainer = OwnTrainer(node, backend, done.append, later.append)

        def answer(asked: FineTuneJob) -> None:
            backend.go.set()
            if trainer.busy:
                node.hear()
            else:  # nobody waits for it: it is here, or given up, once the thread has ended
                trainer.close()
                node.callback()
    else:
        monkeypatch.setattr(fine_tune_client, 'ActionClient', Server)
        trainer = fine_tune_client.FineTuneClient(None, 'fine_tune', done.append, later.append)

        def answer(asked: FineTuneJob) -> None:
            trainer._client.answer(conversions.result(NumpyReference().fine_tune(asked)))

    yield Made(trainer, done, later, answer)
    trainer.close()


def test_an_answer_is_taken_up_when_there_is_time(made):
    asked = job()
    made.trainer.start(asked, 5.0)
    assert made.trainer.ready and made.trainer.busy
    made.answer(asked)
    assert made.trainer.busy and not made.done
    made.later.pop()()
    assert not made.trainer.busy and made.done[0].problem == ''
    assert made.trainer.held_version(asked.update.session) == asked.update.version
    wanted = NumpyReference().fine_tune(asked)
    assert made.done[0].result.adapter.b == pytest.approx(wanted.adapter.b, abs=1e-5)
    assert made.done[0].round_trip_ms > 0


def test_a_job_dropped_while_its_answer_waits_has_no_effect(made):
    asked = job()
    made.trainer.start(asked, 5.0)
    made.answer(asked)
    made.trainer.drop()
    made.later.pop()()
    assert not made.done and not made.trainer.busy
    assert made.trainer.held_version(asked.update.session) == 0


def test_an_answer_that_waits_is_not_late(made):
    asked = job()
    made.trainer.start(asked, 0.0)
    made.answer(asked)
    made.trainer.check_deadline()
    made.later.pop()()
    assert made.done[0].result is not None


def test_no_answer_until_the_deadline_is_a_failure_and_it_is_ignored_then(made):
    asked = job()
    made.trainer.start(asked, 0.0)
    made.trainer.check_deadline()
    assert 'did not answer' in made.done[0].problem
    assert made.trainer.held_version(asked.update.session) == 0
    made.answer(asked)
    assert not made.later and len(made.done) == 1
