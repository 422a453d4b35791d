"""The classifier's side of the `fine_tune` action: one job at a time, with a deadline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import time
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.lifecycle import LifecycleNode

from instantft_ros.accelerator.job import FineTuneJob, FineTuneResult
from instantft_ros.action import FineTune
from instantft_ros.core.errors import InstantFTError
from instantft_ros.nodes import conversions


@dataclass(frozen=True)
class Done:
    """A job's end: the result, or None and what went wrong. round_trip_ms: since it was sent."""

    job: FineTuneJob
    result: FineTuneResult | None
    problem: str
    round_trip_ms: float
    resend: bool = False


class FineTuneClient:
    """
    Sends jobs to the accelerator node; every call returns at once.

    `on_done` is called exactly once for each job started, unless it was dropped. An answer that
    comes after the deadline, or for a dropped job, is ignored. Taking an answer up is milliseconds
    of work, so it is handed to `defer`; until then the job is under way and may be dropped.
    """

    def __init__(self, node: LifecycleNode, action: str, on_done: Callable[[Done], None],
                 defer: Callable[[Callable[[], None]], None]) -> None:
        self._client = ActionClient(node, FineTune, action)
        self._on_done, self._defer = on_done, defer
        self._job: FineTuneJob | None = None
        self._handle: Any = None
        self._started_s = self._deadline_s = 0.0
        self._held = ('', 0)

    @property
    def ready(self) -> bool:
        """Whether an accelerator node offers the action."""
        return bool(self._client.server_is_ready())

    @property
    def busy(self) -> bool:
        """Whether a job is under way."""
        return self._job is not None

    def held_version(self, session: str) -> int:
        """Give the cache version that the accelerator is known to hold, 0 for none."""
        return self._held[1] if self._held[0] == session else 0

    def start(self, job: FineTuneJob, deadline_s: float) -> None:
        """Send a job; it counts as failed when no answer came within `deadline_s`."""
        assert self._job is None
        self._job, self._handle = job, None
        self._started_s = time.monotonic()
        self._deadline_s = self._started_s + deadline_s
        if not self.ready:
            self._finish(job, None, 'no accelerator node offers the action fine_tune')
            return
        accepted = self._client.send_goal_async(conversions.goal(job))
        accepted.add_done_callback(lambda future: self._accepted(job, future.result()))

    def check_deadline(self) -> None:
        """Give up on a job whose deadline has passed; call this regularly."""
        job = self._job
        if job is not None and time.monotonic() > self._deadline_s:
            waited_s = time.monotonic() - self._started_s
            self._cancel()
            self._finish(job, None, f'the accelerator did not answer within {waited_s:.1f} s')

    def drop(self) -> None:
        """Cancel the job under way and forget it; `on_done` is not called for it."""
        if self._job is not None:
            self._cancel()
            self._job, self._held = None, ('', 0)

    def close(self) -> None:
        """Drop the job under way and leave the action."""
        self.drop()
        self._client.destroy()

    def _accepted(self, job: FineTuneJob, handle: Any) -> None:
        if job is not self._job:
            if handle.accepted:
                handle.cancel_goal_async()
        elif not handle.accepted:
            self._finish(job, None, 'the accelerator refused the job: it is busy with another')
        else:
            self._handle = handle
            handle.get_result_async().add_done_callback(
                lambda future: self._answered(job, future.result()))

    def _answered(self, job: FineTuneJob, answer: Any) -> None:
        if job is self._job:
            self._deadline_s = float('inf')
            self._defer(lambda: self._take_up(job, answer))

    def _take_up(self, job: FineTuneJob, answer: Any) -> None:
        if job is not self._job:
            return
        message: FineTune.Result = answer.result
        if message.status == FineTune.Result.CACHE_MISMATCH and job.update.base_version:
            self._finish(job, None, message.message, resend=True)
        elif answer.status != GoalStatus.STATUS_SUCCEEDED \
                or message.status != FineTune.Result.OK:
            self._finish(job, None, message.message or f'goal status {answer.status}')
        else:
            try:
                result = conversions.fine_tune_result(message, job)
            except InstantFTError as error:
                self._finish(job, None, f'the accelerator gave an unusable adapter: {error}')
                return
            self._held = (job.update.session, job.update.version)
            self._finish(job, result, '')

    def _finish(self, job: FineTuneJob, result: FineTuneResult | None, problem: str,
                resend: bool = False) -> None:
        self._job = self._handle = None
        if result is None:
            self._held = ('', 0)
        round_trip_ms = 1e3 * (time.monotonic() - self._started_s)
        self._on_done(Done(job, result, problem, round_trip_ms, resend))

    def _cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel_goal_async()
            self._handle = None
