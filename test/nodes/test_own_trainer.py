"""Training on a thread of the classifier's, with a backend that answers when it is told to."""

import os
import threading
import time

import pytest
from test_fine_tune_client import job

from instantft_ros.accelerator.cpu import CpuBackend
from instantft_ros.accelerator.numpy_reference import NumpyReference
from instantft_ros.core.errors import AcceleratorError, Cancelled
from instantft_ros.nodes.own_trainer import NICENESS, OwnTrainer

PATIENCE_S = 10.0


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


@pytest.fixture
def made():
    started = []

    def make(backend):
        node, done, later = Node(), [], []
        trainer = OwnTrainer(node, backend, done.append, later.append)
        started.append(trainer)
        return trainer, node, done, later

    yield make
    for trainer in started:
        trainer.close()


def test_an_answer_is_taken_up_when_there_is_time(made):
    trainer, node, done, later = made(CpuBackend())
    asked = job()
    trainer.start(asked, 5.0)
    assert trainer.ready and trainer.busy and not done
    node.hear()
    assert trainer.busy and not done
    later.pop()()
    assert not trainer.busy and done[0].problem == ''
    wanted = NumpyReference().fine_tune(asked)
    assert done[0].result.adapter.b == pytest.approx(wanted.adapter.b, abs=1e-5)
    assert done[0].round_trip_ms > done[0].result.train_ms
    assert trainer.held_version(asked.update.session) == asked.update.version


def test_a_dropped_training_stops_and_the_next_one_has_its_turn(made):
    backend = Slow()
    trainer, node, done, later = made(backend)
    trainer.start(job(), 5.0)
    assert backend.began.wait(PATIENCE_S)
    trainer.drop()
    assert not trainer.busy
    backend.go.set()
    again = job()
    trainer.start(again, 5.0)
    node.hear()
    later.pop()()
    assert not later and [each.job for each in done] == [again]


def test_a_job_dropped_while_its_answer_waits_has_no_effect(made):
    trainer, node, done, later = made(CpuBackend())
    trainer.start(job(), 5.0)
    node.hear()
    trainer.drop()
    later.pop()()
    assert not done and not trainer.busy


def test_one_that_hangs_is_given_up_at_its_deadline_and_its_answer_ignored(made):
    backend = Slow()
    trainer, node, done, later = made(backend)
    first = job()
    trainer.start(first, 0.0)
    assert backend.began.wait(PATIENCE_S)
    trainer.check_deadline()
    assert 'did not answer' in done[0].problem
    assert trainer.held_version(first.update.session) == 0
    backend.go.set()
    trainer.start(job(), 5.0)
    node.hear()
    assert len(later) == 1
    later.pop()()
    assert len(done) == 2 and done[1].result is not None


@pytest.mark.skipif(not hasattr(os, 'sched_setscheduler'), reason='Linux has it for a thread')
def test_the_thread_stands_back_whatever_the_node_runs_with(made):
    class Asking(CpuBackend):
        def fine_tune(self, asked, on_epoch=None):
            policies.append((os.sched_getscheduler(0),
                             os.getpriority(os.PRIO_PROCESS, threading.get_native_id())))
            return super().fine_tune(asked, on_epoch)

    policies = []
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # a new thread inherits it
    try:
        trainer, node, _, _ = made(Asking())
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    trainer.start(job(), 5.0)
    node.hear()
    assert policies == [(os.SCHED_OTHER, NICENESS)]


@pytest.mark.parametrize(('error', 'words'), [(AcceleratorError('no memory'), 'no memory'),
                                              (ZeroDivisionError('oh'), 'ZeroDivisionError: oh')])
def test_an_error_is_told_and_the_thread_goes_on(made, error, words):
    class Failing(CpuBackend):
        fails = True

        def fine_tune(self, asked, on_epoch=None):
            if self.fails:
                raise error
            return super().fine_tune(asked, on_epoch)

    backend = Failing()
    trainer, node, done, later = made(backend)
    trainer.start(job(), 5.0)
    node.hear()
    later.pop()()
    assert done[0].result is None and done[0].problem == words
    backend.fails = False
    trainer.start(job(), 5.0)
    node.hear()
    later.pop()()
    assert done[1].result is not None


def test_closing_stops_the_training_and_ends_the_thread():
    stopped = threading.Event()

    class Endless(Slow):
        def fine_tune(self, asked, on_epoch=None):
            self.began.set()
            while on_epoch(1, 0.0):
                time.sleep(0.001)
            stopped.set()
            raise Cancelled('stopped by the caller')

    backend = Endless()
    node, done = Node(), []
    trainer = OwnTrainer(node, backend, done.append, lambda work: None)
    trainer.start(job(), 5.0)
    assert backend.began.wait(PATIENCE_S)
    trainer.close()
    assert stopped.is_set() and backend.closed.is_set() and not done
    assert node.destroyed == 1
