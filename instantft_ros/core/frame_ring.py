"""The features of recent frames, kept until someone corrects them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass

from instantft_ros.core.features import FeatureRecord


@dataclass(frozen=True, order=True)
class FrameId:
    """
    Names one frame: a view and the stamp of its image in nanoseconds.

    A view is what the network looks at: a camera's image (`front`) or a named region of it
    (`front/left_bin`).
    """

    view: str
    stamp_ns: int


class FrameRing:
    """
    Holds the last `capacity` frames of each view, by stamp.

    They leave in the order of arrival, so a clock that jumps back loses nothing. A frame with a
    stamp that is already there takes the place of the older one.
    """

    def __init__(self, views: Iterable[str], capacity: int) -> None:
        self.capacity = capacity
        self._frames: dict[str, dict[int, FeatureRecord]] = {name: {} for name in views}
        self._stamps: dict[str, list[int]] = {name: [] for name in self._frames}

    @property
    def views(self) -> tuple[str, ...]:
        """The views that frames may come from."""
        return tuple(self._frames)

    def put(self, frame: FrameId, record: FeatureRecord) -> FrameId | None:
        """Keep a frame; gives the one that had to leave for it, if any."""
        frames, stamps = self._frames[frame.view], self._stamps[frame.view]
        if frames.pop(frame.stamp_ns, None) is not None:
            frames[frame.stamp_ns] = record
            return frame
        frames[frame.stamp_ns] = record
        insort(stamps, frame.stamp_ns)
        if len(frames) <= self.capacity:
            return None
        oldest = next(iter(frames))
        del frames[oldest], stamps[bisect_left(stamps, oldest)]
        return FrameId(frame.view, oldest)

    def get(self, frame: FrameId) -> FeatureRecord | None:
        """Give a frame's features, None when it is not there (any more)."""
        return self._frames[frame.view].get(frame.stamp_ns)

    def latest(self, view: str) -> FrameId | None:
        """Name the view's newest frame by arrival."""
        frames = self._frames[view]
        return FrameId(view, next(reversed(frames))) if frames else None

    def nearest(self, view: str, stamp_ns: int) -> FrameId | None:
        """Name the frame whose stamp is nearest, the earlier of two; None for an empty view."""
        stamps = self._stamps[view]
        at = bisect_left(stamps, stamp_ns)
        around = stamps[max(at - 1, 0):at + 1]
        return FrameId(view, min(around, key=lambda each: abs(each - stamp_ns))) if around \
            else None

    def window(self, view: str, first_ns: int, last_ns: int) -> list[FrameId]:
        """Name the view's frames with first_ns <= stamp <= last_ns, by stamp."""
        stamps = self._stamps[view]
        return [FrameId(view, stamp) for stamp in
                stamps[bisect_left(stamps, first_ns):bisect_right(stamps, last_ns)]]

    def oldest_stamp_ns(self, view: str) -> int | None:
        """Give the lowest stamp that is still there."""
        stamps = self._stamps[view]
        return stamps[0] if stamps else None

    def __len__(self) -> int:
        return sum(len(frames) for frames in self._frames.values())
