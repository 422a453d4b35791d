"""A file that grows by whole records."""

from __future__ import annotations

from collections.abc import Callable
import os
from pathlib import Path


class AppendFile:
    """
    Appends records; one that could not be written whole is taken back.

    size: the bytes that are valid; what lies behind them is cut off when opening. Raises
    `OSError`, after which the file holds what it held before, at the latest with the next write.
    """

    def __init__(self, path: Path, size: int) -> None:
        self.path, self.size = path, size
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._torn = os.fstat(self._handle).st_size != size

    def write(self, data: bytes) -> None:
        """Append and hand over to the operating system: it outlives the process from now on."""
        self._cut()
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._handle, rest):]
        except OSError:
            self._torn = True
            self._cut()
            raise
        self.size += len(data)

    def sync(self) -> None:
        """Flush to the disk: what was written outlives a power failure."""
        os.fsync(self._handle)

    def flusher(self) -> Callable[[], None]:
        """
        Give what flushes all that was written until now, once, in any thread; raises `OSError`.

        It has a handle of its own, so it may run while this file is appended to or closed.
        """
        handle = os.dup(self._handle)

        def flush() -> None:
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

        return flush

    def close(self) -> None:
        """Close the file."""
        os.close(self._handle)

    def _cut(self) -> None:
        if self._torn:
            os.ftruncate(self._handle, self.size)
            self._torn = False
