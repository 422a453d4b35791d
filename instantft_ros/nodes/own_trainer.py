"""Training in the classifier's own process, on a thread that leaves Python's lock alone."""

from __future__ import annotations

from collections.abc import Callable
import contextlib
from functools import partial
import os
from queue import SimpleQueue
import threading

from rclpy.lifecycle import LifecycleNode

from instantft_ros.accelerator.base import Accelerator, StopFlag
from instantft_ros.accelerator.job import FineTuneJob, FineTuneResult
from instantft_ros.core.errors import Cancelled, InstantFTError
from instantft_ros.nodes.trainer import Done, Trainer

#: How far the thread stands back where the processor is shared, so that images go first.
NICENESS = 10

#: At the end a training gets so long to stop after its epoch, seconds.
PATIENCE_S = 5.0


class OwnTrainer(Trainer):
    """
    Trains on a backend in this process.

    Nothing is sent: no message, no second process, and the native kernel runs beside the images.
    A training that was given up ends after its epoch; the next one waits for that.
    """

    ready = True

    def __init__(self, node: LifecycleNode, backend: Accelerator, on_done: Callable[[Done], None],
                 defer: Callable[[Callable[[], None]], None]) -> None:
        super().__init__(on_done, defer)
        self._node, self._backend = node, backend
        self._unwanted = StopFlag()
        self._jobs: SimpleQueue[tuple[FineTuneJob, StopFlag] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[FineTuneJob, FineTuneResult | None, str]] = SimpleQueue()
        self._wake = node.create_guard_condition(self._hear)
        self._thread = threading.Thread(target=self._work, name='trainer', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Drop the job under way and end the thread."""
        super().close()
        self._jobs.put(None)
        self._thread.join(PATIENCE_S)
        self._node.destroy_guard_condition(self._wake)

    def _send(self, job: FineTuneJob) -> None:
        self._unwanted = StopFlag()
        self._jobs.put((job, self._unwanted))

    def _cancel(self) -> None:
        self._unwanted.set()

    def _hear(self) -> None:
        while not self._answers.empty():
            job, result, problem = self._answers.get()
            self._answered(job, partial(self._finish, job, result, problem))

    # on the thread

    def _work(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # Linux has both for a thread
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # whatever the node has
        with contextlib.suppress(OSError, AttributeError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while (asked := self._jobs.get()) is not None:
            self._train(*asked)
        self._backend.close()

    def _train(self, job: FineTuneJob, unwanted: StopFlag) -> None:
        result, problem = None, ''
        try:
            result = self._backend.fine_tune(job, unwanted)
        except Cancelled:
            return
        except InstantFTError as error:
            problem = str(error)
        except Exception as error:  # a fault of ours must not end the thread
            problem = f'{type(error).__name__}: {error}'
        self._answers.put((job, result, problem))
        self._wake.trigger()
