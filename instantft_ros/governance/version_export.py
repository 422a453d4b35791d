"""One version as one file, to carry to another robot with the same network."""

from __future__ import annotations

from contextlib import suppress
import dataclasses
import io
from pathlib import Path
import zipfile

from instantft_ros.core.adapter import Adapter, MAX_FILE_BYTES
from instantft_ros.core.errors import AdapterError, DamagedVersionError, StateError, VersionError
from instantft_ros.core.features import FeatureLayout
from instantft_ros.core.files import write_atomically
from instantft_ros.governance.version_files import read_adapter, read_bounded, read_version
from instantft_ros.governance.version_manifest import MAX_MANIFEST_BYTES, VersionManifest
from instantft_ros.governance.version_store import VersionStore

#: The members of the file, each with the most bytes it may have.
MEMBERS = {'manifest.json': MAX_MANIFEST_BYTES, 'adapter.npz': MAX_FILE_BYTES}


def export(store: VersionStore, number: int, path: Path) -> VersionManifest:
    """Write a version to one file; raises `VersionError`, `StateError`."""
    store.load(number)
    manifest, data = read_version(store.folder, number)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w') as archive:
        archive.writestr('manifest.json', manifest.to_bytes())
        archive.writestr('adapter.npz', data)
    try:
        write_atomically(path, stream.getvalue())
    except OSError as error:
        raise StateError(f'{path} cannot be written: {error.strerror}') from error
    return manifest


def import_(store: VersionStore, path: Path, layout: FeatureLayout, backbone: str,
            use: bool = False) -> VersionManifest:
    """
    Take a version in under a new number.

    path: what `export` wrote, or an adapter file alone. It comes in as pending; with `use` as
    accepted by 'import', and as the version to start with. Nothing of the file is unpacked to
    the disk. Raises `DamagedVersionError` for any other file, `VersionError` when it was made
    for another network, `StateError`.
    """
    try:
        came, adapter = _read(path)
    except DamagedVersionError as error:
        raise DamagedVersionError(f'{path}: {error}') from error
    try:
        adapter.check_backbone(layout, backbone)
    except AdapterError as error:
        raise VersionError(f'{path}: {error}') from error
    number, parent = store.next_number(), 0
    with suppress(DamagedVersionError):  # the way back from it leads to the one in use
        parent = store.current() or 0
    manifest = dataclasses.replace(
        came or VersionManifest(number, 0, 'pending'), number=number, parent=parent, time='',
        origin=_origin(came, path), reason='',
        state='accepted' if use else 'pending', accepted_by='import' if use else '')
    manifest = store.save(adapter, manifest)
    if use:
        store.set_current(manifest.number)
    return manifest


def read_exported(path: Path, layout: FeatureLayout, backbone: str,
                  classes: int) -> tuple[str, Adapter]:
    """
    Read what `export` wrote, or an adapter file; gives its origin in words, and the adapter.

    classes: how many there are here, the network's `layout` and those that were added; the
    adapter is given outputs for all of them. Raises `VersionError` when it was made for another
    network or for more classes, `DamagedVersionError` for any other file.
    """
    try:
        came, adapter = _read(path)
        adapter.check_backbone(layout.with_classes(adapter.layout.classes), backbone)
    except (DamagedVersionError, AdapterError) as error:
        raise VersionError(f'{path}: {error}') from error
    if not layout.classes <= adapter.layout.classes <= classes:
        raise VersionError(f'{path}: it was made for {adapter.layout.classes} classes, here are '
                           f'{classes}')
    return _origin(came, path), adapter.with_classes(classes)


def _origin(came: VersionManifest | None, path: Path) -> str:
    return f'the file {path.name}' if came is None else \
        f'version {came.number} of {came.robot or "a robot without a name"}'


def _read(path: Path) -> tuple[VersionManifest | None, Adapter]:
    data = read_bounded(path, sum(MEMBERS.values()) + (1 << 16))
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {each.filename: each for each in archive.infolist()}
            if min((each.header_offset for each in members.values()), default=0):
                # a torn file ends with the adapter, which is an archive itself
                raise DamagedVersionError('the archive does not start at the first byte')
            if 'manifest.json' not in members and 'a.npy' in members:
                return None, Adapter.from_bytes(data)
            names = sorted(each.filename for each in archive.infolist())
            if names != sorted(MEMBERS):
                raise DamagedVersionError(f'must hold {sorted(MEMBERS)}, holds {names[:10]}')
            content = {}
            for name, limit in MEMBERS.items():
                with archive.open(name) as stream:
                    content[name] = stream.read(limit + 1)
                if len(content[name]) > limit:
                    raise DamagedVersionError(f'{name} unpacks to more than {limit} bytes')
    except (DamagedVersionError, AdapterError) as error:
        raise DamagedVersionError(str(error)) from error
    except Exception as error:  # zipfile raises many kinds on a damaged file
        raise DamagedVersionError(f'no exported version: {error}') from error
    manifest = VersionManifest.from_bytes(content['manifest.json'])
    return manifest, read_adapter(manifest, content['adapter.npz'])
