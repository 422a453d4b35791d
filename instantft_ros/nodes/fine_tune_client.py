"""The classifier's side of the `fine_tune` action."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.lifecycle import LifecycleNode

from instantft_ros.accelerator.job import FineTuneJob
from instantft_ros.action import FineTune
from instantft_ros.core.errors import InstantFTError
from instantft_ros.nodes import conversions
from instantft_ros.nodes.trainer import Done, Trainer


class FineTuneClient(Trainer):
    """Sends jobs to the accelerator node."""

    def __init__(self, node: LifecycleNode, action: str, on_done: Callable[[Done], None],
                 defer: Callable[[Callable[[], None]], None]) -> None:
        super().__init__(on_done, defer)
        self._client = ActionClient(node, FineTune, action)
        self._handle: Any = None

    @property
    def ready(self) -> bool:
        """Whether an accelerator node offers the action."""
        return bool(self._client.server_is_ready())

    def close(self) -> None:
        """Drop the job under way and leave the action."""
        super().close()
        self._client.destroy()

    def _send(self, job: FineTuneJob) -> None:
        self._handle = None
        if not self.ready:
            self._finish(job, None, 'no accelerator node offers the action fine_tune')
            return
        accepted = self._client.send_goal_async(conversions.goal(job))
        accepted.add_done_callback(lambda future: self._accepted(job, future.result()))

    def _accepted(self, job: FineTuneJob, handle: Any) -> None:
        if job is not self._job:
            if handle.accepted:
                handle.cancel_goal_async()
        elif not handle.accepted:
            self._finish(job, None, 'the accelerator refused the job: it is busy with another')
        else:
            self._handle = handle
            handle.get_result_async().add_done_callback(
                lambda future: self._answered(job, lambda: self._take_up(job, future.result())))

    def _take_up(self, job: FineTuneJob, answer: Any) -> None:
        self._handle = None
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
            self._finish(job, result, '')

    def _cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel_goal_async()
            self._handle = None
