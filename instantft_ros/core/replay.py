"""
Replay samples: a few images from before the drift, for the classes that nobody has corrected yet.

Corrections of one class alone would teach the adapter that everything is this class. So a class
with fewer corrected samples than `per_class` is filled up with replay samples (rehearsal, Robins
1995), and a class that has enough of its own uses none: on a full cache they cost nothing
(doc/method.md). They ship with the network, as images, so that any network can compute its own
features of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from instantft_ros.core import nf4
from instantft_ros.core.array_file import read_arrays
from instantft_ros.core.backbone import Backbone
from instantft_ros.core.errors import ImageError, ManifestError
from instantft_ros.core.features import FeatureLayout, FeatureRecord
from instantft_ros.core.forward_cache import CacheUpdate

#: Replay files hold at most so many images, and at most so many bytes, packed and unpacked.
MAX_IMAGES, MAX_FILE_BYTES, MAX_UNPACKED_BYTES = 10_000, 64 << 20, 256 << 20

#: Spreads a few samples evenly among many: multiples of the golden ratio, modulo 1.
_GOLDEN = (5 ** 0.5 - 1) / 2


@dataclass(frozen=True)
class ReplaySet:
    """Features of R replay samples, as in `CacheUpdate`; at most `per_class` of each class."""

    per_class: int
    codes: np.ndarray
    scales: np.ndarray
    logits: np.ndarray
    labels: np.ndarray

    @staticmethod
    def empty(layout: FeatureLayout) -> ReplaySet:
        """Give a set without samples."""
        return ReplaySet(0, np.zeros((0, nf4.packed_size(layout.dim)), np.uint8),
                         np.zeros((0, len(layout.tap_sizes)), np.float32),
                         np.zeros((0, layout.classes), np.float32), np.zeros(0, np.int64))

    @staticmethod
    def load(backbone: Backbone, per_class: int) -> ReplaySet:
        """
        Run the network on the replay images that its manifest names, the first of each class.

        Without such a file, or with `per_class` 0, the set is empty. Raises `ManifestError` for a
        file that is no such set.
        """
        if backbone.replay_file is None or per_class == 0:
            return ReplaySet.empty(backbone.layout)
        images, labels = read_images(backbone.replay_file, backbone.layout.classes)
        rows = np.sort(np.concatenate([np.flatnonzero(labels == label)[:per_class]
                                       for label in range(backbone.layout.classes)]))
        try:
            records = [FeatureRecord.of(backbone.features(backbone.preprocess(images[row])),
                                        backbone.layout) for row in rows]
        except ImageError as error:
            raise ManifestError(f'{backbone.replay_file}: {error}') from error
        if not records:
            return ReplaySet.empty(backbone.layout)
        return ReplaySet(per_class, np.stack([record.codes for record in records]),
                         np.stack([record.scales for record in records]),
                         np.stack([record.logits for record in records]), labels[rows])

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

    def fill_up(self, order: np.ndarray, labels: np.ndarray, capacity: int) -> np.ndarray:
        """
        Mix replay slots into an order of corrected ones, (N,) int64 with their labels (N,).

        Each class gets as many as it lacks to `per_class`, spread evenly over the order.
        """
        corrected = np.bincount(labels, minlength=int(self.labels.max(initial=-1)) + 1)
        rows: list[int] = []
        for label in np.unique(self.labels):
            lacking = max(self.per_class - int(corrected[label]), 0)
            rows += np.flatnonzero(self.labels == label)[:lacking].tolist()
        places = np.concatenate([(np.arange(len(order)) + 0.5) / max(len(order), 1),
                                 (np.arange(len(rows)) + 1) * _GOLDEN % 1.0])
        slots = np.concatenate([order, capacity + np.array(rows, np.int64)])
        mixed: np.ndarray = slots[np.argsort(places, kind='stable')]
        return mixed


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
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape[1:] \
            or images.shape[3:] not in ((), (3,)) or labels.dtype != np.int64 \
            or labels.shape != images.shape[:1] or len(labels) > MAX_IMAGES:
        raise ManifestError(f'{path}: images must be uint8 (R, H, W) or (R, H, W, 3) and labels '
                            f'int64 (R,), R at most {MAX_IMAGES}, got {images.dtype} '
                            f'{images.shape} and {labels.dtype} {labels.shape}')
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise ManifestError(f'{path}: labels must be in [0, {classes})')
    return images, labels
