"""
The forward cache: the features of corrected frames with their right labels.

Bounded, balanced over the classes and independent of the order in which corrections arrive. When
it is full, the largest class gives up its sample of the lowest score t / recency + G, where t is
the frame's stamp and G Gumbel noise drawn from a hash of the frame's name. That is weighted
reservoir sampling (Efraimidis and Spirakis 2006) with weights that grow exponentially in time: an
unbiased reservoir for recency -> infinity, the newest samples for recency -> 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
import hashlib
import math
import uuid

import numpy as np

from instantft_ros.core import nf4
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.errors import CacheError
from instantft_ros.core.features import FeatureLayout, FeatureRecord
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
    """The correction that stands for one frame; label and slot are None when retracted."""

    issued_ns: int
    label: int | None
    slot: int | None
    holdout: bool
    score: float
    shuffle_key: int


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
        self._entries: dict[FrameId, _Entry] = {}
        self._clear_slots()

    def _clear_slots(self) -> None:
        self.session = uuid.uuid4().hex
        self.version = 0
        self._used = np.zeros(self.capacity, bool)
        self._free = list(range(self.capacity - 1, -1, -1))
        self._slot_versions = np.zeros(self.capacity, np.int64)
        self._codes = np.zeros((self.capacity, nf4.packed_size(self.layout.dim)), np.uint8)
        self._scales = np.zeros((self.capacity, len(self.layout.tap_sizes)), np.float32)
        self._logits = np.zeros((self.capacity, self.layout.classes), np.float32)
        self._labels = np.zeros(self.capacity, np.int64)
        self._square_norms = np.zeros(self.capacity)

    def __len__(self) -> int:
        return self.capacity - len(self._free)

    def clear(self) -> None:
        """Forget everything; a new session starts, so no accelerator mixes old and new."""
        self._entries.clear()
        self._clear_slots()

    def label_of(self, frame: FrameId) -> int | None:
        """Give the label that stands for a frame, None where there is none."""
        entry = self._entries.get(frame)
        return None if entry is None or entry.slot is None else entry.label

    def counts(self) -> np.ndarray:
        """Count the samples of each class, (C,) int64, holdout included."""
        return np.bincount(self._labels[self._used], minlength=self.layout.classes)

    def labelled(self, camera: str, first_ns: int, last_ns: int) -> list[FrameId]:
        """Name the labelled frames of a camera with first_ns <= stamp <= last_ns."""
        return [frame for frame, entry in self._entries.items()
                if entry.slot is not None and frame.camera == camera
                and first_ns <= frame.stamp_ns <= last_ns]

    def add(self, frame: FrameId, record: FeatureRecord | None, label: int, issued_ns: int,
            group: str | None = None) -> Outcome:
        """
        Label a frame; of several corrections of one frame the one issued last stands.

        `record` may be None only for a frame that is labelled already. Among equal `issued_ns`
        the higher label stands, and a label stands over a retraction, so that the order of
        arrival never matters. Raises `CacheError` for an unknown label.
        """
        if not 0 <= label < self.layout.classes:
            raise CacheError(f'label must be in [0, {self.layout.classes}), got {label}')
        entry = self._entries.get(frame)
        if entry is not None:
            standing = -1 if entry.label is None else entry.label
            if (issued_ns, label) < (entry.issued_ns, standing):
                return Outcome.SUPERSEDED
            entry.issued_ns = issued_ns
            if entry.label == label:
                return Outcome.DUPLICATE
            if entry.slot is not None:
                entry.label = label
                self._write(entry.slot, record, label)
                return Outcome.RELABELLED
        if record is None:
            raise CacheError(f'{frame} is not labelled yet, so its features are needed')
        noise, shuffle_key, coin = _hash_of(frame, group)
        age_s = frame.stamp_ns / 1e9
        score = noise + (age_s / self.recency_s if math.isfinite(self.recency_s) else 0.0)
        entry = _Entry(issued_ns, label, None, coin < self.holdout_share, score, shuffle_key)
        self._entries[frame] = entry
        if not self._make_room(entry):
            del self._entries[frame]
            return Outcome.NOT_KEPT
        entry.slot = self._free.pop()
        self._used[entry.slot] = True
        self._write(entry.slot, record, label)
        return Outcome.ADDED

    def retract(self, frame: FrameId, issued_ns: int) -> Outcome:
        """Withdraw a frame's label; an older `add` that arrives later stays withdrawn."""
        entry = self._entries.get(frame)
        if entry is None:
            noise, shuffle_key, _ = _hash_of(frame, None)
            self._entries[frame] = _Entry(issued_ns, None, None, False, noise, shuffle_key)
            self._forget_old_retractions()
            return Outcome.NOT_LABELLED
        standing = -1 if entry.label is None else entry.label
        if (issued_ns, -1) < (entry.issued_ns, standing):
            return Outcome.SUPERSEDED
        entry.issued_ns = issued_ns
        if entry.label is None:
            return Outcome.NOT_LABELLED
        entry.label = None
        if entry.slot is not None:
            self._release(entry)
        self._forget_old_retractions()
        return Outcome.RETRACTED

    def training_order(self) -> np.ndarray:
        """Give the slots to train on, (N,) int64, in an order shuffled once per frame name."""
        return self._slots(holdout=False)

    def holdout_order(self) -> np.ndarray:
        """Give the slots kept for validation, (N,) int64."""
        return self._slots(holdout=True)

    def unchanged(self, slots: np.ndarray, version: int) -> np.ndarray:
        """Give those of some slots that hold what they held at a version; others are left out."""
        slots = slots[slots < self.capacity]
        same: np.ndarray = slots[self._used[slots] & (self._slot_versions[slots] <= version)]
        return same

    def samples(self, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Give dequantized x (N, D), frozen logits (N, C) and labels (N,) of some slots."""
        x = nf4.dequantize(self._codes[slots], self._scales[slots], self.layout.tap_sizes)
        return x, self._logits[slots], self._labels[slots]

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

    def _write(self, slot: int, record: FeatureRecord | None, label: int) -> None:
        self.version += 1
        self._slot_versions[slot] = self.version
        self._labels[slot] = label
        if record is not None:
            self._codes[slot], self._scales[slot] = record.codes, record.scales
            self._logits[slot] = record.logits
            x = nf4.dequantize(record.codes, record.scales, self.layout.tap_sizes)
            self._square_norms[slot] = x @ x

    def _release(self, entry: _Entry) -> None:
        assert entry.slot is not None
        self.version += 1
        self._used[entry.slot] = False
        self._free.append(entry.slot)
        entry.slot = None

    def _make_room(self, newcomer: _Entry) -> bool:
        """Evict one sample when full; False when the newcomer itself is the one to go."""
        if self._free:
            return True
        counts = self.counts()
        counts[newcomer.label] += 1
        largest = int(counts.argmax())
        members = {frame: entry for frame, entry in self._entries.items()
                   if entry.label == largest and (entry.slot is not None or entry is newcomer)}
        frame, entry = min(members.items(), key=lambda item: (item[1].score, item[0]))
        if entry is newcomer:
            return False
        self._release(entry)
        del self._entries[frame]
        return True

    def _forget_old_retractions(self) -> None:
        """Remember as many retractions as samples at most, the ones issued last."""
        retracted = [frame for frame, entry in self._entries.items() if entry.label is None]
        if len(retracted) > self.capacity:
            del self._entries[min(retracted, key=lambda frame: self._entries[frame].issued_ns)]

    def _slots(self, holdout: bool) -> np.ndarray:
        entries = sorted((entry.shuffle_key, entry.slot) for entry in self._entries.values()
                         if entry.slot is not None and entry.holdout == holdout)
        return np.array([slot for _, slot in entries], np.int64)


def _hash_of(frame: FrameId, group: str | None) -> tuple[float, int, float]:
    """Give Gumbel noise and a shuffle key of the frame, and a coin in [0, 1) of its group."""
    name = f'{frame.camera} {frame.stamp_ns}'
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    uniform = (int.from_bytes(digest[:7], 'big') + 0.5) / 2.0 ** 56
    coin = hashlib.blake2b((group or name).encode(), digest_size=7, person=b'holdout').digest()
    return (-math.log(-math.log(uniform)), int.from_bytes(digest[8:], 'big'),
            int.from_bytes(coin, 'big') / 2.0 ** 56)
