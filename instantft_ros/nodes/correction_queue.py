"""Corrections as they really arrive: one now and then, or thousands at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
import time
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.serialization import deserialize_message

from instantft_ros.msg import Correction
from instantft_ros.nodes import qos

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

#: So many corrections wait at most; those that come beyond it are dropped and counted.
CAPACITY = 10_000

#: Of those that the middleware holds so many are taken in one turn, at most.
TAKEN_AT_ONCE = 500

#: Corrections are handled for so long, then whatever else is due has its turn, seconds.
TURN_S = 0.002


class CorrectionQueue:
    """
    Takes corrections off the middleware as fast as they come, and handles them in small turns.

    Taking one as bytes costs microseconds, handling it a hundred times that; so a flood fills
    this queue and not the middleware's, whose losses nobody would count. `handle` gets each
    message, or None for one that cannot be read; `turn_ended` is called after each turn.
    """

    def __init__(self, node: LifecycleNode, topic: str,
                 handle: Callable[[Correction | None], None],
                 turn_ended: Callable[[], None]) -> None:
        self._dropped = 0
        self._node, self._handle, self._turn_ended = node, handle, turn_ended
        self._waiting: deque[bytes] = deque()
        self._more = node.create_guard_condition(self._turn)
        self._subscription = node.create_subscription(
            Correction, topic, self._take, qos.incoming_corrections(), raw=True,
            event_callbacks=SubscriptionEventCallbacks(message_lost=self._lost))

    def __len__(self) -> int:
        return len(self._waiting)

    def take_dropped(self) -> int:
        """Give how many were dropped since this was asked last."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def close(self, patience_s: float) -> None:
        """Unsubscribe, and handle what waits; what takes longer than `patience_s` is dropped."""
        self._take_more()
        self._node.destroy_subscription(self._subscription)
        self._node.destroy_guard_condition(self._more)
        self._work(patience_s)
        self._dropped += len(self._waiting)
        self._waiting.clear()

    def _take(self, first: bytes) -> None:
        self._put(first)
        self._take_more()
        self._turn()

    def _take_more(self) -> None:
        subscription: Any = self._subscription
        with subscription.handle:
            for _ in range(TAKEN_AT_ONCE):
                taken = subscription.handle.take_message(subscription.msg_type, True)
                if not taken:
                    return
                self._put(taken[0])

    def _put(self, message: bytes) -> None:
        if len(self._waiting) < CAPACITY:
            self._waiting.append(message)
        else:
            self._dropped += 1

    def _turn(self) -> None:
        self._work(TURN_S)
        self._turn_ended()
        if self._waiting:
            self._more.trigger()

    def _work(self, seconds: float) -> None:
        end_s = time.monotonic() + seconds
        while self._waiting and time.monotonic() < end_s:
            data = self._waiting.popleft()
            try:
                message = deserialize_message(data, Correction)
            except Exception:  # torn: the type support raises what it likes
                message = None
            self._handle(message)

    def _lost(self, event: Any) -> None:
        self._dropped += event.total_count_change
