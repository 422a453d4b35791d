"""What may stand in a JSON file: plain data of bounded length."""

from __future__ import annotations

from enum import Enum
import math
from pathlib import Path
from typing import Any

import numpy as np

#: Longer texts are cut: what an operator may send has no bound.
MAX_TEXT = 2000


def plain(value: Any) -> Any:
    """
    Turn a value into JSON's kinds; raises `TypeError` for what has no such form.

    >>> plain({'loss': float('nan'), 'order': (1, 2)})
    {'loss': None, 'order': [1, 2]}
    """
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, str) and not isinstance(value, Enum):
        return value if len(value) <= MAX_TEXT else value[:MAX_TEXT] + '...'
    if isinstance(value, dict):
        return {str(plain(key)): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, Path):
        return plain(str(value))
    raise TypeError(f'{type(value).__name__} is not plain data: {value!r}')
