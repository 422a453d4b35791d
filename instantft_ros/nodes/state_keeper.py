"""What a restart brings back, and the log of what happened: written beside the node's work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
import dataclasses
from pathlib import Path
import time
from typing import Any

from instantft_ros.adaptation.versions import AdapterVersion
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.backbone import Backbone
from instantft_ros.core.errors import InstantFTError, StateError
from instantft_ros.core.features import FeatureLayout
from instantft_ros.core.forward_cache import ForwardCache
from instantft_ros.core.frame_ring import FrameId
from instantft_ros.governance.audit_log import AuditLog, BATCHED
from instantft_ros.governance.cache_records import CorrectionRecord
from instantft_ros.governance.cache_store import CacheStore
from instantft_ros.governance.version_files import numbers_in
from instantft_ros.governance.version_manifest import VersionManifest
from instantft_ros.governance.version_pruning import prune
from instantft_ros.governance.version_store import Restored, VersionStore

#: Versions that may wait to be written; no training starts while more do.
MOST_WAITING = 4

#: Old versions are looked for after so many new ones.
PRUNE_EVERY = 100

#: Between two flushes of corrections to the disk, seconds.
SYNC_S = 1.0


class StateKeeper:
    """
    Keeps versions, labelled cache and audit log in a folder.

    Corrections are handed to the operating system before they are acknowledged, so they outlive
    the process; everything that waits for the disk is done by one thread of its own, in order.
    Raises `LockedError` where another node has the folder, `StateError` when it cannot be used.
    `problems` gives what went wrong since it was asked last.
    """

    def __init__(self, folder: Path, layout: FeatureLayout, backbone: str, capacity: int,
                 notice: Callable[[str], None]) -> None:
        self._audit = AuditLog(folder / 'audit.jsonl', time.time_ns, begin_again=True)
        try:
            self.versions = VersionStore(folder, time.time_ns)
            self._cache = CacheStore(folder / 'cache.journal', layout, backbone, capacity)
        except BaseException:
            self._audit.close()
            raise
        for text in self._cache.notices:
            notice(text)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix='state')
        self._waiting: list[Future[None]] = []
        self._problems: list[str] = []
        self._synced_s = time.monotonic()
        self._saved = 0
        self._compacting: Future[None] | None = None

    @staticmethod
    def open(folder: str, backbone: Backbone, capacity: int,
             notice: Callable[[str], None]) -> StateKeeper | None:
        """Open a folder; None where none is named."""
        return StateKeeper(Path(folder), backbone.layout, backbone.digest, capacity,
                           notice) if folder else None

    # at the start

    def restore_version(self, backbone: Backbone) -> Restored:
        """Give the version to start with."""
        return self.versions.latest_accepted(backbone.layout, backbone.digest)

    def keep_first(self, first: AdapterVersion, class_names: tuple[str, ...]) -> None:
        """Write version 0, with which everything begins, unless it is there."""
        if 0 not in numbers_in(self.versions.folder):
            manifest = VersionManifest(0, 0, 'accepted', 'gate', 'the first adapter', class_names)
            self._waiting.append(self._later(
                lambda: self.versions.save(first.adapter, manifest)))

    def restore_cache(self, cache: ForwardCache, now_s: float) -> tuple[int, int]:
        """Fill a cache with what was labelled; gives samples, and corrections still open."""
        records: list[CorrectionRecord] = []
        self._cache.replay(records.append)
        newest_ns = max((record.frame.stamp_ns for record in records), default=0)
        for record in records:
            if record.label is None:
                cache.retract(record.frame, record.issued_ns)
            elif record.features is not None and record.label < cache.layout.classes:
                time_s = now_s - (newest_ns - record.frame.stamp_ns) / 1e9  # older than any new
                cache.add(record.frame, dataclasses.replace(record.features, time_s=time_s),
                          record.label, record.issued_ns, record.group)
        for record in records:
            cache.forget(record.frame)  # no ring holds it
        cache.let_in()
        return len(cache), self._cache.open_corrections

    # while the node runs

    @property
    def behind(self) -> bool:
        """Whether more versions wait to be written than should."""
        self._waiting = [each for each in self._waiting if not each.done()]
        return len(self._waiting) > MOST_WAITING

    def labelled(self, records: Sequence[CorrectionRecord]) -> None:
        """Keep what one correction said of its frames; call it before it is acknowledged."""
        self._try(lambda: self._cache.append(records))

    def taken_up(self, corrections: int) -> None:
        """Note that a training that went live has seen so many corrections."""
        self._try(lambda: self._cache.taken_up(corrections))

    def cleared(self) -> None:
        """Forget the labelled cache."""
        self._try(self._cache.clear)

    def log(self, kind: str, **fields: Any) -> None:
        """Write an event to the audit log; all but corrections and trainings to the disk."""
        if kind in BATCHED:
            self._try(lambda: self._audit.append(kind, **fields))
        else:
            self._later(lambda: self._audit.append(kind, **fields))

    def save(self, adapter: Adapter, manifest: VersionManifest, in_use: bool,
             keep: int, keep_days: float) -> None:
        """Write a version, and name it as the one in use."""
        self._saved += 1
        prune_now = self._saved % PRUNE_EVERY == 0

        def write() -> None:
            self.versions.save(adapter, manifest)
            if in_use:
                self.versions.set_current(manifest.number)
            if prune_now:
                removed = prune(self.versions, time.time_ns(), keep, keep_days or None)
                self._audit.append('pruned', versions=removed)

        self._waiting.append(self._later(write))

    def decide(self, number: int, state: str, accepted_by: str, reason: str,
               in_use: bool) -> None:
        """Record a decision about a version that is there already."""
        def write() -> None:
            self.versions.decide(number, state, accepted_by, reason)
            if in_use:
                self.versions.set_current(number)

        self._waiting.append(self._later(write))

    def wait(self) -> None:
        """Wait until everything that was asked for is on the disk."""
        self._worker.submit(lambda: None).result()

    def tick(self, cached: Callable[[], list[FrameId]]) -> None:
        """Flush and shrink the journal now and then; cached: the frames that the cache holds."""
        now_s = time.monotonic()
        if now_s - self._synced_s >= SYNC_S:
            self._synced_s = now_s
            self._later(self._audit.sync)
            self._later(self._cache.sync)
        if self._cache.due and (self._compacting is None or self._compacting.done()):
            plan = self._cache.plan(cached())
            if plan is not None:
                self._compacting = self._later(lambda: self._cache.compact(plan))

    def problems(self) -> list[str]:
        """Give what went wrong since this was asked last."""
        found, self._problems = self._problems, []
        return found

    def close(self) -> None:
        """Write what waits, and leave the folder."""
        self._worker.shutdown(wait=True)
        for close in (self._cache.close, self._audit.close):
            self._try(close)

    def _later(self, work: Callable[[], object]) -> Future[None]:
        return self._worker.submit(self._try, work)

    def _try(self, work: Callable[[], object]) -> None:
        try:
            work()
        except (InstantFTError, OSError) as error:
            self._problems.append(str(error) if isinstance(error, StateError) else
                                  f'the state was not written: {error}')
