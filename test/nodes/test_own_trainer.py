"""Training on a thread of the classifier's, with a backend that answers when it is told to."""

import os
import threading
import time

import pytest
from test_trainer import job, Node, PATIENCE_S, Slow

from instantft_ros.accelerator.cpu import CpuBackend
from instantft_ros.core.errors import AcceleratorError, Cancelled
from instantft_ros.nodes.own_trainer import NICENESS, OwnTrainer


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


def test_a_scheduler_that_cannot_be_left_costs_no_niceness(made, monkeypatch):
    class Asking(CpuBackend):
        def fine_tune(self, asked, on_epoch=None):
            seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
            return super().fine_tune(asked, on_epoch)

    def refuse(*_: object) -> None:
        raise PermissionError

    seen = []
    monkeypatch.setattr(os, 'sched_setscheduler', refuse, raising=False)
    trainer, node, _, _ = made(Asking())
    trainer.start(job(), 5.0)
    node.hear()
    assert seen == [NICENESS]


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
