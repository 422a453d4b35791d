"""Rate and age of a camera's frames over the last second."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
import statistics

#: The time that a summary covers, seconds.
SPAN_S = 1.0


@dataclass(frozen=True)
class AgeSummary:
    """Frames per second, and median and highest age in milliseconds; NaN: no frames."""

    rate_hz: float
    p50_ms: float
    max_ms: float


class FrameAges:
    """Keeps what arrived within the last second, by a monotonic clock in seconds."""

    def __init__(self) -> None:
        self._ages: deque[tuple[float, float]] = deque()

    def add(self, age_ms: float, now_s: float) -> None:
        """Note a frame that was taken now."""
        self._ages.append((now_s, age_ms))
        self._forget(now_s)

    def summary(self, now_s: float) -> AgeSummary:
        """Give rate and ages of the last second."""
        self._forget(now_s)
        ages = [age for _, age in self._ages]
        if not ages:
            return AgeSummary(0.0, float('nan'), float('nan'))
        return AgeSummary(len(ages) / SPAN_S, statistics.median(ages), max(ages))

    def _forget(self, now_s: float) -> None:
        while self._ages and self._ages[0][0] <= now_s - SPAN_S:
            self._ages.popleft()
