"""Reading the cache's journal, whatever became of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
import hashlib
import mmap
from pathlib import Path

from instantft_ros.core.errors import CacheError
from instantft_ros.core.frame_ring import FrameId
from instantft_ros.governance.cache_records import CorrectionRecord, RecordFormat


@dataclass(frozen=True)
class Place:
    """What stands for a frame, without its features; those are in the record at `offset`."""

    standing: CorrectionRecord
    offset: int
    bytes: int

    @staticmethod
    def after(before: Place | None, record: CorrectionRecord, offset: int, size: int) -> Place:
        """Give a frame's place after one more record; features stay where they are."""
        if record.features is not None:
            return Place(replace(record, features=None), offset, size)
        if before is None:
            return Place(record, -1, size)
        return replace(before, standing=record)


@dataclass(frozen=True)
class JournalContent:
    """
    What a journal holds.

    bytes: up to the end of the last whole record. damaged_bytes: those between records.
    notices: what was passed over or set aside.
    unusable: why nothing may be written to the file; '': it may.
    """

    bytes: int = 0
    places: dict[FrameId, Place] = field(default_factory=dict)
    open_corrections: int = 0
    notices: tuple[str, ...] = ()
    unusable: str = ''
    damaged_bytes: int = 0


def read_journal(path: Path, form: RecordFormat, max_bytes: int) -> JournalContent:
    """Read a journal; never raises for what is in it, nor when it cannot be read."""
    try:
        size = path.stat().st_size if path.exists() else 0
        if size == 0:
            return JournalContent()
        with path.open('rb') as stream, \
                closing(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)) as data:
            reason = (f'it has {size} bytes, at most {max_bytes} are read' if size > max_bytes
                      else form.foreign(data))
            if not reason:
                return _read(data, path, form)
            if form.header().startswith(data[:4096]):
                return JournalContent(notices=(f'{path}: {size} bytes, less than a header, '
                                               'were left out',))
            head = data[:4096]
    except OSError as error:
        problem = f'{path} cannot be read: {error.strerror}'
        return JournalContent(notices=(problem,), unusable=problem)
    aside = path.with_name(f'{path.name}.aside-{hashlib.sha256(head).hexdigest()[:12]}')
    try:
        path.rename(aside)
    except OSError as error:
        problem = f'{path} cannot be set aside ({error.strerror}), {reason}'
        return JournalContent(notices=(problem,), unusable=problem)
    return JournalContent(notices=(f'{path} was set aside as {aside.name}: {reason}',))


def _read(data: mmap.mmap, path: Path, form: RecordFormat) -> JournalContent:
    places: dict[FrameId, Place] = {}
    end = whole = len(form.header())
    count = open_corrections = 0
    for stored in form.scan(data):
        count += 1
        end, whole = stored.offset + stored.bytes, whole + stored.bytes
        if stored.correction is None:
            open_corrections = stored.open_corrections
            continue
        open_corrections += stored.opens
        frame = stored.correction.frame
        places[frame] = Place.after(places.get(frame), stored.correction, stored.offset,
                                    stored.bytes)
    notices = []
    if end != whole:
        notices.append(f'{path}: {end - whole} damaged bytes between records were passed over')
    if end != len(data):
        notices.append(f'{path}: {len(data) - end} bytes behind the last of {count} whole records '
                       'are none and were left out')
    return JournalContent(end, places, open_corrections, tuple(notices), damaged_bytes=end - whole)


def inspect(path: Path) -> tuple[RecordFormat, JournalContent]:
    """Read a journal of any network and leave it as it is; raises `CacheError`, `OSError`."""
    with path.open('rb') as stream:
        if not stream.read(1):
            raise CacheError('it is empty')
        with closing(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)) as data:
            form = RecordFormat.of_header(data)
            return form, _read(data, path, form)


def replay(path: Path, form: RecordFormat, size: int,
           see: Callable[[CorrectionRecord], None]) -> int:
    """
    Give every record of the first `size` bytes, labels with their features; their number.

    A label whose features were lost is left out.
    """
    if size == 0:
        return 0
    count, features_at = 0, dict[FrameId, int]()
    with path.open('rb') as stream, \
            closing(mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ)) as data:
        for stored in form.scan(data):
            record = stored.correction
            if record is None:
                continue
            if record.features is not None:
                features_at[record.frame] = stored.offset
            elif record.label is not None:
                earlier = form.read(data, features_at.get(record.frame, len(data)))
                if earlier is None or earlier.correction is None:
                    continue
                record = replace(record, features=earlier.correction.features)
            see(record)
            count += 1
    return count
