"""From the messages of a bag to the types of the core; they are known by their fields alone."""

from __future__ import annotations

from typing import Any

from instantft_ros.core.corrections import Correction, Selector
from instantft_ros.core.errors import SourceError
from instantft_ros.evaluate.source import ClassLabel


def nanoseconds(stamp: Any) -> int:
    """Give a stamp in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def correction(message: Any, view: str, received_ns: int) -> Correction:
    """Read a correction of this view; raises `SourceError` when a field means nothing."""
    selectors = {message.STAMP: Selector.STAMP, message.LATEST: Selector.LATEST,
                 message.WINDOW: Selector.WINDOW}
    if message.selector not in selectors:
        raise SourceError(f'selector must be one of {sorted(selectors)}, got {message.selector}')
    if message.operation not in (message.ADD, message.RETRACT):
        raise SourceError(f'operation must be {message.ADD} (add) or {message.RETRACT} '
                          f'(retract), got {message.operation}')
    label = class_label(message) if message.operation == message.ADD else None
    return Correction(view, selectors[message.selector], label,
                      nanoseconds(message.header.stamp) or received_ns,
                      nanoseconds(message.stamp), nanoseconds(message.stamp_end))


def class_label(message: Any) -> ClassLabel:
    """Give the class that a correction or a ground truth names."""
    return str(message.class_name) or int(message.class_id)
