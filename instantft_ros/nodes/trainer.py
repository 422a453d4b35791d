"""Who trains the classifier's adapters: one job at a time, with a deadline."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
import time

from instantft_ros.accelerator.job import FineTuneJob, FineTuneResult


@dataclass(frozen=True)
class Done:
    """A job's end: the result, or None and what went wrong. round_trip_ms: since it was sent."""

    job: FineTuneJob
    result: FineTuneResult | None
    problem: str
    round_trip_ms: float
    resend: bool = False


class Trainer(ABC):
    """
    Gets jobs trained elsewhere; every call returns at once.

    `on_done` is called exactly once for each job started, unless it was dropped. An answer that
    comes after the deadline, or for a dropped job, is ignored. Taking an answer up is milliseconds
    of work, so it is handed to `defer`; until then the job is under way and may be dropped.
    """

    def __init__(self, on_done: Callable[[Done], None],
                 defer: Callable[[Callable[[], None]], None]) -> None:
        self._on_done, self._defer = on_done, defer
        self._job: FineTuneJob | None = None
        self._started_s = self._deadline_s = 0.0
        self._held = ('', 0)

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether there is anybody to train."""

    @abstractmethod
    def _send(self, job: FineTuneJob) -> None:
        """Have a job trained; end with `_answered` or `_finish`."""

    @abstractmethod
    def _cancel(self) -> None:
        """Stop the training under way, wherever it is; its answer is not wanted."""

    def close(self) -> None:
        """Drop the job under way and give back what was held."""
        self.drop()

    @property
    def busy(self) -> bool:
        """Whether a job is under way."""
        return self._job is not None

    def held_version(self, session: str) -> int:
        """Give the cache version that is known to be held where the training is, 0 for none."""
        return self._held[1] if self._held[0] == session else 0

    def start(self, job: FineTuneJob, deadline_s: float) -> None:
        """Send a job; it counts as failed when no answer came within `deadline_s`."""
        assert self._job is None
        self._job, self._started_s = job, time.monotonic()
        self._deadline_s = self._started_s + deadline_s
        self._send(job)

    def check_deadline(self) -> None:
        """Give up on a job whose deadline has passed; call this regularly."""
        job = self._job
        if job is not None and time.monotonic() > self._deadline_s:
            waited_s = time.monotonic() - self._started_s
            self._cancel()
            self._finish(job, None, f'the trainer did not answer within {waited_s:.1f} s')

    def drop(self) -> None:
        """Cancel the job under way and forget it; `on_done` is not called for it."""
        if self._job is not None:
            self._cancel()
            self._job, self._held = None, ('', 0)

    def _answered(self, job: FineTuneJob, take_up: Callable[[], None]) -> None:
        """Take an answer up when there is time: from now on no deadline counts."""
        if job is self._job:
            self._deadline_s = float('inf')
            self._defer(lambda: take_up() if job is self._job else None)

    def _finish(self, job: FineTuneJob, result: FineTuneResult | None, problem: str,
                resend: bool = False) -> None:
        self._job = None
        self._held = ('', 0) if result is None else (job.update.session, job.update.version)
        round_trip_ms = 1e3 * (time.monotonic() - self._started_s)
        self._on_done(Done(job, result, problem, round_trip_ms, resend))
