"""What becomes of a job, with an action server that answers when it is told to."""

from types import SimpleNamespace

from action_msgs.msg import GoalStatus
import numpy as np
import pytest
from rclpy.task import Future

from instantft_ros.accelerator.job import FineTuneJob, Schedule
from instantft_ros.accelerator.numpy_reference import NumpyReference
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.features import FeatureLayout, FeatureRecord, Features
from instantft_ros.core.forward_cache import ForwardCache
from instantft_ros.core.frame_ring import FrameId
from instantft_ros.nodes import conversions, fine_tune_client

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


@pytest.fixture
def client(monkeypatch):
    monkeypatch.setattr(fine_tune_client, 'ActionClient', Server)
    done, later = [], []
    made = fine_tune_client.FineTuneClient(None, 'fine_tune', done.append, later.append)
    made.done, made.later, made.server = done, later, made._client
    return made


def job() -> FineTuneJob:
    cache = ForwardCache(LAYOUT, 8)
    features = Features(np.ones(7, np.float32), np.zeros(3, np.float32))
    cache.add(FrameId('camera', 1), FeatureRecord.of(features, LAYOUT), 1, 1)
    return FineTuneJob(cache.update_since(0), Adapter.initial(LAYOUT, 'ab' * 32),
                       cache.training_order(), Schedule(2))


def result(asked: FineTuneJob) -> object:
    return conversions.result(NumpyReference().fine_tune(asked))


def test_an_answer_is_taken_up_when_there_is_time(client):
    asked = job()
    client.start(asked, 5.0)
    client.server.answer(result(asked))
    assert client.busy and not client.done
    client.later.pop()()
    assert not client.busy and client.done[0].result is not None
    assert client.held_version(asked.update.session) == asked.update.version


def test_a_job_dropped_while_its_answer_waits_has_no_effect(client):
    asked = job()
    client.start(asked, 5.0)
    client.server.answer(result(asked))
    client.drop()
    client.later.pop()()
    assert not client.done and not client.busy
    assert client.held_version(asked.update.session) == 0


def test_an_answer_that_waits_is_not_late(client):
    asked = job()
    client.start(asked, 0.0)
    client.server.answer(result(asked))
    client.check_deadline()
    client.later.pop()()
    assert client.done[0].result is not None


def test_no_answer_until_the_deadline_is_a_failure(client):
    asked = job()
    client.start(asked, 0.0)
    client.check_deadline()
    assert 'did not answer' in client.done[0].problem
    client.server.answer(result(asked))
    assert not client.later and len(client.done) == 1
