"""
The append-only log of everything that changed the adapter, and of what led to it.

`audit.jsonl` in the state directory (doc/versions.md). A full file is renamed to
`audit-000001.jsonl` and so on; the chain goes on over the files.
"""

from __future__ import annotations

from contextlib import suppress
import hashlib
import os
from pathlib import Path
import threading
from typing import Any

from instantft_ros.core.errors import AuditError, StateError
from instantft_ros.core.files import sync_folder, write_atomically
from instantft_ros.governance.append_file import AppendFile
from instantft_ros.governance.audit_chain import BEGAN_AGAIN, CONTINUED, encode, Link
from instantft_ros.governance.audit_files import free_name, full_files, read_newest, sha256_of
from instantft_ros.governance.state_lock import StateLock
from instantft_ros.governance.utc_time import Clock, utc_text

#: Events that may come thousands of times a second wait for `sync`; others are flushed at once.
BATCHED = frozenset({'correction', 'training'})

#: A torn line longer than this is cut off without a copy.
MAX_TORN = 16 << 20


class AuditLog:
    """
    Appends events to a folder's audit log, and holds the folder's lock while it is open.

    path: the file, with its folder made when it is not there. max_bytes: size at which the next
    file starts. begin_again: put a damaged log aside and start a new chain, whose first event
    names the old file and its hash, instead of raising `AuditError`. Raises `LockedError` when
    another process has the folder.

    `append` and `sync` may be called from different threads: no append waits for the disk that
    another thread flushes to. `lost` counts the events that could not be written since the last
    that could.
    """

    def __init__(self, path: Path, clock: Clock, max_bytes: int = 8 << 20,
                 begin_again: bool = False) -> None:
        self._path, self._clock, self._max_bytes = path, clock, max_bytes
        self._guard = threading.Lock()
        self._file: AppendFile | None = None
        self._first: list[tuple[str, dict[str, Any]]] = []
        self._torn_bytes, self.lost, self._lost_since_ns, self._unsynced = 0, 0, 0, False
        self._closed = False
        self._folder_lock = StateLock(path.parent)
        try:
            self._link, self._size = self._examine(begin_again)
            with suppress(OSError):  # the next append tries again, and tells
                self._write([])
        except BaseException:
            self.close()
            raise

    @property
    def link(self) -> Link:
        """Give the number and hash of the last event: noted elsewhere, they prove the log."""
        return self._link

    def append(self, kind: str, **fields: Any) -> None:
        """
        Write one event; kinds not in `BATCHED` are on the disk when this returns.

        Raises `StateError` for the first event that cannot be written. Those after it are only
        counted, until writing works again: then the event `gap` tells how many are missing.
        """
        with self._guard:
            if self._closed:
                raise StateError(f'{self._path} was closed')
            try:
                self._write([(kind, fields)])
            except OSError as error:
                self.lost += 1
                if self.lost > 1:
                    return
                self._lost_since_ns = self._clock()
                raise StateError(f'{self._path} cannot be written, events are counted until it '
                                 f'can: {error.strerror or error}') from error
        if kind not in BATCHED:
            self.sync()

    def sync(self) -> None:
        """Flush to the disk what was appended; raises `StateError`."""
        with self._guard:
            if self._file is None or not self._unsynced:
                return
            flush, self._unsynced = self._file.flusher(), False
        try:
            flush()
        except OSError as error:
            self._unsynced = True
            raise StateError(f'{self._path} cannot be flushed: {error.strerror}') from error

    def close(self) -> None:
        """Flush, and leave the folder to others."""
        self._closed = True
        try:
            self.sync()
        finally:
            if self._file is not None:
                self._file.close()
                self._file = None
            self._folder_lock.close()

    def _write(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        """Write what has to be told first, then the events, all or nothing; raises `OSError`."""
        if self._file is None:
            self._open()
        elif self._file.size >= self._max_bytes:
            self._rotate()
        assert self._file is not None
        now_ns = self._clock()
        gap = [('gap', {'lost': self.lost, 'since': utc_text(self._lost_since_ns)})]
        lines, link = [], self._link
        for kind, fields in [*self._first, *(gap if self.lost and events else []), *events]:
            line, link = encode(link, now_ns, kind, fields)
            lines.append(line)
        if lines:
            self._file.write(b''.join(lines))
            self._link, self._first, self._unsynced = link, [], True
            self.lost = 0 if events else self.lost

    def _open(self) -> None:
        if self._torn_bytes:
            self._first.append(('torn', self._keep_torn_line()))
            self._torn_bytes = 0
        self._file = AppendFile(self._path, self._size)

    def _keep_torn_line(self) -> dict[str, Any]:
        with self._path.open('rb') as stream:
            stream.seek(self._size)
            torn = stream.read(MAX_TORN)
        copy = free_name(self._path, 'audit.torn-{}')
        write_atomically(copy, torn)
        return {'bytes': self._torn_bytes, 'file': copy.name,
                'sha256': hashlib.sha256(torn).hexdigest()}

    def _rotate(self) -> None:
        """Start the next file; after a crash in between, opening finds where to go on."""
        assert self._file is not None
        self._file.sync()
        full = free_name(self._path, 'audit-{:06d}.jsonl')
        self._path.rename(full)
        self._file.close()
        self._file, self._size = None, 0
        self._continue(full, self._link)
        sync_folder(self._path.parent)
        self._open()

    def _examine(self, begin_again: bool) -> tuple[Link, int]:
        """Find the last event and how many bytes are valid; raises `AuditError`, `StateError`."""
        try:
            link, chain = read_newest(self._path)
        except OSError as error:
            raise StateError(f'{self._path} cannot be read: {error.strerror}') from error
        except AuditError as error:
            if not begin_again:
                raise AuditError(f'{error}. To keep this log aside and begin a new one: '
                                 'instantft versions verify DIR --set-aside') from error
            return self._set_aside(str(error))
        self._torn_bytes = chain.torn_bytes
        if chain.first is None and link != Link():  # a crash came between two files
            self._continue(full_files(self._path)[-1], link)
        return link, chain.bytes

    def _continue(self, full: Path, link: Link) -> None:
        self._first.append((CONTINUED, {'file': full.name, 'hash': link.hash}))

    def _set_aside(self, reason: str) -> tuple[Link, int]:
        """Give the log another name, and in one step put the first line of a new one there."""
        aside = free_name(self._path, 'audit.damaged-{}')
        fields = {'reason': reason, 'file': '', 'sha256': ''}
        try:
            if self._path.exists():
                with suppress(OSError):  # some file systems have no second names
                    os.link(self._path, aside)
                if not aside.exists():
                    self._path.rename(aside)
                fields |= {'file': aside.name, 'sha256': sha256_of(aside)}
            line, link = encode(Link(), self._clock(), BEGAN_AGAIN, fields)
            write_atomically(self._path, line)
        except OSError as error:
            raise StateError(f'{self._path} cannot be set aside: {error.strerror}') from error
        return link, len(line)
