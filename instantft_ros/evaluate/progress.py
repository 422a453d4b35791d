"""How far a long replay is."""

from __future__ import annotations

import time

#: A line is printed so often, seconds.
EVERY_S = 5.0


class Progress:
    """Prints a line every few seconds, with the time that is left by the speed so far."""

    def __init__(self, total: int) -> None:
        self._total, self._taken = max(total, 1), 0
        self._started_s = self._printed_s = time.monotonic()

    def step(self, frames: int, swaps: int) -> None:
        """Note one event; frames and adapters so far are only shown."""
        self._taken += 1
        now_s = time.monotonic()
        if now_s - self._printed_s < EVERY_S:
            return
        self._printed_s = now_s
        left_s = (now_s - self._started_s) / self._taken * (self._total - self._taken)
        print(f'{100 * self._taken // self._total:3d} %, {frames} frames, {swaps} adapters, '
              f'about {max(left_s, 0):.0f} s left', flush=True)
