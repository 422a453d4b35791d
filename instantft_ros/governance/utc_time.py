"""Times in files: UTC in ISO 8601, with nanoseconds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
import re

#: Gives nanoseconds since 1970, as `time.time_ns` and ROS clocks do.
Clock = Callable[[], int]

_FORM = re.compile(r'(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{9})Z')


def utc_text(time_ns: int) -> str:
    """
    Write a time.

    >>> utc_text(1_763_975_000_250_000_001)
    '2025-11-24T09:03:20.250000001Z'
    """
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f'{datetime.fromtimestamp(seconds, timezone.utc):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z'


def utc_ns(text: str) -> int:
    """Read what `utc_text` wrote; raises `ValueError` for anything else."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"a time must look like 2025-11-24T09:03:20.250000000Z, got '{text}'")
    whole = datetime.fromisoformat(found[1]).replace(tzinfo=timezone.utc)
    return int(whole.timestamp()) * 1_000_000_000 + int(found[2])
