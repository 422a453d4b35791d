"""The adapters that were live, and the way back to them."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

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

    Version 0 is the adapter that the node started with; numbers go on after `last_number`.
    `current` is replaced as a whole: who reads it once has exactly one version.
    """

    def __init__(self, initial: Adapter, keep: int = 32, last_number: int = 0) -> None:
        self.current = AdapterVersion(0, 0, 0, initial, initial.digest())
        self._initial = self.current
        self._keep = keep
        self._last_number = last_number
        self._kept: OrderedDict[int, AdapterVersion] = OrderedDict()

    def adopt(self, adapter: Adapter, parent: int, cache_version: int) -> AdapterVersion:
        """Make an adapter the current version."""
        self._last_number += 1
        version = AdapterVersion(self._last_number, parent, cache_version, adapter,
                                 adapter.digest())
        self._kept[version.number] = version
        if len(self._kept) > self._keep:
            self._kept.popitem(last=False)
        self.current = version
        return version

    def go_back(self, number: int, classes: int = 0) -> AdapterVersion:
        """
        Make the adapter of an earlier version current again, under a new number.

        Where it has fewer than `classes` outputs it gets them. Raises `AdapterError` when that
        version is not held.
        """
        earlier = self._initial if number == 0 else self._kept.get(number)
        if earlier is None:
            held = [0, *self._kept]
            raise AdapterError(f'version {number} is not held, held are {held}')
        return self.adopt(earlier.adapter.with_classes(classes), earlier.number,
                          earlier.cache_version)
