"""Reading our messages by their fields alone: from ROS, or from a bag without ROS."""

from __future__ import annotations

from typing import Any

from instantft_ros.core.corrections import Answer, Correction, Selector, Verdict


def nanoseconds(stamp: Any) -> int:
    """Give a stamp or a duration in nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def correction(message: Any, view: str, received_ns: int) -> Correction | Answer:
    """Read a correction of this view, or answer what is malformed in it."""
    selectors = {message.STAMP: Selector.STAMP, message.LATEST: Selector.LATEST,
                 message.WINDOW: Selector.WINDOW, message.NEAREST: Selector.NEAREST}
    if message.selector not in selectors:
        return Answer(Verdict.MALFORMED, f'selector must be one of {sorted(selectors)}, got '
                      f'{message.selector}')
    if message.operation not in (message.ADD, message.RETRACT):
        return Answer(Verdict.MALFORMED, f'operation must be {message.ADD} (add) or '
                      f'{message.RETRACT} (retract), got {message.operation}')
    label = class_label(message) if message.operation == message.ADD else None
    return Correction(view, selectors[message.selector], label,
                      nanoseconds(message.header.stamp) or received_ns,
                      nanoseconds(message.stamp), nanoseconds(message.stamp_end),
                      nanoseconds(message.tolerance))


def class_label(message: Any) -> str | int:
    """Give the class that a correction or a ground truth names."""
    return str(message.class_name) or int(message.class_id)
