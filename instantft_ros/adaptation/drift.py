"""
Drift: whether what the cameras see has become another thing than it was.

Two signals per view need no labels: the confidence of the predictions, and how far a frame's
features are from the usual ones. A third is whether corrected frames had been predicted wrongly;
it says something only where operators also confirm what was right. Each goes through a two-sided
CUSUM (Page 1954) over the means of blocks of frames, so that one object in view for a second
counts once. What is usual is learned from the first blocks, and again after each alarm: so a drift
that comes back is found again. Measured, with false alarms and delays, by
benchmark/drift_detection.py (doc/governance.md).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

#: Names of the signals.
SIGNALS = ('confidence', 'features')

#: A correction is one object already: fewer of them make a mean.
CORRECTIONS_PER_MEAN = 5


@dataclass(frozen=True)
class DriftPolicy:
    """
    block: frames per mean. reference: blocks from which the usual mean and spread are learned.

    slack: deviations that are let pass, in standard deviations of a block's mean; threshold: the
    sum of what is beyond them that raises an alarm.
    """

    block: int = 30
    reference: int = 20
    slack: float = 1.0
    threshold: float = 8.0


class Cusum:
    """Watches one scalar signal, frame by frame."""

    def __init__(self, policy: DriftPolicy) -> None:
        self._policy = policy
        self._block: list[float] = []
        self._means: list[float] = []
        self._usual: tuple[float, float] | None = None
        self._up = self._down = 0.0

    def update(self, value: float) -> bool:
        """Take one frame's value; True when this raises an alarm."""
        self._block.append(value)
        if len(self._block) < self._policy.block:
            return False
        mean = float(np.mean(self._block))
        self._block.clear()
        if self._usual is None:
            self._means.append(mean)
            if len(self._means) == self._policy.reference:
                spread = float(np.std(self._means, ddof=1))
                self._usual = float(np.mean(self._means)), max(spread, 1e-6)
            return False
        deviation = (mean - self._usual[0]) / self._usual[1]
        self._up = max(0.0, self._up + deviation - self._policy.slack)
        self._down = max(0.0, self._down - deviation - self._policy.slack)
        if max(self._up, self._down) <= self._policy.threshold:
            return False
        self._means.clear()
        self._usual = None
        self._up = self._down = 0.0
        return True


class DriftMonitor:
    """Watches the views of all cameras; see the module."""

    def __init__(self, policy: DriftPolicy) -> None:
        self._policy = policy
        self._detectors: dict[tuple[str, str], Cusum] = {}
        self._usual: dict[str, _MeanFeatures] = {}
        self._mistakes = Cusum(replace(policy, block=CORRECTIONS_PER_MEAN))
        self.alarms = 0

    def corrected(self, wrong: bool) -> bool:
        """Take one corrected frame, had it been predicted wrongly; True when it is an alarm."""
        found = self._mistakes.update(float(wrong))
        self.alarms += found
        return found

    def update(self, view: str, confidence: float, features: np.ndarray) -> str:
        """
        Take one frame: its confidence, and features (D,) such as the network's logits.

        Gives the signal that raised an alarm, or an empty text.
        """
        mean = self._usual.setdefault(view, _MeanFeatures(
            self._policy.block * self._policy.reference // 4))
        found = ''
        for signal, value in (('confidence', confidence),
                              ('features', mean.distance(features))):
            detector = self._detectors.setdefault((view, signal), Cusum(self._policy))
            if value is not None and detector.update(value):
                found = found or signal
        if found:
            self.alarms += 1
            del self._usual[view]
            for signal in SIGNALS:
                del self._detectors[view, signal]
        return found


class _MeanFeatures:
    """The usual features of a view: the mean of its first frames."""

    def __init__(self, frames: int) -> None:
        self._frames, self._count = frames, 0
        self._sum: np.ndarray | float = 0.0

    def distance(self, features: np.ndarray) -> float | None:
        """Give how far a frame is from the mean; None while that is being learned."""
        if self._count < self._frames:
            self._count += 1
            self._sum = self._sum + features.astype(np.float64)
            return None
        return float(np.linalg.norm(features - self._sum / self._count))
