"""
Replay samples: a few images of each class from before the drift (rehearsal, Robins 1995).

They are trained on with the corrections, always: corrections of one class alone would teach that
everything is this class, many mistakes before a first training that nothing is what it seems, and
what the network knew before the drift would be forgotten (doc/method.md has the figures). They
ship with the network, as images, so that any network can compute its own features of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from instantft_ros.core import nf4
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.array_file import read_arrays
from instantft_ros.core.backbone import Backbone
from instantft_ros.core.errors import ImageError, ManifestError
from instantft_ros.core.features import FeatureLayout, FeatureRecord, pad_logits
from instantft_ros.core.forward_cache import CacheUpdate
from instantft_ros.core.scoring import adapted_logits

#: Replay files hold at most so many images, and at most so many bytes, packed and unpacked.
MAX_IMAGES, MAX_FILE_BYTES, MAX_UNPACKED_BYTES = 10_000, 64 << 20, 256 << 20

#: Spreads a few samples evenly among many: multiples of the golden ratio, modulo 1.
_GOLDEN = (5 ** 0.5 - 1) / 2


@dataclass(frozen=True)
class ReplaySet:
    """Features of R samples, as in `CacheUpdate`."""

    codes: np.ndarray
    scales: np.ndarray
    logits: np.ndarray
    labels: np.ndarray

    @staticmethod
    def empty(layout: FeatureLayout) -> ReplaySet:
        """Give a set without samples."""
        return ReplaySet(np.zeros((0, nf4.packed_size(layout.dim)), np.uint8),
                         np.zeros((0, len(layout.tap_sizes)), np.float32),
                         np.zeros((0, layout.classes), np.float32), np.zeros(0, np.int64))

    @staticmethod
    def load(backbone: Backbone, per_class: int, skip: int = 0) -> ReplaySet:
        """
        Run the network on the replay images that its manifest names, the first of each class.

        skip: leave out so many of each class, which another set has. Without such a file, or with
        `per_class` 0, the set is empty. Raises `ManifestError` for a
        file that is no such set.
        """
        if backbone.replay_file is None or per_class == 0:
            return ReplaySet.empty(backbone.layout)
        images, labels = first_images(backbone, per_class, skip)
        try:
            records = [FeatureRecord.of(backbone.features(backbone.preprocess(image)),
                                        backbone.layout) for image in images]
        except ImageError as error:
            raise ManifestError(f'{backbone.replay_file}: {error}') from error
        if not records:
            return ReplaySet.empty(backbone.layout)
        return ReplaySet(np.stack([record.codes for record in records]),
                         np.stack([record.scales for record in records]),
                         np.stack([record.logits for record in records]), labels)

    def with_classes(self, classes: int) -> ReplaySet:
        """Give the set for a cache with further classes, which it has no samples of."""
        return replace(self, logits=pad_logits(self.logits, classes))

    def right(self, adapter: Adapter) -> np.ndarray:
        """Tell which samples (R,) an adapter has right."""
        if len(self) == 0:
            return np.zeros(0, bool)
        z = adapted_logits(adapter, self.codes, self.scales, self.logits,
                           np.arange(len(self)))
        right: np.ndarray = z.argmax(axis=1) == self.labels
        return right

    def __len__(self) -> int:
        return len(self.labels)

    def extend(self, update: CacheUpdate) -> CacheUpdate:
        """
        Put the samples behind a cache's slots: slot `capacity` + i holds sample i.

        They never change, so only an update that presupposes nothing carries them.
        """
        capacity = update.capacity + len(self)
        if update.base_version != 0:
            return replace(update, capacity=capacity)
        slots = np.arange(update.capacity, capacity, dtype=np.int64)
        return replace(
            update, capacity=capacity, slots=np.concatenate([update.slots, slots]),
            codes=np.concatenate([update.codes, self.codes]),
            scales=np.concatenate([update.scales, self.scales]),
            logits=np.concatenate([update.logits, self.logits]),
            labels=np.concatenate([update.labels, self.labels]))

    def mix_in(self, order: np.ndarray, capacity: int) -> np.ndarray:
        """Spread the slots of all samples evenly among those of corrected ones, (N,) int64."""
        places = np.concatenate([(np.arange(len(order)) + 0.5) / max(len(order), 1),
                                 (np.arange(len(self)) + 1) * _GOLDEN % 1.0])
        slots = np.concatenate([order, capacity + np.arange(len(self), dtype=np.int64)])
        mixed: np.ndarray = slots[np.argsort(places, kind='stable')]
        return mixed


def first_images(backbone: Backbone, per_class: int,
                 skip: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """
    Give the first replay images of each class after `skip`, and their labels, as `read_images`.

    Raises `ManifestError`.
    """
    assert backbone.replay_file is not None
    images, labels = read_images(backbone.replay_file, backbone.layout.classes)
    rows = np.sort(np.concatenate([np.flatnonzero(labels == label)[skip:skip + per_class]
                                   for label in range(backbone.layout.classes)]))
    return images[rows], labels[rows]


def read_images(path: Path, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """
    Read images (R, H, W) or (R, H, W, 3) BGR uint8 and labels (R,) int64 of a replay file.

    Raises `ManifestError` that names the file.
    """
    try:
        if (size := path.stat().st_size) > MAX_FILE_BYTES:
            raise ManifestError(f'{path} has {size} bytes, at most {MAX_FILE_BYTES} are read')
        images, labels = read_arrays(path, ('images', 'labels'), MAX_UNPACKED_BYTES)
    except OSError as error:
        raise ManifestError(f'cannot read the replay images {path}: {error}') from error
    except ManifestError:
        raise
    except ValueError as error:
        raise ManifestError(f'{path} is not a replay file: {error}') from error
    if images.dtype != np.uint8 or images.ndim not in (3, 4) \
            or images.shape[3:] not in ((), (3,)) or 0 in images.shape[1:] \
            or labels.dtype != np.int64 \
            or labels.shape != images.shape[:1] or len(labels) > MAX_IMAGES:
        raise ManifestError(f'{path}: images must be uint8 (R, H, W) or (R, H, W, 3) and labels '
                            f'int64 (R,), R at most {MAX_IMAGES}, got {images.dtype} '
                            f'{images.shape} and {labels.dtype} {labels.shape}')
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise ManifestError(f'{path}: labels must be in [0, {classes})')
    return images, labels
