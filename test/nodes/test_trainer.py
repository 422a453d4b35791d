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
    """Stands in for rclpy's action client; `answer` resolves what it was asked."""

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
    """
    A trainer whose training is at hand, the jobs that it has done and the work that it put off.

    begun: waits until it trains; answer: ends a job's training; hear: takes in that it ended.
    """

    trainer: Trainer
    done: list[Done]
    later: list[Callable[[], None]]
    begun: Callable[[], None]
    answer: Callable[[FineTuneJob], None]
    hear: Callable[[], None]

    def start_and_answer(self, deadline_s: float) -> FineTuneJob:
        """Bring a job so far that its answer waits to be taken up."""
        asked = job()
        self.trainer.start(asked, deadline_s)
        assert self.trainer.ready and self.trainer.busy and not self.done
        self.answer(asked)
        self.hear()
        assert self.trainer.busy and not self.done
        return asked


@pytest.fixture(params=['own', 'accelerator'])
def made(request, monkeypatch):
    done, later = [], []
    if request.param == 'own':
        node, backend = Node(), Slow()

        def begun() -> None:
            assert backend.began.wait(PATIENCE_S)

        made = Made(OwnTrainer(node, backend, done.append, later.append), done, later, begun,
                    lambda asked: backend.go.set(), node.hear)
    else:
        monkeypatch.setattr(fine_tune_client, 'ActionClient', Server)
        trainer = fine_tune_client.FineTuneClient(None, 'fine_tune', done.append, later.append)

        def answer(asked: FineTuneJob) -> None:
            trainer._client.answer(conversions.result(NumpyReference().fine_tune(asked)))

        made = Made(trainer, done, later, lambda: None, answer, lambda: None)
    yield made
    made.trainer.close()


def test_an_answer_is_taken_up_when_there_is_time(made):
    asked = made.start_and_answer(5.0)
    made.later.pop()()
    assert not made.trainer.busy and made.done[0].problem == ''
    assert made.trainer.held_version(asked.update.session) == asked.update.version
    wanted = NumpyReference().fine_tune(asked)
    assert made.done[0].result.adapter.b == pytest.approx(wanted.adapter.b, abs=1e-5)
    assert made.done[0].round_trip_ms > made.done[0].result.train_ms


def test_a_job_dropped_while_its_answer_waits_has_no_effect(made):
    asked = made.start_and_answer(5.0)
    made.trainer.drop()
    made.later.pop()()
    assert not made.done and not made.trainer.busy
    assert made.trainer.held_version(asked.update.session) == 0


def test_an_answer_that_waits_is_not_late(made):
    made.start_and_answer(0.0)
    made.trainer.check_deadline()
    made.later.pop()()
    assert made.done[0].result is not None


def test_one_that_hangs_is_given_up_at_its_deadline_and_its_answer_ignored(made):
    first = job()
    made.trainer.start(first, 0.0)
    made.begun()
    made.trainer.check_deadline()
    assert 'did not answer' in made.done[0].problem
    assert made.trainer.held_version(first.update.session) == 0
    made.answer(first)
    assert not made.later and len(made.done) == 1
    second = job()
    made.trainer.start(second, 5.0)
    made.answer(second)
    made.hear()
    assert len(made.later) == 1
    made.later.pop()()
    assert len(made.done) == 2 and made.done[1].result is not None
