"""How often, and how soon, a fine-tuning that failed is tried again."""

from __future__ import annotations

from dataclasses import dataclass

#: No pause between two attempts grows beyond this, seconds.
LONGEST_PAUSE_S = 60.0


@dataclass(frozen=True)
class RetryPolicy:
    """The first pause is `pause_s`, each further one twice as long; `most` attempts in a row."""

    pause_s: float = 2.0
    most: int = 5


class Retries:
    """Counts failures in a row. Times in seconds, monotonic."""

    def __init__(self) -> None:
        self.failures = 0
        self._not_before_s = float('-inf')

    def failed(self, policy: RetryPolicy, now_s: float) -> None:
        """Note a failure."""
        pause_s = policy.pause_s * 2.0 ** min(self.failures, 30)
        self.failures += 1
        self._not_before_s = now_s + min(pause_s, max(LONGEST_PAUSE_S, policy.pause_s))

    def succeeded(self) -> None:
        """Begin anew: after a success, or when the accelerator has come back."""
        self.failures, self._not_before_s = 0, float('-inf')

    def corrected(self, policy: RetryPolicy) -> None:
        """Allow one more attempt, after the pause: a new correction came."""
        self.failures = min(self.failures, max(policy.most - 1, 0))

    def exhausted(self, policy: RetryPolicy) -> bool:
        """Tell whether nothing is tried any more until something new happens."""
        return self.failures >= policy.most

    def allowed(self, policy: RetryPolicy, now_s: float) -> bool:
        """Tell whether an attempt may start now."""
        return not self.exhausted(policy) and now_s >= self._not_before_s
