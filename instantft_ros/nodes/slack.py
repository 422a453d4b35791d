"""Work that can wait a moment is done just after an image, not just before one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import pairwise
from statistics import median
import time

#: Work is taken up at once when no image is expected within this time, seconds; within the time
#: that such work took lately, when that is longer.
QUIET_S = 0.003

#: And it waits for an image no longer than this, seconds.
PATIENCE_S = 0.04

#: A longest time is forgotten by so much with each piece of work.
FORGET = 0.05

#: Images of each camera by which the next one is foretold.
REMEMBERED = 6


class Slack:
    """
    Puts work that takes milliseconds where no image has to wait for it.

    Cameras are regular: the next image of each is expected one interval after its last. Work that
    would get in its way, going by how long work took lately, waits until that image is done. Times
    in seconds, monotonic.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s, self._takes_s = clock_s, QUIET_S
        self._arrived_s: dict[str, deque[float]] = {}
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def do(self, work: Callable[[], None], now_s: float) -> None:
        """Do some work now when it is quiet, else later; work is done in the order it came."""
        self.later(work, now_s)
        self.look(now_s)

    def later(self, work: Callable[[], None], now_s: float) -> None:
        """
        Leave some work to the next look or image, so that nothing runs in the caller's midst.

        Work that waits already is not put there twice.
        """
        if all(work != waiting for _, waiting in self._waiting):
            self._waiting.append((now_s, work))

    def look(self, now_s: float) -> None:
        """Do what waits when it is quiet or has waited too long; call this regularly."""
        while self._waiting and (self.quiet(now_s)
                                 or now_s - self._waiting[0][0] >= PATIENCE_S):
            self._do_next()

    def image_done(self, camera: str, arrived_s: float) -> None:
        """Note an image that has just been classified, and do one piece of work after it."""
        self._arrived_s.setdefault(camera, deque(maxlen=REMEMBERED)).append(arrived_s)
        if self._waiting:
            self._do_next()

    def quiet(self, now_s: float) -> bool:
        """Tell whether no image is expected, or late, by the time that work takes."""
        return not any(abs(_next(arrived_s) - now_s) < self._takes_s
                       for arrived_s in self._arrived_s.values())

    def _do_next(self) -> None:
        began_s = self._clock_s()
        self._waiting.popleft()[1]()
        took_s = min(self._clock_s() - began_s, PATIENCE_S)
        self._takes_s = max(took_s, (1.0 - FORGET) * self._takes_s, QUIET_S)

    def clear(self) -> None:
        """Forget the cameras and what waits."""
        self._arrived_s.clear()
        self._waiting.clear()


def _next(arrived_s: deque[float]) -> float:
    """Foretell the next image, by medians, so that one that was late misleads nobody."""
    if len(arrived_s) < 2:
        return float('-inf')
    interval_s = median(after - before for before, after in pairwise(arrived_s))
    return median(each + ago * interval_s
                  for ago, each in enumerate(reversed(arrived_s), start=1))
