"""Whether one classifier is worse than another on the same samples, beyond chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: A difference counts when it is beyond the tolerance by this many standard deviations.
SIGNIFICANT_SIGMAS = 2.0


@dataclass(frozen=True)
class Paired:
    """
    The comparison of a new classifier with the present one on `count` samples.

    lost: the present one is right and the new one wrong; won: the reverse. The other samples say
    nothing of the difference (McNemar 1947): its standard deviation is sqrt(lost + won).
    """

    lost: int = 0
    won: int = 0
    count: int = 0

    @staticmethod
    def of(right_now: np.ndarray, right_new: np.ndarray) -> Paired:
        """Compare two boolean arrays (N,): which samples each of the two has right."""
        return Paired(int((right_now & ~right_new).sum()), int((~right_now & right_new).sum()),
                      len(right_now))

    def __add__(self, other: Paired) -> Paired:
        return Paired(self.lost + other.lost, self.won + other.won, self.count + other.count)

    def worse(self, tolerance: float, sigmas: float = SIGNIFICANT_SIGMAS) -> bool:
        """Tell whether the accuracy fell by more than `tolerance` and than chance explains."""
        return self.lost - self.won > self.tolerated(tolerance, sigmas)

    def tolerated(self, tolerance: float, sigmas: float = SIGNIFICANT_SIGMAS) -> float:
        """Give how many samples may be lost on balance."""
        return float(tolerance * self.count + sigmas * (self.lost + self.won) ** 0.5)
