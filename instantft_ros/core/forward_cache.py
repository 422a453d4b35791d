"""
The forward cache: the features of corrected frames with their right labels.

Bounded, balanced over the classes and independent of the order in which corrections arrive. When
it is full, each class keeps its samples of the highest scores t / recency + G, where t is the time
at which the frame came and G Gumbel noise drawn from a hash of the frame's name. That is weighted
reservoir sampling (Efraimidis and Spirakis 2006) with weights that grow exponentially in time: an
unbiased reservoir for recency -> infinity, the newest samples for recency -> 0. A sample for which
there is no room waits for as long as its frame is held in the ring of recent frames.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
import hashlib
import math
import uuid

import numpy as np

from instantft_ros.core import nf4
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.balanced_selection import BalancedSelection
from instantft_ros.core.errors import CacheError
from instantft_ros.core.features import FeatureLayout, FeatureRecord, pad_logits
from instantft_ros.core.frame_ring import FrameId
from instantft_ros.core.scoring import adapted_logits


class Outcome(Enum):
    """What became of one frame's correction."""

    ADDED = 'added'
    RELABELLED = 'relabelled'
    DUPLICATE = 'duplicate: this frame has that label already'
    SUPERSEDED = 'superseded: a correction issued later stands'
    NOT_KEPT = 'not kept: the cache is full of samples that its policy prefers'
    RETRACTED = 'retracted'
    NOT_LABELLED = 'not labelled: there is nothing to retract'


@dataclass(frozen=True)
class CacheUpdate:
    """
    The slots of a labelled cache that changed from one version to another.

    slots (M,) int64 in [0, capacity), each at most once; codes (M, ceil(D / 2)) uint8;
    scales (M, K) float32; logits (M, C) float32; labels (M,) int64 in [0, C).
    `base_version` 0 means that nothing is presupposed: the cache starts empty.
    """

    session: str
    base_version: int
    version: int
    capacity: int
    slots: np.ndarray
    codes: np.ndarray
    scales: np.ndarray
    logits: np.ndarray
    labels: np.ndarray


@dataclass
class _Entry:
    """
    The correction that stands for one frame.

    label None: retracted. slot None: not kept. record None: the frame has left the ring.
    """

    issued_ns: int
    label: int | None
    group: str
    record: FeatureRecord | None
    score: float = 0.0
    slot: int | None = None

    @property
    def precedence(self) -> tuple[int, int, str]:
        """Of two corrections of one frame the greater stands, whichever came first."""
        return self.issued_ns, -1 if self.label is None else self.label, self.group


