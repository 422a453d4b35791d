"""Reading the files of one version, with everything in them checked."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
import hashlib
from pathlib import Path
import re

from instantft_ros.core.adapter import Adapter, MAX_FILE_BYTES
from instantft_ros.core.errors import AdapterError, DamagedVersionError
from instantft_ros.governance.utc_time import utc_ns
from instantft_ros.governance.version_manifest import MAX_MANIFEST_BYTES, VersionManifest

#: An adapter that `save` of an earlier release wrote, or one whose saving was interrupted.
NO_MANIFEST = 'no manifest'

_NAME = re.compile(r'adapter-(\d{6,10})\.(npz|json)')


@dataclass(frozen=True)
class VersionEntry:
    """One version as it lies there; `problem`: why it cannot be used, '' when it can."""

    number: int
    manifest: VersionManifest | None
    problem: str
    bytes: int
    changed_ns: int

def data_path(folder: Path, number: int) -> Path:
    """Name a version's adapter file."""
    return folder / f'adapter-{number:06d}.npz'


def manifest_path(folder: Path, number: int) -> Path:
    """Name a version's manifest."""
    return folder / f'adapter-{number:06d}.json'


def numbers_in(folder: Path) -> list[int]:
    """Give the numbers that any file of a version bears, ascending."""
    found = (_NAME.fullmatch(path.name) for path in folder.glob('adapter-*'))
    numbers = {int(each[1]): each[1] for each in found if each}
    return sorted(number for number, text in numbers.items() if text == f'{number:06d}')


def read_manifest(folder: Path, number: int) -> VersionManifest:
    """Read a version's manifest; raises `DamagedVersionError`."""
    path = manifest_path(folder, number)
    try:
        manifest = VersionManifest.from_bytes(read_bounded(path, MAX_MANIFEST_BYTES))
        if manifest.number != number:
            raise DamagedVersionError(f'number must be {number}, got {manifest.number}')
    except DamagedVersionError as error:
        raise DamagedVersionError(f'{path.name}: {error}') from error
    return manifest


def read_version(folder: Path, number: int) -> tuple[VersionManifest, bytes]:
    """Read a version's manifest and the bytes of its adapter; raises `DamagedVersionError`."""
    manifest, path = read_manifest(folder, number), data_path(folder, number)
    try:
        data = read_bounded(path, MAX_FILE_BYTES)
        check_bytes(manifest, data)
    except DamagedVersionError as error:
        raise DamagedVersionError(f'{path.name}: {error}') from error
    return manifest, data


def read_entry(folder: Path, number: int) -> VersionEntry:
    """Look at a version's files, whatever they are; never raises for what is in them."""
    sizes, changed_ns = 0, 0
    for path in (data_path(folder, number), manifest_path(folder, number)):
        with suppress(OSError):
            status = path.stat()
            sizes, changed_ns = sizes + status.st_size, max(changed_ns, status.st_mtime_ns)
    if not manifest_path(folder, number).exists():
        return VersionEntry(number, None, NO_MANIFEST, sizes, changed_ns)
    manifest = None
    try:
        manifest = read_manifest(folder, number)
        read_version(folder, number)
    except DamagedVersionError as error:
        return VersionEntry(number, manifest, str(error), sizes, changed_ns)
    return VersionEntry(number, manifest, '', sizes, utc_ns(manifest.time))


def check_bytes(manifest: VersionManifest, data: bytes) -> None:
    """Hold an adapter file against its manifest; raises `DamagedVersionError`."""
    if len(data) != manifest.file_bytes:
        raise DamagedVersionError(f'must have {manifest.file_bytes} bytes, has {len(data)}')
    if (digest := hashlib.sha256(data).hexdigest()) != manifest.file_sha256:
        raise DamagedVersionError(f'must have the SHA-256 {manifest.file_sha256}, has {digest}')


def read_bounded(path: Path, limit: int) -> bytes:
    """Read a file of at most `limit` bytes; raises `DamagedVersionError`."""
    try:
        with path.open('rb') as stream:
            data = stream.read(limit + 1)
    except OSError as error:
        raise DamagedVersionError(f'cannot be read: {error.strerror}') from error
    if len(data) > limit:
        raise DamagedVersionError(f'has more than the {limit} bytes that are read')
    return data


def read_adapter(manifest: VersionManifest, data: bytes) -> Adapter:
    """Read the adapter that a manifest describes; raises `DamagedVersionError`."""
    check_bytes(manifest, data)
    try:
        adapter = Adapter.from_bytes(data)
    except AdapterError as error:
        raise DamagedVersionError(str(error)) from error
    if (digest := adapter.digest()) != manifest.digest or adapter.backbone != manifest.backbone:
        raise DamagedVersionError(f'the adapter must have the digest {manifest.digest} and '
                                  f'backbone {manifest.backbone}, got {digest} and '
                                  f'{adapter.backbone}')
    return adapter
