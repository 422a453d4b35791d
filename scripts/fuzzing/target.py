"""What a fuzz target is: something that reads bytes, and what it may do with them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

#: Changes an input of at most so many bytes, by a seed; gives at most that many.
Mutator = Callable[[bytes, int, int], bytes]


@dataclass(frozen=True)
class Target:
    """
    A decoder under test.

    `run` hands an input to the decoder and asserts what must hold of all that it accepts. It may
    raise `declared` with a message and nothing else, within `limit_s` of processor time and
    `growth_mb` of memory. `seeds` are inputs to start from, `words` what often stands in them.
    """

    run: Callable[[bytes], None]
    declared: type[Exception]
    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...] = ()
    mutate: Mutator | None = None
    max_bytes: int = 8192
    limit_s: float = 5.0
    # the largest image and the largest adapter that are allowed take 390 and 510 MiB
    growth_mb: int = 1024
