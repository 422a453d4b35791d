"""Which frames an operator should label: those of which the classifier is least sure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

MEASURES = ('margin', 'entropy', 'disagreement')

T = TypeVar('T')


def uncertainty(measure: str, scores: np.ndarray, frozen_scores: np.ndarray) -> float:
    """
    Measure how unsure a prediction is, in [0, 1], from softmax scores (C,) of both heads.

    margin: 1 - (p1 - p2), of the two best classes (Scheffer et al. 2001). entropy: -sum p log p /
    log C. disagreement: the total variation distance between the adapted and the frozen scores.
    """
    if len(scores) < 2:
        return 0.0
    if measure == 'margin':
        second, first = np.partition(scores, -2)[-2:]
        return float(1.0 - (first - second))
    if measure == 'entropy':
        p = scores[scores > 0].astype(np.float64)
        return float(-(p * np.log(p)).sum() / np.log(len(scores)))
    return float(0.5 * np.abs(scores - frozen_scores).sum())


@dataclass(frozen=True)
class LabelRequestPolicy:
    """
    Ask `per_minute` times at most, each time for the frame of which it was least sure since.

    measure: one of `MEASURES`; threshold: nothing below this uncertainty is asked for.
    """

    measure: str = 'margin'
    threshold: float = 0.5
    per_minute: float = 6.0


class LabelRequests(Generic[T]):
    """Holds the most uncertain frame since the last request. Times in seconds, monotonic."""

    def __init__(self) -> None:
        self._best: tuple[float, T] | None = None
        self._asked_s = float('-inf')

    def offer(self, policy: LabelRequestPolicy, uncertain: float, frame: T) -> None:
        """Consider a frame that was just classified."""
        if uncertain >= policy.threshold and (self._best is None or uncertain > self._best[0]):
            self._best = (uncertain, frame)

    def due(self, policy: LabelRequestPolicy, labelled: Callable[[T], bool],
            now_s: float) -> T | None:
        """Give the frame to ask for, when it is time for one and nobody labelled it meanwhile."""
        if self._best is not None and labelled(self._best[1]):
            self._best = None
        if self._best is None or policy.per_minute == 0 \
                or now_s - self._asked_s < 60.0 / policy.per_minute:
            return None
        frame, self._best, self._asked_s = self._best[1], None, now_s
        return frame
