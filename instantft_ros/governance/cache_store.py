"""
The labelled cache on the disk: what a restart feeds to a new `ForwardCache`.

A journal of what was said of which frame, with the frame's features. Appending costs one small
write; a snapshot of what is still needed takes the journal's place when that has grown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
import errno
from pathlib import Path
import threading

from instantft_ros.core.errors import StateError
from instantft_ros.core.features import FeatureLayout
from instantft_ros.core.files import sync_folder
from instantft_ros.core.frame_ring import FrameId
from instantft_ros.governance.append_file import AppendFile
from instantft_ros.governance.cache_journal import JournalContent, Place, read_journal, replay
from instantft_ros.governance.cache_records import CorrectionRecord, RecordFormat
from instantft_ros.governance.cache_snapshot import Plan, Snapshot

NAME = 'cache.journal'

#: A snapshot is due when the journal is so many times the size of what is still needed.
GROWTH = 4

#: No snapshot is due below this size.
MIN_BYTES = 1 << 20

#: What is kept in memory while the disk is full; what comes then is lost, and counted.
MAX_WAITING_BYTES = 4 << 20


class CacheStore:
    """
    Journal of a forward cache.

    path: the file; its folder is locked by an open `AuditLog`. capacity: that of the cache; so
    many retractions are kept. What cannot be read is passed over, what is for another network is
    set aside; `notices` tells of both, nothing is raised for it.

    `append`, `taken_up`, `plan` and `clear` belong to the thread that changes the cache. `sync`
    and `compact` may run in one other thread; no append waits for the disk while they do.
    """

    def __init__(self, path: Path, layout: FeatureLayout, backbone: str, capacity: int) -> None:
        self._path, self._capacity = path, capacity
        self._format = RecordFormat(layout, backbone)
        self.max_bytes = max(8 * MIN_BYTES, 2 * GROWTH * capacity * self._format.typical_bytes)
        content = read_journal(path, self._format, self.max_bytes)
        self.notices, self.open_corrections = content.notices, content.open_corrections
        self.lost = 0
        self._guard = threading.Lock()
        self._generation, self._due_bytes = 0, MIN_BYTES
        self._waiting: list[tuple[bytes, CorrectionRecord | None]] = []
        self._failed = self._unsynced = False
        self._start(content)

    def _start(self, content: JournalContent) -> None:
        self._file: AppendFile | None = None
        self._size, self._places = content.bytes, content.places
        self._unusable = content.unusable

    # reading

    def replay(self, see: Callable[[CorrectionRecord], None]) -> int:
        """
        Give every record in the order of writing, each label with its features; their number.

        To be called before the first `append`.
        """
        return replay(self._path, self._format, self._size, see)

    # writing

    def append(self, records: Sequence[CorrectionRecord], opens: bool = True) -> None:
        """
        Write what one correction said of its frames, in one piece.

        opens: whether the correction waits for a training. Raises `StateError` for the first one
        that cannot be written; those after it wait for `sync` to try again, and what exceeds
        `MAX_WAITING_BYTES` is counted in `lost`. Raises `CacheError` for a record that does not
        fit the network.
        """
        data = [self._format.sample(record, opens and i == 0) for i, record in enumerate(records)]
        if opens and records:
            self.open_corrections += 1
        self._append(list(zip(data, records)))

    def taken_up(self, corrections: int) -> None:
        """Note that a training has seen so many of the open corrections; as `append`."""
        self.open_corrections = max(0, self.open_corrections - corrections)
        self._append([(self._format.open_corrections(self.open_corrections), None)])

    def _append(self, items: list[tuple[bytes, CorrectionRecord | None]]) -> None:
        with self._guard:
            waiting = sum(len(data) for data, _ in self._waiting)
            for item in items:
                waiting += len(item[0])
                if waiting > MAX_WAITING_BYTES:
                    self.lost += 1
                else:
                    self._waiting.append(item)
            if not self._failed:
                self._write()

    def _write(self) -> None:
        """Write what waits, all or nothing; raises `StateError` when that begins to fail."""
        if not self._waiting:
            return
        try:
            if self._unusable:
                raise OSError(errno.EACCES, self._unusable)
            self._file = self._file or AppendFile(self._path, self._size)
            header = b'' if self._file.size else self._format.header()
            data = header + b''.join(each for each, _ in self._waiting)
            if self._file.size + len(data) > self.max_bytes:
                raise OSError(errno.EFBIG, f'at most {self.max_bytes} bytes are written, a '
                              'snapshot is overdue')
            offset = self._file.size + len(header)
            self._file.write(data)
        except OSError as error:
            if not self._failed:
                self._failed = True
                raise StateError(f'{self._path} cannot be written, corrections are kept in memory '
                                 f'until it can: {error.strerror or error}') from error
            return
        self._failed, self._unsynced = False, True
        for each, record in self._waiting:
            if record is not None:
                self._places[record.frame] = Place.after(
                    self._places.get(record.frame), record, offset, len(each))
            offset += len(each)
        self._waiting = []

    def sync(self) -> None:
        """Write what waits, and flush to the disk; raises `StateError` as `append`."""
        with self._guard:
            self._write()
            if self._file is None or not self._unsynced:
                return
            flush, self._unsynced = self._file.flusher(), False
        try:
            flush()
        except OSError as error:
            self._unsynced = True
            raise StateError(f'{self._path} cannot be flushed: {error.strerror}') from error

    def clear(self) -> None:
        """Forget everything, as `ForwardCache.clear` does; raises `StateError`."""
        with self._guard:
            self._generation += 1
            self._waiting, self.open_corrections, self._failed = [], 0, False
            self._close()
            self._due_bytes = MIN_BYTES
            try:
                self._path.unlink(missing_ok=True)
                sync_folder(self._path.parent)
            except OSError as error:
                raise StateError(f'{self._path} cannot be removed, a restart will bring it back: '
                                 f'{error.strerror}') from error
            self._start(JournalContent())

    def close(self) -> None:
        """Flush and close."""
        try:
            self.sync()
        finally:
            self._close()

    def _close(self) -> None:
        if self._file is not None:
            self._size = self._file.size
            self._file.close()
            self._file = None

    # snapshots

    @property
    def due(self) -> bool:
        """Whether the journal has grown so far that `plan` should look at it."""
        return self._file is not None and self._file.size >= self._due_bytes

    def plan(self, live: Iterable[FrameId]) -> Plan | None:
        """
        Note what a snapshot must hold; None when the journal has not grown enough.

        live: the frames that the cache holds now. Cheap: nothing is read or written.
        """
        with self._guard:
            if self._file is None or not self.due:
                return None
            plan = Plan.of(self._places, set(live), self._capacity, self._file.size,
                           self.open_corrections, self._generation)
            self._due_bytes = max(MIN_BYTES, GROWTH * plan.bytes)
            return plan if self._file.size > GROWTH * plan.bytes else None

    def compact(self, plan: Plan) -> bool:
        """
        Put a snapshot in the journal's place, with what was appended since the plan.

        False when the journal was cleared in between. Raises `StateError`; the journal is then
        as it was.
        """
        try:
            with Snapshot(self._path, self._format, plan) as snapshot:
                snapshot.write_places()
                with self._guard:
                    end = self._file.size if self._file is not None else 0
                snapshot.take_up_to(end)
                snapshot.sync()
                with self._guard:
                    if self._generation != plan.generation or self._file is None:
                        return False
                    snapshot.take_up_to(self._file.size)
                    snapshot.replace()
                    self._close()
                    self._size, self._unsynced = snapshot.size, True
                    self._places = snapshot.moved(self._places)
                    self._file = AppendFile(self._path, self._size)
            sync_folder(self._path.parent)
        except OSError as error:
            raise StateError(f'no snapshot of {self._path}: {error.strerror or error}') from error
        self.notices += snapshot.notices
        return True
