"""When to fine-tune."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TriggerPolicy:
    """
    Fine-tune after `min_corrections` new ones, or `max_wait_s` after the first of fewer.

    Two fine-tunings start at least `min_interval_s` apart.
    """

    min_corrections: int = 1
    max_wait_s: float = 1.0
    min_interval_s: float = 0.0


class Trigger:
    """Counts the corrections that no fine-tuning has seen yet. Times in seconds, monotonic."""

    def __init__(self) -> None:
        self.pending = 0
        self._first_s = 0.0
        self._started_s = float('-inf')

    def corrected(self, now_s: float, count: int = 1) -> None:
        """Note corrections that changed the cache."""
        if self.pending == 0:
            self._first_s = now_s
        self.pending += count

    def due(self, policy: TriggerPolicy, now_s: float) -> bool:
        """Tell whether to start now."""
        if self.pending == 0 or now_s - self._started_s < policy.min_interval_s:
            return False
        return (self.pending >= policy.min_corrections
                or now_s - self._first_s >= policy.max_wait_s)

    def started(self, now_s: float) -> int:
        """Note the start of a fine-tuning; gives how many corrections it takes up."""
        taken, self.pending, self._started_s = self.pending, 0, now_s
        return taken

    def failed(self, taken: int, now_s: float) -> None:
        """Put back the corrections of a fine-tuning that brought nothing."""
        if taken and self.pending == 0:
            self._first_s = now_s
        self.pending += taken
