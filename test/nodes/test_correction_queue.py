"""The queue of corrections: turns, bounds and counts, without DDS."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
from rclpy.serialization import serialize_message

from instantft_ros.msg import Correction
from instantft_ros.nodes import correction_queue
from instantft_ros.nodes.correction_queue import CorrectionQueue


class Middleware:
    """Stands in for a node, its subscription and its guard condition."""

    def __init__(self) -> None:
        self.held: list[bytes] = []
        self.triggered = 0
        handle = nullcontext()
        handle.take_message = lambda kind, raw: (self.held.pop(0), None) if self.held else None
        self.subscription = SimpleNamespace(handle=handle, msg_type=Correction)

    def create_subscription(self, *arguments, **named):
        return self.subscription

    def create_guard_condition(self, callback):
        return self

    def trigger(self) -> None:
        self.triggered += 1

    def destroy_subscription(self, subscription) -> None:
        self.held.clear()

    def destroy_guard_condition(self, guard) -> None:
        pass


class Desk:
    """A queue whose handling of one correction takes a millisecond of a clock of its own."""

    def __init__(self, monkeypatch) -> None:
        self.now_s, self.handled, self.turns = 0.0, [], 0
        monkeypatch.setattr(correction_queue.time, 'monotonic', lambda: self.now_s)
        self.middleware = Middleware()
        self.queue = CorrectionQueue(self.middleware, 'corrections', self.handle, self.turn)

    def handle(self, message: Correction | None) -> None:
        self.now_s += 0.001
        self.handled.append(message)

    def turn(self) -> None:
        self.turns += 1

    def receive(self, count: int) -> None:
        data = [serialize_message(Correction(id=str(number))) for number in range(count)]
        self.middleware.held += data[1:]
        self.queue._take(data[0])


@pytest.fixture
def desk(monkeypatch) -> Desk:
    return Desk(monkeypatch)


def test_a_turn_is_short_and_another_one_is_asked_for(desk):
    desk.receive(100)
    assert len(desk.handled) <= 3 and desk.turns == 1
    assert desk.middleware.triggered == 1
    while len(desk.queue):
        desk.queue._turn()
    assert [message.id for message in desk.handled] == [str(number) for number in range(100)]
    triggered = desk.middleware.triggered
    desk.queue._turn()
    assert desk.middleware.triggered == triggered, 'nothing waits'


def test_what_does_not_fit_is_dropped_and_counted_once(desk, monkeypatch):
    monkeypatch.setattr(correction_queue, 'CAPACITY', 10)
    desk.receive(100)
    assert desk.queue.take_dropped() == 90
    assert desk.queue.take_dropped() == 0


def test_a_flood_is_taken_in_parts(desk, monkeypatch):
    monkeypatch.setattr(correction_queue, 'TAKEN_AT_ONCE', 20)
    desk.receive(100)
    assert len(desk.middleware.held) == 79


def test_a_torn_message_is_handed_on_as_such(desk):
    desk.queue._take(b'torn')
    assert desk.handled == [None]


def test_at_the_end_what_waits_is_handled_and_the_rest_counted(desk):
    desk.receive(100)
    before = len(desk.handled)
    desk.queue.close(patience_s=0.05)
    assert 50 <= len(desk.handled) - before <= 51
    assert desk.queue.take_dropped() == 100 - len(desk.handled)
