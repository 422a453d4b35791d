"""What the frozen network computed on one frame, as floats and as it is cached."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from instantft_ros.core import nf4
from instantft_ros.core.errors import FeatureError
from instantft_ros.core.manifest import Manifest


@dataclass(frozen=True)
class FeatureLayout:
    """The shape of one frame's features: the flat size of each tap, and the number of classes."""

    tap_sizes: tuple[int, ...]
    classes: int

    @staticmethod
    def of(manifest: Manifest) -> FeatureLayout:
        """Read the layout off a backbone's manifest."""
        return FeatureLayout(manifest.tap_sizes, len(manifest.classes))

    def with_classes(self, classes: int) -> FeatureLayout:
        """Give the same taps with another number of classes."""
        return FeatureLayout(self.tap_sizes, classes)

    @property
    def dim(self) -> int:
        """D, the values of all taps together."""
        return sum(self.tap_sizes)

    @property
    def starts(self) -> tuple[int, ...]:
        """Where each tap starts in the concatenation of all taps."""
        return tuple(sum(self.tap_sizes[:k]) for k in range(len(self.tap_sizes)))

    @property
    def slices(self) -> tuple[slice, ...]:
        """Each tap's place in the concatenation of all taps."""
        return tuple(slice(start, start + size)
                     for start, size in zip(self.starts, self.tap_sizes))

    @property
    def record_bytes(self) -> int:
        """Bytes of one cached frame: packed codes, scales and logits."""
        return nf4.packed_size(self.dim) + 4 * len(self.tap_sizes) + 4 * self.classes


@dataclass(frozen=True)
class Features:
    """One frame's features: all taps concatenated, x (D,), and the frozen logits z0 (C,)."""

    x: np.ndarray
    logits: np.ndarray


def pad_logits(logits: np.ndarray, classes: int) -> np.ndarray:
    """
    Give logits (..., classes) from a network's (..., C0): those it never knew get its mean.

    So a class that was added later never wins by itself and needs no shift to be learned.
    """
    lacking = classes - logits.shape[-1]
    if lacking <= 0:
        return logits
    mean = logits.mean(axis=-1, keepdims=True, dtype=np.float32)
    return np.concatenate([logits, np.repeat(mean, lacking, axis=-1)], axis=-1)


@dataclass(frozen=True)
class FeatureRecord:
    """
    One frame's features as cached.

    codes (ceil(D / 2),) uint8: NF4, two to a byte; scales (K,) float32: one per tap;
    logits (C,) float32: the frozen network's; square_norm: ||x||^2; time_s: when the frame came,
    in seconds of a clock that never jumps (None: its stamp is as good).
    """

    codes: np.ndarray
    scales: np.ndarray
    logits: np.ndarray
    square_norm: float
    time_s: float | None = None

    @staticmethod
    def of(features: Features, layout: FeatureLayout,
           time_s: float | None = None) -> FeatureRecord:
        """Quantize one frame; raises `FeatureError` for NaN, infinity or a wrong shape."""
        if features.logits.shape != (layout.classes,) or not np.isfinite(features.logits).all():
            raise FeatureError(f'logits must be {layout.classes} finite values, got shape '
                               f'{features.logits.shape}: {features.logits}')
        codes, scales = nf4.quantize(features.x, layout.tap_sizes)
        return FeatureRecord(codes, scales, features.logits,
                             float(np.dot(features.x, features.x)), time_s)