class ForwardCache:
    """
    Labelled features in numbered slots.

    capacity: samples held, training and holdout together. holdout_share: the share of frames, in
    [0, 0.5], that is kept for validation and never trained on; which ones is decided by a hash of
    the correction's `group`, so near-identical frames of one correction stay on one side.
    recency_s: see the module. `version` grows by one with each change.
    """

    def __init__(self, layout: FeatureLayout, capacity: int, holdout_share: float = 0.0,
                 recency_s: float = 300.0) -> None:
        if capacity < 1:
            raise CacheError(f'capacity must be at least 1, got {capacity}')
        self.layout, self.capacity = layout, capacity
        self.holdout_share, self.recency_s = holdout_share, recency_s
        self.version = -1
        self.clear()

    def clear(self) -> None:
        """Forget everything; a new session starts, so no accelerator mixes old and new."""
        self.session = uuid.uuid4().hex
        self.version += 1
        self._entries: dict[FrameId, _Entry] = {}
        self._selection: BalancedSelection[FrameId] = BalancedSelection(self.capacity,
                                                                        self.layout.classes)
        self._let_in: deque[FrameId] = deque(maxlen=self.capacity)
        self._free = list(range(self.capacity - 1, -1, -1))
        self._used = np.zeros(self.capacity, bool)
        self._holdout = np.zeros(self.capacity, bool)
        self._shuffle_keys = np.zeros(self.capacity, np.uint64)
        self._slot_versions = np.zeros(self.capacity, np.int64)
        self._codes = np.zeros((self.capacity, nf4.packed_size(self.layout.dim)), np.uint8)
        self._scales = np.zeros((self.capacity, len(self.layout.tap_sizes)), np.float32)
        self._logits = np.zeros((self.capacity, self.layout.classes), np.float32)
        self._labels = np.zeros(self.capacity, np.int64)
        self._square_norms = np.zeros(self.capacity)

    def grow(self, classes: int) -> None:
        """Make room for labels up to `classes`; a new session starts, the samples stay."""
        if classes == self.layout.classes:
            return
        self.layout = self.layout.with_classes(classes)
        self.session = uuid.uuid4().hex
        self.version += 1
        self._logits = np.ascontiguousarray(pad_logits(self._logits, classes))
        self._selection.grow(classes)

    def __len__(self) -> int:
        return self.capacity - len(self._free)

    def label_of(self, frame: FrameId) -> int | None:
        """Give the label that a sample is kept with, None where there is none."""
        entry = self._entries.get(frame)
        return None if entry is None or entry.slot is None else entry.label

    def let_in(self) -> list[tuple[FrameId, int, int, str]]:
        """
        Give what came in since this was asked last: frame, label, when issued, and group.

        Beside what was added itself it may be a sample that had waited, and for which a
        retraction made room.
        """
        entries = [(frame, self._entries.get(frame)) for frame in self._let_in]
        self._let_in.clear()
        return [(frame, entry.label, entry.issued_ns, entry.group) for frame, entry in entries
                if entry is not None and entry.slot is not None and entry.label is not None]

    def counts(self) -> np.ndarray:
        """Count the samples of each class, (C,) int64, holdout included."""
        return np.bincount(self._labels[self._used], minlength=self.layout.classes)

    def labelled(self, view: str, first_ns: int, last_ns: int) -> list[FrameId]:
        """Name the kept frames of a view with first_ns <= stamp <= last_ns."""
        return [frame for frame, entry in self._entries.items()
                if entry.slot is not None and frame.view == view
                and first_ns <= frame.stamp_ns <= last_ns]

    def add(self, frame: FrameId, record: FeatureRecord | None, label: int, issued_ns: int,
            group: str | None = None) -> Outcome:
        """
        Label a frame; of several corrections of one frame the one issued last stands.

        `record` may be None only for a frame that is kept already. Among equal `issued_ns` the
        higher label stands, a label stands over a retraction, and of equal labels that of the
        higher group, so that the order of arrival never matters. Raises `CacheError` for an
        unknown label.
        """
        if not 0 <= label < self.layout.classes:
            raise CacheError(f'label must be in [0, {self.layout.classes}), got {label}')
        entry = self._entries.get(frame)
        if record is None and (entry is None or entry.slot is None):
            raise CacheError(f'{frame} is not labelled yet, so its features are needed')
        new = _Entry(issued_ns, label, group or _name_of(frame), record)
        if record is not None:
            new.score = self._score_of(frame, record)
        if entry is not None:
            if new.precedence < entry.precedence:
                return Outcome.SUPERSEDED
            new.slot = entry.slot
            if record is None:
                new.record, new.score = entry.record, entry.score
        self._entries[frame] = new
        if entry is not None and entry.label == label:
            if new.slot is None:
                return Outcome.NOT_KEPT
            self._holdout[new.slot] = self._is_holdout(new.group)
            return Outcome.DUPLICATE
        kept_before = new.slot is not None
        self._selection.put(frame, label, new.score)
        self._settle()
        if new.slot is None:
            return Outcome.NOT_KEPT
        if not kept_before:
            return Outcome.ADDED
        self._write(frame, new)
        return Outcome.RELABELLED

    def retract(self, frame: FrameId, issued_ns: int) -> Outcome:
        """Withdraw a frame's label; an older `add` that arrives later stays withdrawn."""
        entry = self._entries.get(frame)
        new = _Entry(issued_ns, None, '', None if entry is None else entry.record)
        if entry is None:
            self._entries[frame] = new
            return Outcome.NOT_LABELLED
        if new.precedence < entry.precedence:
            return Outcome.SUPERSEDED
        if entry.label is None:
            self._entries[frame] = new
            return Outcome.NOT_LABELLED
        self._selection.discard(frame)
        self._settle()
        if frame in self._entries:
            self._entries[frame] = new
        return Outcome.RETRACTED

    def forget(self, frame: FrameId) -> None:
        """Note that a frame has left the ring: what is not kept of it ends with it."""
        entry = self._entries.get(frame)
        if entry is None:
            return
        if entry.slot is None:
            del self._entries[frame]
            self._selection.discard(frame)
            self._settle()
        else:
            entry.record = None

    def training_order(self) -> np.ndarray:
        """Give the slots to train on, (N,) int64, in an order shuffled once per frame name."""
        return self._slots(holdout=False)

    def holdout_order(self) -> np.ndarray:
        """Give the slots kept for validation, (N,) int64."""
        return self._slots(holdout=True)

    def slots(self) -> np.ndarray:
        """Give all slots that hold a sample, (N,) int64: those to train on, then the others."""
        return np.concatenate([self.training_order(), self.holdout_order()])

    def unchanged(self, slots: np.ndarray, version: int) -> np.ndarray:
        """Give those of some slots that hold what they held at a version; others are left out."""
        slots = slots[slots < self.capacity]
        same: np.ndarray = slots[self._used[slots] & (self._slot_versions[slots] <= version)]
        return same

    def samples(self, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Give dequantized x (N, D), frozen logits (N, C) and labels (N,) of some slots."""
        x = nf4.dequantize(self._codes[slots], self._scales[slots], self.layout.tap_sizes)
        return x, self._logits[slots], self._labels[slots]

    def last_taps(self, slots: np.ndarray, count: int) -> np.ndarray:
        """Give dequantized values (N, ...) of the last `count` taps of some slots."""
        sizes = self.layout.tap_sizes[-count:]
        start = self.layout.dim - sum(sizes)
        codes = nf4.unpack(self._codes[slots, start // 2:], self.layout.dim - start // 2 * 2)
        x: np.ndarray = (nf4.CODEBOOK[codes[:, start % 2:]]
                         * np.repeat(self._scales[slots, -count:], sizes, axis=1))
        return x

    def frozen_logits(self, slots: np.ndarray) -> np.ndarray:
        """Give the frozen logits (N, C) of some slots."""
        logits: np.ndarray = self._logits[slots]
        return logits

    def written_at(self, slots: np.ndarray) -> np.ndarray:
        """Give the cache version (N,) at which some slots were last written."""
        versions: np.ndarray = self._slot_versions[slots]
        return versions

    def frames(self) -> list[FrameId]:
        """Name every frame that is kept."""
        return [frame for frame, entry in self._entries.items() if entry.slot is not None]

    def frames_in(self, slots: np.ndarray) -> list[FrameId]:
        """Name the frames of some slots, in no order."""
        wanted = set(slots.tolist())
        return [frame for frame, entry in self._entries.items() if entry.slot in wanted]

    def slots_of(self, frames: Iterable[FrameId]) -> np.ndarray:
        """Give the slots of those frames that are kept, (N,) int64."""
        entries = (self._entries.get(frame) for frame in frames)
        return np.array([entry.slot for entry in entries
                         if entry is not None and entry.slot is not None], np.int64)

    def labels(self, slots: np.ndarray) -> np.ndarray:
        """Give the labels (N,) int64 of some slots."""
        labels: np.ndarray = self._labels[slots]
        return labels

    def adapted_logits(self, adapter: Adapter, slots: np.ndarray) -> np.ndarray:
        """Give an adapter's logits (N, C) for some slots."""
        return adapted_logits(adapter, self._codes, self._scales, self._logits, slots)

    def mean_square_norm(self, slots: np.ndarray) -> float:
        """Give the mean of ||x||^2 over some slots."""
        return float(self._square_norms[slots].mean())

    def update_since(self, base_version: int) -> CacheUpdate:
        """
        Give the slots that changed after `base_version`, all of them for 0.

        Slots that became free are not told: they are in no order any more.
        """
        changed = self._used & (self._slot_versions > base_version)
        slots = np.flatnonzero(changed).astype(np.int64)
        return CacheUpdate(self.session, base_version, self.version, self.capacity, slots,
                           self._codes[slots], self._scales[slots], self._logits[slots],
                           self._labels[slots])

    def _settle(self) -> None:
        """Let the selection choose, and give and take slots accordingly."""
        entering, leaving = self._selection.settle()
        for frame in leaving:
            entry = self._entries[frame]
            assert entry.slot is not None
            self.version += 1
            self._used[entry.slot] = False
            self._free.append(entry.slot)
            entry.slot = None
            if entry.record is None:  # its features were in that slot alone
                del self._entries[frame]
                self._selection.discard(frame)
        self._let_in += entering
        for frame in entering:
            entry = self._entries[frame]
            entry.slot = self._free.pop()
            self._used[entry.slot] = True
            self._write(frame, entry)

    def _write(self, frame: FrameId, entry: _Entry) -> None:
        slot, record = entry.slot, entry.record
        assert slot is not None and entry.label is not None
        self.version += 1
        self._slot_versions[slot] = self.version
        self._labels[slot] = entry.label
        self._holdout[slot] = self._is_holdout(entry.group)
        if record is not None:
            self._shuffle_keys[slot] = _hash_of(frame)[1]
            self._codes[slot], self._scales[slot] = record.codes, record.scales
            self._logits[slot] = pad_logits(record.logits, self.layout.classes)
            self._square_norms[slot] = record.square_norm

    def _score_of(self, frame: FrameId, record: FeatureRecord) -> float:
        time_s = frame.stamp_ns / 1e9 if record.time_s is None else record.time_s
        noise, _ = _hash_of(frame)
        return noise + (time_s / self.recency_s if math.isfinite(self.recency_s) else 0.0)

    def _is_holdout(self, group: str) -> bool:
        digest = hashlib.blake2b(group.encode(), digest_size=7, person=b'holdout').digest()
        return int.from_bytes(digest, 'big') / 2.0 ** 56 < self.holdout_share

    def _slots(self, holdout: bool) -> np.ndarray:
        slots = np.flatnonzero(self._used & (self._holdout == holdout))
        order: np.ndarray = slots[np.argsort(self._shuffle_keys[slots])]
        return order


def _name_of(frame: FrameId) -> str:
    return f'{frame.view} {frame.stamp_ns}'


def _hash_of(frame: FrameId) -> tuple[float, int]:
    """Give Gumbel noise and a shuffle key, both from a hash of the frame's name."""
    digest = hashlib.blake2b(_name_of(frame).encode(), digest_size=16).digest()
    uniform = (int.from_bytes(digest[:7], 'big') + 0.5) / 2.0 ** 56
    return -math.log(-math.log(uniform)), int.from_bytes(digest[8:], 'big')
