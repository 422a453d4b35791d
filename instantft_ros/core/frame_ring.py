"""The features of recent frames, kept until someone corrects them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from instantft_ros.core.features import FeatureRecord


@dataclass(frozen=True, order=True)
class FrameId:
    """Names one frame: the camera and the stamp of its image in nanoseconds."""

    camera: str
    stamp_ns: int


class FrameRing:
    """
    Holds the last `capacity` frames of each camera, by stamp.

    The order is that of arrival, so a clock that jumps back loses nothing. A frame with a stamp
    that is already there takes the place of the older one.
    """

    def __init__(self, cameras: Iterable[str], capacity: int) -> None:
        self.capacity = capacity
        self._frames: dict[str, dict[int, FeatureRecord]] = {name: {} for name in cameras}

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras that frames may come from."""
        return tuple(self._frames)

    def put(self, frame: FrameId, record: FeatureRecord) -> None:
        """Keep a frame, dropping the oldest of its camera when full."""
        frames = self._frames[frame.camera]
        frames.pop(frame.stamp_ns, None)
        frames[frame.stamp_ns] = record
        if len(frames) > self.capacity:
            del frames[next(iter(frames))]

    def get(self, frame: FrameId) -> FeatureRecord | None:
        """Give a frame's features, None when it is not there (any more)."""
        return self._frames[frame.camera].get(frame.stamp_ns)

    def latest(self, camera: str) -> FrameId | None:
        """Name the camera's newest frame by arrival."""
        frames = self._frames[camera]
        return FrameId(camera, next(reversed(frames))) if frames else None

    def window(self, camera: str, first_ns: int, last_ns: int) -> list[FrameId]:
        """Name the camera's frames with first_ns <= stamp <= last_ns, by arrival."""
        return [FrameId(camera, stamp) for stamp in self._frames[camera]
                if first_ns <= stamp <= last_ns]

    def oldest_stamp_ns(self, camera: str) -> int | None:
        """Give the lowest stamp that is still there."""
        return min(self._frames[camera], default=None)

    def __len__(self) -> int:
        return sum(len(frames) for frames in self._frames.values())
