"""Which predictions were right: with the adapter of their time, and by the frozen network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from instantft_ros.core.errors import SourceError
from instantft_ros.core.frame_ring import FrameId
from instantft_ros.evaluate.replay import Log

#: Windows of the accuracy over time: at most so many, of at least so many frames on average.
MAX_WINDOWS, FRAMES_PER_WINDOW = 40, 40


@dataclass(frozen=True)
class Judged:
    """
    The frames whose class is known, in the order of the replay: arrays (N,).

    by: 'ground truth' or 'corrections', where the class is known from.
    """

    by: str
    frames: tuple[FrameId, ...]
    position: np.ndarray
    label: np.ndarray
    adapted: np.ndarray
    frozen: np.ndarray
    version: np.ndarray


@dataclass(frozen=True)
class Accuracy:
    """Of so many frames, percent; None of no frame."""

    frames: int
    adapted: float | None
    frozen: float | None


@dataclass(frozen=True)
class Window:
    """The accuracy in one stretch of the source's axis."""

    first: float
    last: float
    accuracy: Accuracy


def judge(log: Log) -> Judged:
    """
    Hold the predictions against the ground truth, or without one against the corrections.

    Raises `SourceError` when no frame is known by either.
    """
    known = {frame: label for frame, label in log.truths.items() if frame in log.seen}
    by = 'ground truth'
    if not known:
        by = 'corrections'
        known = {frame: label for frame, (_, label) in log.corrected.items() if label >= 0}
    seen = [each for frame, each in log.seen.items() if frame in known]
    if not seen:
        raise SourceError(f'no frame can be judged: {len(log.seen)} were classified, '
                          f'{len(log.truths)} ground truths and {log.corrections} corrections '
                          'are there, and none of them names one of those frames'
                          + ''.join(f'; {reason}' for reason in list(log.rejected)[:1]))
    return Judged(by, tuple(each.frame for each in seen),
                  np.array([each.position for each in seen]),
                  np.array([known[each.frame] for each in seen]),
                  np.array([each.adapted for each in seen]),
                  np.array([each.frozen for each in seen]),
                  np.array([each.version for each in seen]))


def accuracy(judged: Judged, chosen: np.ndarray) -> Accuracy:
    """Give the accuracy of the frames that a mask (N,) chooses."""
    count = int(chosen.sum())

    def percent(predicted: np.ndarray) -> float | None:
        right = predicted[chosen] == judged.label[chosen]
        return round(100.0 * float(right.mean()), 2) if count else None

    return Accuracy(count, percent(judged.adapted), percent(judged.frozen))


def over_time(judged: Judged) -> list[Window]:
    """Cut the axis into windows of one length; the last one includes its end."""
    count = min(max(len(judged.position) // FRAMES_PER_WINDOW, 1), MAX_WINDOWS)
    edges = np.linspace(judged.position.min(), judged.position.max(), count + 1)
    window = np.searchsorted(edges[1:-1], judged.position, side='right')
    return [Window(float(edges[i]), float(edges[i + 1]), accuracy(judged, window == i))
            for i in range(count)]
