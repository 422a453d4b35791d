"""Files that are either whole or not there."""

from __future__ import annotations

from contextlib import suppress
import os
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """
    Write beside the target, flush to the disk, rename, flush the folder; raises `OSError`.

    Whenever the power fails the path leads to the old content or to the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.partial')
    try:
        with partial.open('wb') as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError:
        with suppress(OSError):
            partial.unlink()  # on a full disk it would take what little is left
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's names to the disk: a rename is there after a power failure only then."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
