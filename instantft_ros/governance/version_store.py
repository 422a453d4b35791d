"""
The versions of a state directory: `adapter-000012.npz`, its manifest, and which one is in use.

A version is there when its manifest is, and that is written last. Who changes a store holds the
folder's lock, which an open `AuditLog` does; reading needs none. Nothing here is kept in memory
but the highest number, so one thread may read while another saves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
import dataclasses
import hashlib
import json
from pathlib import Path

from instantft_ros.core.adapter import Adapter
from instantft_ros.core.errors import AdapterError, DamagedVersionError, StateError, VersionError
from instantft_ros.core.features import FeatureLayout
from instantft_ros.core.files import write_atomically
from instantft_ros.governance.utc_time import Clock, utc_text
from instantft_ros.governance.version_files import (
    data_path,
    manifest_path,
    numbers_in,
    read_adapter,
    read_bounded,
    read_entry,
    read_manifest,
    read_version,
    VersionEntry,
)
from instantft_ros.governance.version_manifest import MAX_NUMBER, VersionManifest

CURRENT = 'current.json'


@dataclasses.dataclass(frozen=True)
class Restored:
    """The version to start with, None when there is none, and why others cannot be used."""

    manifest: VersionManifest | None
    adapter: Adapter | None
    notices: tuple[str, ...] = ()


class VersionStore:
    """Saves, finds and reads the versions in a folder; clock: for the times in manifests."""

    def __init__(self, folder: Path, clock: Clock) -> None:
        self.folder, self._clock = folder, clock
        self._last = self._highest_number()

    def next_number(self) -> int:
        """Give a number that no version had: `save` takes it or leaves a gap."""
        self._last += 1
        if self._last > MAX_NUMBER:
            raise VersionError(f'numbers end with {MAX_NUMBER}')
        return self._last

    def _highest_number(self) -> int:
        with suppress(DamagedVersionError):
            return max([0, *numbers_in(self.folder), self._stated_current()[0]])
        return max([0, *numbers_in(self.folder)])

    # writing

    def save(self, adapter: Adapter, manifest: VersionManifest) -> VersionManifest:
        """
        Write a version; gives its manifest with what the store filled in.

        Raises `VersionError` when the number is taken, `StateError` when it cannot be written;
        then the version is not there.
        """
        path = data_path(self.folder, manifest.number)
        if path.exists() or manifest_path(self.folder, manifest.number).exists():
            raise VersionError(f'version {manifest.number} is there already')
        data = adapter.to_bytes()
        manifest = dataclasses.replace(
            manifest, time=manifest.time or utc_text(self._clock()), digest=adapter.digest(),
            backbone=adapter.backbone, file_bytes=len(data),
            file_sha256=hashlib.sha256(data).hexdigest())
        self._write(path, data)
        try:
            self._write(manifest_path(self.folder, manifest.number), manifest.to_bytes())
        except StateError:
            with suppress(OSError):
                path.unlink()
            raise
        self._last = max(self._last, manifest.number)
        return manifest

    def decide(self, number: int, state: str, accepted_by: str = '',
               reason: str = '') -> VersionManifest:
        """Record a decision about a version; raises `VersionError`, `StateError`."""
        manifest = dataclasses.replace(self.manifest(number), state=state,
                                       accepted_by=accepted_by, reason=reason)
        self._write(manifest_path(self.folder, number), manifest.to_bytes())
        return manifest

    def set_current(self, number: int) -> None:
        """Name the version in use; raises `VersionError` unless it is accepted."""
        manifest = self.manifest(number)
        if manifest.state != 'accepted':
            raise VersionError(f'version {number} must be accepted, it is {manifest.state}')
        content = {'format': 1, 'number': number, 'digest': manifest.digest,
                   'time': utc_text(self._clock())}
        self._write(self.folder / CURRENT, (json.dumps(content, indent=2) + '\n').encode())

    def _write(self, path: Path, data: bytes) -> None:
        try:
            write_atomically(path, data)
        except OSError as error:
            raise StateError(f'{path} cannot be written: {error.strerror}') from error

    # reading

    def current(self) -> int | None:
        """Give the number of the version in use, None before any; `DamagedVersionError`."""
        if not (self.folder / CURRENT).exists():
            return None
        number, digest = self._stated_current()
        if (manifest := read_manifest(self.folder, number)).digest != digest:
            raise DamagedVersionError(f'{CURRENT}: version {number} must have the digest {digest}'
                                      f', has {manifest.digest}')
        return number

    def _stated_current(self) -> tuple[int, str]:
        try:
            content = json.loads(read_bounded(self.folder / CURRENT, 10_000))
            number, digest = content['number'], content['digest']
            if content['format'] != 1 or type(number) is not int or not 0 <= number <= MAX_NUMBER:
                raise ValueError(f'format 1 and a number are wanted, got {content}')
        except DamagedVersionError as error:
            raise DamagedVersionError(f'{CURRENT}: {error}') from error
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise DamagedVersionError(f'{CURRENT}: {error}') from error
        return number, digest

    def entries(self) -> Iterator[VersionEntry]:
        """Give every version in the order of numbers, damaged ones too, each checked."""
        for number in numbers_in(self.folder):
            yield read_entry(self.folder, number)

    def manifest(self, number: int) -> VersionManifest:
        """Give a version's manifest; raises `VersionError`, also `DamagedVersionError`."""
        if not manifest_path(self.folder, number).exists():
            alone = data_path(self.folder, number).exists()
            raise VersionError(f'version {number} has no manifest' if alone else
                               f'version {number} is not there')
        return read_manifest(self.folder, number)

    def load(self, number: int) -> tuple[VersionManifest, Adapter]:
        """Read a version; raises `VersionError`, also `DamagedVersionError`."""
        self.manifest(number)
        manifest, data = read_version(self.folder, number)
        return manifest, read_adapter(manifest, data)

    def latest_accepted(self, layout: FeatureLayout, backbone: str) -> Restored:
        """
        Read the version to start with: the one in use, else the newest accepted one.

        Passes over those that are damaged or made for another network, and says so.
        """
        notices, first = [], []
        try:
            first = [number for number in (self.current(),) if number is not None]
        except DamagedVersionError as error:
            notices.append(f'the version in use is not known: {error}')
        for number in [*first, *reversed(numbers_in(self.folder))]:
            if number in first and notices:
                continue  # tried already
            try:
                if not manifest_path(self.folder, number).exists() \
                        or self.manifest(number).state != 'accepted':
                    continue
                manifest, adapter = self.load(number)
                # operators may have added classes to the network's
                adapter.check_backbone(layout.with_classes(
                    max(adapter.layout.classes, layout.classes)), backbone)
            except (VersionError, AdapterError) as error:
                notices.append(f'version {number} cannot be used: {error}')
                continue
            if notices:
                notices.append(f'version {number} is the newest accepted one that can be used')
            return Restored(manifest, adapter, tuple(notices))
        return Restored(None, None, tuple(notices))
