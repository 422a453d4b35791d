"""Work that can wait a moment is done just after an image, not just before one."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

#: Work is taken up at once when no image is expected within this time, seconds.
QUIET_S = 0.003

#: And it waits for an image no longer than this, seconds.
PATIENCE_S = 0.04


class Slack:
    """
    Puts work that takes milliseconds where no image has to wait for it.

    Cameras are regular: the next image of each is expected one interval after its last. Work that
    would get in its way waits until that image is done. Times in seconds, monotonic.
    """

    def __init__(self) -> None:
        self._last_s: dict[str, float] = {}
        self._interval_s: dict[str, float] = {}
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()

    @property
    def empty(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def do(self, work: Callable[[], None], now_s: float) -> None:
        """
        Do some work now when it is quiet, else later; work is done in the order it came.

        Work that waits already is not put there twice.
        """
        if all(work != waiting for _, waiting in self._waiting):
            self._waiting.append((now_s, work))
        self.look(now_s)

    def look(self, now_s: float) -> None:
        """Do what waits when it is quiet or has waited too long; call this regularly."""
        while self._waiting and (self.quiet(now_s)
                                 or now_s - self._waiting[0][0] >= PATIENCE_S):
            self._waiting.popleft()[1]()

    def image_done(self, camera: str, arrived_s: float) -> None:
        """Note an image that has just been classified, and do one piece of work after it."""
        last_s = self._last_s.get(camera)
        if last_s is not None:
            self._interval_s[camera] = arrived_s - last_s
        self._last_s[camera] = arrived_s
        if self._waiting:
            self._waiting.popleft()[1]()

    def quiet(self, now_s: float) -> bool:
        """Tell whether no image is expected within `QUIET_S`; late ones are not waited for."""
        return not any(-QUIET_S < last_s + self._interval_s[camera] - now_s < QUIET_S
                       for camera, last_s in self._last_s.items() if camera in self._interval_s)

    def clear(self) -> None:
        """Forget the cameras and what waits."""
        self._last_s.clear()
        self._interval_s.clear()
        self._waiting.clear()
