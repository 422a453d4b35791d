"""The accelerator node: offers the `fine_tune` action and runs it on the chosen backend."""

from __future__ import annotations

from dataclasses import dataclass
import os
import threading
import time

from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import MultiThreadedExecutor

from instantft_ros.accelerator import registry
from instantft_ros.accelerator.base import Accelerator
from instantft_ros.accelerator.fallback import WithFallback
from instantft_ros.action import FineTune
from instantft_ros.core.errors import (
    CacheError,
    CacheMismatchError,
    Cancelled,
    InstantFTError,
    JobError,
)
from instantft_ros.msg import AcceleratorInfo
from instantft_ros.nodes import conversions, qos
from instantft_ros.nodes.managed_node import ManagedNode, run
from instantft_ros.nodes.parameters import parameter, Parameters

#: A result is kept so long for a client to fetch it, seconds: each holds the whole adapter.
RESULT_KEPT_S = 2

#: Time between two feedbacks: each one wakes the classifier.
FEEDBACK_S = 0.1


@dataclass(frozen=True)
class AcceleratorParameters:
    """The parameters of the node `accelerator`."""

    backend: str = parameter('cpu', 'what trains the adapters',
                             choices=tuple(sorted(registry.BACKENDS)))
    fallback: str = parameter('cpu', 'what steps in when the backend fails while it runs',
                              choices=('none', 'cpu'))
    niceness: int = parameter(10, 'how far the process stands back where the processor is shared, '
                              'so that classification goes first', low=0, high=19)
    autostart: bool = parameter(True, 'configure and activate without a lifecycle manager')


class AcceleratorNode(ManagedNode):
    """Runs one fine-tuning at a time; a second goal is refused while one is under way."""

    def __init__(self) -> None:
        super().__init__('accelerator')
        self._settings = Parameters(self, AcceleratorParameters)
        self._backend: Accelerator | None = None
        self._server: ActionServer | None = None
        self._busy = threading.Lock()
        os.nice(self._settings.value.niceness)
        if self._settings.value.autostart:
            self.start()

    def configure(self) -> None:
        """Open the backend."""
        settings = self._settings.value
        self.get_logger().info(f"opening backend '{settings.backend}'" + (
            ', which compiles for a minute at its first start'
            if settings.backend == 'sim' else ''))
        backend = registry.create(settings.backend)
        if settings.fallback not in ('none', backend.name):
            backend = WithFallback(backend, registry.create(settings.fallback))
        self._backend = backend
        self._info = self.create_lifecycle_publisher(AcceleratorInfo, 'accelerator_info',
                                                     qos.status())
        if backend.notice:
            self.get_logger().warning(backend.notice)
        self.get_logger().info(f"backend '{backend.name}' is ready, fallback: "
                               f'{settings.fallback}')

    def activate(self) -> None:
        """Offer the action."""
        self._server = ActionServer(
            self, FineTune, 'fine_tune', self._execute, goal_callback=self._on_goal,
            cancel_callback=lambda goal: CancelResponse.ACCEPT,
            callback_group=ReentrantCallbackGroup(), result_timeout=RESULT_KEPT_S)
        assert self._backend is not None
        fallback = self._settings.value.fallback
        self._info.publish(conversions.accelerator_info(
            self._backend, '' if fallback in ('none', self._backend.name) else fallback))

    def deactivate(self) -> None:
        """Withdraw the action; a training that is under way stops after its epoch."""
        server, self._server = self._server, None
        if server is not None:
            server.destroy()

    def cleanup(self) -> None:
        """Close the backend."""
        if self._backend is not None:
            with self._busy:
                self._backend.close()
            self._backend = None
            self.destroy_lifecycle_publisher(self._info)

    def _on_goal(self, goal: FineTune.Goal) -> GoalResponse:
        return GoalResponse.REJECT if self._busy.locked() else GoalResponse.ACCEPT

    def _execute(self, handle: ServerGoalHandle) -> FineTune.Result:
        result = FineTune.Result(energy_j=float('nan'))
        try:
            with self._busy:
                result = self._fine_tune(handle)
        except CacheMismatchError as error:
            result.status, result.message = FineTune.Result.CACHE_MISMATCH, str(error)
        except (CacheError, JobError) as error:
            result.status, result.message = FineTune.Result.INVALID, str(error)
            self.get_logger().error(f'invalid job: {error}')
        except Cancelled as error:
            result.status, result.message = FineTune.Result.CANCELLED, str(error)
        except InstantFTError as error:
            result.status, result.message = FineTune.Result.FAILED, str(error)
            self.get_logger().error(f'the fine-tuning failed: {error}')
        if result.status == FineTune.Result.OK:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return result

    def _fine_tune(self, handle: ServerGoalHandle) -> FineTune.Result:
        told_s = time.monotonic()

        def on_epoch(epoch: int, loss: float) -> bool:
            nonlocal told_s
            if self._server is None:
                return False
            if time.monotonic() - told_s >= FEEDBACK_S:
                told_s = time.monotonic()
                handle.publish_feedback(FineTune.Feedback(epoch=epoch, loss=loss))
            return not handle.is_cancel_requested

        assert self._backend is not None
        done = self._backend.fine_tune(conversions.job(handle.request), on_epoch)
        if done.fallback:
            self.get_logger().warning(done.fallback, throttle_duration_sec=5.0)
        return conversions.result(done)


def main() -> int:
    """Run the node."""
    # one thread trains, the other takes cancellations and parameters meanwhile
    return run(AcceleratorNode, lambda: MultiThreadedExecutor(num_threads=2))
