"""What every source of an evaluation gives: events in the order in which the robot had them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from instantft_ros.core.corrections import Correction
from instantft_ros.core.frame_ring import FrameId

#: A class as a source names it: by its name, or by its number.
ClassLabel = str | int


@dataclass(frozen=True)
class Frame:
    """An image; position: where it lies on the source's axis."""

    frame: FrameId
    position: float
    image: np.ndarray


@dataclass(frozen=True)
class Truth:
    """What a frame really shows."""

    frame: FrameId
    label: ClassLabel


@dataclass(frozen=True)
class Corrected:
    """An operator's correction, at this place of the source's axis."""

    correction: Correction
    position: float


@dataclass(frozen=True)
class Unreadable:
    """Something that came and could not be read; what: 'image', 'correction', 'ground truth'."""

    what: str
    reason: str


Event = Frame | Truth | Corrected | Unreadable


class Source(Protocol):
    """
    A recording to replay.

    views: the names that frames carry; total: about how many events there are; axis: what the
    positions are, with the unit. `events` raises `SourceError` where the recording is torn.
    """

    views: tuple[str, ...]
    total: int
    axis: str

    def events(self) -> Iterator[Event]:
        """Give everything in its order."""

    def close(self) -> None:
        """Close the files."""
