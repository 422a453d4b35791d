"""How much training a robot may afford."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
import math

#: What was spent is forgotten after this time, seconds.
HOUR_S = 3600.0


@dataclass(frozen=True)
class BudgetPolicy:
    """The most in any hour: trainings, the accelerator's seconds, its joules; 0: no limit."""

    trainings_per_hour: int = 0
    seconds_per_hour: float = 0.0
    joules_per_hour: float = 0.0


class Budget:
    """Keeps what the trainings of the last hour took. Times in seconds, monotonic."""

    def __init__(self) -> None:
        self._spent: deque[tuple[float, float, float]] = deque()

    def spent(self, train_ms: float, energy_j: float, now_s: float) -> None:
        """Note a training; energy_j NaN: not measured."""
        self._spent.append((now_s, train_ms / 1e3, 0.0 if math.isnan(energy_j) else energy_j))

    def why_not(self, policy: BudgetPolicy, now_s: float) -> str:
        """Say which limit forbids a training now; empty: none."""
        while self._spent and now_s - self._spent[0][0] >= HOUR_S:
            self._spent.popleft()
        for limit, used, what in (
                (policy.trainings_per_hour, len(self._spent), 'trainings'),
                (policy.seconds_per_hour, sum(each[1] for each in self._spent), 'seconds'),
                (policy.joules_per_hour, sum(each[2] for each in self._spent), 'joules')):
            if limit and used >= limit:
                return f'the budget of {limit:g} {what} an hour is used up'
        return ''
