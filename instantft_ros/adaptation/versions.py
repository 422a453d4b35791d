"""The adapters that were live, and the way back to them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from instantft_ros.core.adapter import Adapter
from instantft_ros.core.errors import AdapterError


@dataclass(frozen=True)
class AdapterVersion:
    """An adapter, its number and digest, the number it came from, and the cache it has seen."""

    number: int
    parent: int
    cache_version: int
    adapter: Adapter
    digest: str


class VersionHistory:
    """
    Numbers adapters and holds the last `keep` of them, and always version 0.

    Version 0 is the first adapter. `next_number` gives numbers that no version ever had.
    `current` is replaced as a whole: who reads it once has exactly one version.
    """

    def __init__(self, initial: Adapter, keep: int = 32,
                 next_number: Callable[[], int] | None = None) -> None:
        self.first = self.current = AdapterVersion(0, 0, 0, initial, initial.digest())
        self._keep = keep
        self.next_number = next_number or count(1).__next__
        self._kept: OrderedDict[int, AdapterVersion] = OrderedDict()

    def adopt(self, adapter: Adapter, parent: int, cache_version: int,
              number: int | None = None) -> AdapterVersion:
        """Make an adapter the current version; number: one that was drawn for it, or a new one."""
        version = AdapterVersion(self.next_number() if number is None else number, parent,
                                 cache_version, adapter, adapter.digest())
        self.resume(version)
        return version

    def resume(self, version: AdapterVersion) -> None:
        """Go on with a version, one of an earlier run perhaps."""
        self.hold(version)
        self.current = version

    def hold(self, version: AdapterVersion) -> None:
        """Make a version one that `go_back` finds."""
        self._kept[version.number] = version
        if len(self._kept) > self._keep:
            self._kept.popitem(last=False)

    def __contains__(self, number: int) -> bool:
        return number == 0 or number in self._kept

    def go_back(self, number: int, classes: int = 0) -> AdapterVersion:
        """
        Make the adapter of an earlier version current again, under a new number.

        Where it has fewer than `classes` outputs it gets them. Raises `AdapterError` when that
        version is not held.
        """
        if number not in self:
            raise AdapterError(f'version {number} is not held, held are {[0, *self._kept]}')
        earlier = self._kept[number] if number else self.first
        return self.adopt(earlier.adapter.with_classes(classes), earlier.number,
                          earlier.cache_version)
