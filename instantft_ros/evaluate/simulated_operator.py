"""An operator for recordings without corrections: corrects what was predicted wrong."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from instantft_ros.core.corrections import Correction, Selector
from instantft_ros.core.frame_ring import FrameId


@dataclass(frozen=True)
class OperatorPolicy:
    """
    A correction comes `reaction_frames` after the wrong prediction.

    Of wrong predictions less than `frames_per_correction` after one that is corrected none is.
    """

    reaction_frames: int = 5
    frames_per_correction: int = 1


class SimulatedOperator:
    """Knows what every frame of one view shows. Frames are numbered from 0."""

    def __init__(self, view: str, policy: OperatorPolicy) -> None:
        self._view, self._policy = view, policy
        self._due: deque[tuple[int, Correction]] = deque()
        self._free_at = 0

    def saw(self, number: int, frame: FrameId, predicted: int, label: int) -> None:
        """Look at a prediction."""
        if predicted != label and number >= self._free_at:
            self._due.append((number + self._policy.reaction_frames,
                              Correction(self._view, Selector.STAMP, label, number + 1,
                                         frame.stamp_ns)))
            self._free_at = number + self._policy.frames_per_correction

    def due(self, number: int) -> list[Correction]:
        """Give the corrections to apply before frame `number` is classified."""
        due = []
        while self._due and self._due[0][0] <= number:
            due.append(self._due.popleft()[1])
        return due
