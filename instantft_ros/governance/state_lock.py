"""One process at a time changes a state directory."""

from __future__ import annotations

from contextlib import suppress
import fcntl
import os
from pathlib import Path

from instantft_ros.core.errors import LockedError, StateError

#: Tells who holds the lock; the lock itself is on the folder and ends with the process.
HOLDER = 'holder.pid'


class StateLock:
    """
    Holds a folder until it is closed or the process ends, however it ends.

    Makes the folder when it is not there. Raises `LockedError` that names the holder's process,
    `StateError` when the folder cannot be made or locked. A folder that cannot be written to can
    be locked.
    """

    def __init__(self, folder: Path) -> None:
        holder = folder / HOLDER
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise StateError(f'the state directory {folder} cannot be used: '
                             f'{error.strerror}') from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            if isinstance(error, BlockingIOError):
                raise LockedError(f'the state directory {folder} is in use by process '
                                  f'{_pid_in(holder)}, one at a time may use it') from error
            raise StateError(f'the state directory {folder} cannot be locked: '
                             f'{error.strerror}') from error
        with suppress(OSError):  # it only tells others who it is
            holder.write_text(f'{os.getpid()}\n')

    def close(self) -> None:
        """Let others use the folder."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _pid_in(path: Path) -> str:
    try:
        text = path.read_text()[:20].strip()
    except (OSError, UnicodeDecodeError):
        text = ''
    return text if text.isdigit() else 'of unknown number'
