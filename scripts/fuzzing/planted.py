"""A decoder with planted faults, to see that the fuzzer finds them."""

from __future__ import annotations

import ctypes

import numpy as np

MAGIC = b'FZ'


class PlantedError(ValueError):
    """The declared error."""


def decode(data: bytes) -> int:
    """Read the length of a message; behind two bytes of magic wait the faults."""
    # byte by byte, as no guess hits all of them: each that fits must show in the coverage
    for at in range(len(MAGIC)):
        if len(data) <= at + 1 or data[at] != MAGIC[at]:
            raise PlantedError(f'{len(data)} bytes are no message')
    kind = data[len(MAGIC)]
    if kind == ord('e'):
        return [1, 2, 3][len(data) + 3]
    if kind == ord('s'):
        raise PlantedError
    if kind == ord('m'):
        return int(np.ones(12 << 20, np.uint8)[-1])
    if kind == ord('h'):
        try:
            return len(np.empty(1 << 40, np.uint8))
        except MemoryError as error:
            raise PlantedError(f'no message: {error}') from error
    if kind == ord('t'):
        return sum(range(3_000_000))
    if kind == ord('c'):
        return ctypes.string_at(0)[0]  # a null pointer
    return kind
