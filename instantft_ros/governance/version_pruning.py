"""Removing old versions."""

from __future__ import annotations

from instantft_ros.core.errors import StateError, VersionError
from instantft_ros.core.files import sync_folder
from instantft_ros.governance.version_files import data_path, manifest_path, VersionEntry
from instantft_ros.governance.version_store import VersionStore

DAY_NS = 86_400 * 10**9


def prune(store: VersionStore, now_ns: int, keep_count: int | None = None,
          keep_days: float | None = None) -> list[int]:
    """
    Remove versions beyond the newest `keep_count`, and those older than `keep_days`.

    Never removes what `protected` names. Gives the numbers removed. The manifest goes first, so
    that a crash leaves no version without its adapter. Raises `DamagedVersionError` when it is
    not known which version is in use, `StateError` when a file cannot be removed.
    """
    entries = list(store.entries())
    safe = protected(store, entries)
    removed = []
    for rank, entry in enumerate(reversed(entries)):
        beyond = keep_count is not None and rank >= keep_count
        old = keep_days is not None and now_ns - entry.changed_ns > keep_days * DAY_NS
        if entry.number in safe or not (beyond or old):
            continue
        try:
            manifest_path(store.folder, entry.number).unlink(missing_ok=True)
            sync_folder(store.folder)
            data_path(store.folder, entry.number).unlink(missing_ok=True)
        except OSError as error:
            raise StateError(f'version {entry.number} cannot be removed: '
                             f'{error.strerror}') from error
        removed.append(entry.number)
    for partial in store.folder.glob('.*.partial'):  # an interrupted write left them
        partial.unlink(missing_ok=True)
    return sorted(removed)


def protected(store: VersionStore, entries: list[VersionEntry]) -> set[int]:
    """
    Name the versions that must stay.

    Version 0; the one in use and its parents up to the last accepted one; the highest number,
    since a number must not come again. Without a version in use: the newest accepted one.
    """
    current = store.current()
    if current is None:
        accepted = [entry.number for entry in entries
                    if entry.manifest and not entry.problem and entry.manifest.state == 'accepted']
        current = max(accepted, default=0)
    safe = {0, current, *(entry.number for entry in entries[-1:])}
    number = current
    while True:
        try:
            parent = store.manifest(number).parent
            if parent in safe:
                return safe
            safe.add(parent)
            if store.manifest(parent).state == 'accepted':
                return safe
        except VersionError:  # damaged, removed before, or never saved
            return safe
        number = parent
