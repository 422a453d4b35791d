"""How two versions differ."""

from __future__ import annotations

from dataclasses import asdict, dataclass
import math

import numpy as np

from instantft_ros.core.adapter import Adapter
from instantft_ros.core.errors import VersionError
from instantft_ros.governance.version_manifest import VersionManifest
from instantft_ros.governance.version_store import VersionStore


@dataclass(frozen=True)
class VersionDiff:
    """
    Two versions side by side.

    weights: the Frobenius norm of the difference of their maps W_k = B_k A_k from all taps to the
    logits; weights_before: that of the first one's maps. figures, corrections: per name the
    values of both.
    """

    weights: float
    weights_before: float
    figures: dict[str, tuple[float, float]]
    corrections: dict[str, tuple[int, int]]


def diff(store: VersionStore, before: int, after: int) -> VersionDiff:
    """Compare two versions; raises `VersionError`, also for versions of different layouts."""
    (one, adapter), (two, other) = store.load(before), store.load(after)
    if adapter.layout != other.layout:
        raise VersionError(f'version {before} is for {adapter.layout}, version {after} for '
                           f'{other.layout}: they cannot be compared')
    figures = [asdict(each.figures) | {'train_ms': each.train_ms, 'logit_scale': of.logit_scale}
               for each, of in ((one, adapter), (two, other))]
    return VersionDiff(
        0.0 if one.digest == two.digest else map_distance(adapter, other),
        map_distance(adapter, None), {name: (figures[0][name], figures[1][name])
                                      for name in figures[0]}, _corrections(one, two))


def map_distance(adapter: Adapter, other: Adapter | None) -> float:
    """
    Give || B A - B' A' ||_F over all taps, whatever the ranks; None stands for zero.

    With A and B stacked to [A; A'] and [B, -B'], ||B A||^2 = sum of (B^T B) * (A A^T), so the
    C x D map itself is never formed.
    """
    square = 0.0
    for k, tap in enumerate(adapter.layout.slices):
        a, b = adapter.a[:, tap].astype(float), adapter.b[:, k].astype(float)
        if other is not None:
            a = np.concatenate([a, other.a[:, tap]])
            b = np.concatenate([b, -other.b[:, k].astype(float)], axis=1)
        square += float(((b.T @ b) * (a @ a.T)).sum())
    return math.sqrt(max(square, 0.0))


def _corrections(one: VersionManifest, two: VersionManifest) -> dict[str, tuple[int, int]]:
    names = dict.fromkeys([*one.class_names, *two.class_names, *one.corrections,
                           *two.corrections])
    return {name: (one.corrections.get(name, 0), two.corrections.get(name, 0)) for name in names}
