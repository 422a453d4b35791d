"""The reserve steps in, says so, and leaves the failed accelerator alone for a while."""

from dataclasses import replace
from pathlib import Path
import sys

import numpy as np
import pytest

from instantft_ros.accelerator import fallback
from instantft_ros.accelerator.base import CacheMirror, Limits, OnEpoch, Trained
from instantft_ros.accelerator.fallback import WithFallback
from instantft_ros.accelerator.job import FineTuneJob
from instantft_ros.accelerator.numpy_reference import NumpyReference
from instantft_ros.core.errors import AcceleratorError, Cancelled, JobError

sys.path.insert(0, str(Path(__file__).parent))
from test_contract import job


class Board(NumpyReference):
    """Trains well, unless told how to fail."""

    name = 'board'
    limits = Limits(samples=64)

    def __init__(self, fault: str = '') -> None:
        super().__init__()
        self.fault = fault
        self.asked = 0

    def _train(self, cache: CacheMirror, job: FineTuneJob, on_epoch: OnEpoch) -> Trained:
        self.asked += 1
        trained = super()._train(cache, job, on_epoch)
        if self.fault == 'hang':
            raise AcceleratorError('board: not done after 1 s')
        if self.fault == 'lost':
            raise OSError(5, 'Input/output error')
        if self.fault == 'nan':
            return replace(trained, a=np.full_like(trained.a, np.nan))
        if self.fault == 'wrong':
            return replace(trained, b=-10 * trained.b)
        return trained


@pytest.mark.parametrize(('fault', 'words'), [
    ('hang', 'not done after'), ('lost', 'Input/output'), ('nan', 'wrong answer'),
    ('wrong', 'wrong answer')])
def test_each_fault_is_survived_and_told(fault, words):
    backend = WithFallback(Board(fault), NumpyReference())
    done = backend.fine_tune(job())
    assert done.backend == 'numpy'
    assert words in done.fallback and "'numpy' stepped in for 'board'" in done.fallback
    assert done.adapter.digest() == NumpyReference().fine_tune(job()).adapter.digest()


def test_without_a_fault_the_reserve_stays_idle():
    done = WithFallback(Board(), NumpyReference()).fine_tune(job())
    assert (done.backend, done.fallback) == ('board', '')


def test_a_failed_accelerator_is_asked_again_later(monkeypatch):
    board = Board('hang')
    backend = WithFallback(board, NumpyReference())
    for _ in range(3):
        assert backend.fine_tune(job()).fallback
    assert board.asked == 1
    board.fault = ''
    monkeypatch.setattr(fallback, 'RETRY_S', 0.0)
    backend._retry_at_s = 0.0
    done = backend.fine_tune(job())
    assert (done.backend, done.fallback) == ('board', '')


def test_cancelling_is_not_a_fault():
    board = Board()
    with pytest.raises(Cancelled):
        WithFallback(board, NumpyReference()).fine_tune(job(), lambda epoch, loss: False)
    assert board.asked == 1


def test_limits_are_those_of_the_accelerator():
    asked = job()
    with pytest.raises(JobError, match='samples'):
        WithFallback(Board(), NumpyReference()).fine_tune(
            replace(asked, update=replace(asked.update, capacity=65)))
