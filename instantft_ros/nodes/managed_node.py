"""What the lifecycle nodes of this package have in common, and how a node is run."""

from __future__ import annotations

from collections.abc import Callable
import signal
import traceback

from lifecycle_msgs.msg import State
import rclpy
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from instantft_ros.core.errors import InstantFTError, ParameterError

#: How long an idle node takes to notice a signal at most, seconds.
LOOK_FOR_SIGNALS_S = 0.2


class ManagedNode(LifecycleNode):
    """
    A lifecycle node whose subclass implements `configure`, `activate`, `deactivate`, `cleanup`.

    They raise on failure: an error of this package fails the transition with its message in the
    log, any other is logged with its traceback and leads through `on_error` to unconfigured.
    """

    def configure(self) -> None:
        """Load what is needed and make publishers, services and clients."""

    def activate(self) -> None:
        """Begin the work."""

    def deactivate(self) -> None:
        """End the work."""

    def cleanup(self) -> None:
        """Undo `configure`; must also work when `configure` got only half-way."""

    def start(self) -> None:
        """Configure and activate, as the parameter `autostart` asks for."""
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def finish(self) -> None:
        """Deactivate and clean up, as far as there is something to."""
        if self.active:
            self.trigger_deactivate()
        if self._state_machine.current_state[0] == State.PRIMARY_STATE_INACTIVE:
            self.trigger_cleanup()

    @property
    def active(self) -> bool:
        """Whether the node is in the state active."""
        return bool(self._state_machine.current_state[0] == State.PRIMARY_STATE_ACTIVE)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Handle the transition; called by rclpy."""
        result = self._transition(self.configure)
        if result is TransitionCallbackReturn.FAILURE:
            self._transition(self.cleanup)
        return result

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Handle the transition; called by rclpy."""
        super().on_activate(state)
        return self._transition(self.activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Handle the transition; called by rclpy."""
        result = self._transition(self.deactivate)
        super().on_deactivate(state)
        return result

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Handle the transition; called by rclpy."""
        return self._transition(self.cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Handle the transition; called by rclpy."""
        if state.state_id == State.PRIMARY_STATE_ACTIVE:
            self.on_deactivate(state)
        return self._transition(self.cleanup)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Go back to unconfigured after an unforeseen error; called by rclpy."""
        return self._transition(self.cleanup)

    def _transition(self, work: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            work()
        except InstantFTError as error:
            self.get_logger().error(f'cannot {work.__name__}: {error}')
            return TransitionCallbackReturn.FAILURE
        except Exception:
            self.get_logger().error(f'cannot {work.__name__}:\n{traceback.format_exc()}')
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS


def run(make_node: Callable[[], Node],
        make_executor: Callable[[], Executor] = SingleThreadedExecutor) -> int:
    """
    Run a node until SIGINT or SIGTERM; an exit code for the process.

    The signals only end the loop. rclpy's own handlers would make every publisher invalid at
    once, in the middle of whatever callback is running.
    """
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    signals: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: signals.append(received))
    try:
        node = make_node()
        executor = make_executor()
        executor.add_node(node)
        while not signals:
            executor.spin_once(timeout_sec=LOOK_FOR_SIGNALS_S)
        if isinstance(node, ManagedNode):
            node.finish()
        executor.shutdown(timeout_sec=5.0)
        node.destroy_node()
    except ParameterError as error:
        get_logger('instantft_ros').fatal(str(error))
        return 1
    finally:
        rclpy.try_shutdown()
    return 0
