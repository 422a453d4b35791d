"""A journal with only what is still needed, which takes the place of the one before."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
import os
from pathlib import Path

from instantft_ros.core.frame_ring import FrameId
from instantft_ros.governance.cache_journal import Place
from instantft_ros.governance.cache_records import RecordFormat

#: About what a retraction takes.
RETRACTION_BYTES = 64


@dataclass(frozen=True)
class Plan:
    """What a snapshot will hold, as of one moment; bytes: how much that is."""

    places: tuple[Place, ...]
    bytes: int
    end: int
    open_corrections: int
    generation: int

    @staticmethod
    def of(places: dict[FrameId, Place], live: set[FrameId], capacity: int, end: int,
           open_corrections: int, generation: int) -> Plan:
        """Choose the labels of live frames, and the `capacity` retractions issued last."""
        labels = [place for frame, place in places.items()
                  if frame in live and place.standing.label is not None and place.offset >= 0]
        retractions = [place for place in places.values() if place.standing.label is None]
        retractions.sort(key=lambda place: place.standing.issued_ns)
        kept = (*labels, *retractions[max(0, len(retractions) - capacity):])
        size = sum(RETRACTION_BYTES if place.standing.label is None else place.bytes
                   for place in kept)
        return Plan(kept, size, end, open_corrections, generation)


class Snapshot:
    """Writes a plan beside a journal; until `replace` nothing has changed. Raises `OSError`."""

    def __init__(self, path: Path, form: RecordFormat, plan: Plan) -> None:
        self._path, self._form, self._plan = path, form, plan
        self._partial = path.with_name(f'.{path.name}.partial')
        self._source = path.open('rb')
        self._target = self._partial.open('wb')
        self._taken = plan.end
        self._moved: dict[FrameId, tuple[int, int]] = {}
        self._tail, self.size = 0, 0
        self.notices: tuple[str, ...] = ()

    def write_places(self) -> None:
        """Copy what the plan names."""
        form = self._form
        self._write(form.header() + form.open_corrections(self._plan.open_corrections))
        for place in self._plan.places:
            record = place.standing
            if record.label is not None:
                self._source.seek(place.offset)
                stored = form.read(self._source.read(place.bytes), 0)
                if stored is None or stored.correction is None:
                    self.notices = (f'{self._path}: damaged since it was written', )
                    continue
                record = replace(record, features=stored.correction.features)
            data = form.sample(record, opens=False)
            offset = self.size if record.features is not None else -1
            self._moved[record.frame] = offset, len(data)
            self._write(data)
        self._tail = self.size

    def _write(self, data: bytes) -> None:
        self._target.write(data)
        self.size += len(data)

    def take_up_to(self, end: int) -> None:
        """Add what the journal got between the plan, or the last call, and `end`."""
        if end > self._taken:
            self._source.seek(self._taken)
            self._write(self._source.read(end - self._taken))
            self._taken = end

    def sync(self) -> None:
        """Flush to the disk."""
        self._target.flush()
        os.fsync(self._target.fileno())

    def replace(self) -> None:
        """Take the journal's place."""
        self._target.flush()
        self._partial.replace(self._path)

    def moved(self, places: dict[FrameId, Place]) -> dict[FrameId, Place]:
        """Give the places as they are in the snapshot; what it does not hold is left out."""
        found = {}
        for frame, place in places.items():
            if place.offset >= self._plan.end:
                found[frame] = replace(place, offset=place.offset - self._plan.end + self._tail)
            elif frame in self._moved:
                offset, size = self._moved[frame]
                found[frame] = replace(place, offset=offset, bytes=size)
            elif place.standing.label is None:
                found[frame] = replace(place, offset=-1)
        return found

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()
        with suppress(OSError):  # on a full disk there is a rest that cannot be written
            self._target.close()
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)
