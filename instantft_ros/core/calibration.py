"""How far the frozen network's logits are to be trusted after a drift: temperature scaling."""

from __future__ import annotations

import numpy as np

from instantft_ros.core.adapter import MAX_LOGIT_SCALE

#: Scales are multiples of this: a cache that grows by a sample mostly keeps its scale, and an
#: accelerator that holds scaled logits need not write them again.
STEP = 1 / 16

_ITERATIONS = 20

#: Of more samples than this only every so many are looked at: one number needs no more.
_SAMPLES = 2048


def fit_logit_scale(logits: np.ndarray, labels: np.ndarray) -> float:
    """
    Give the scale s in [0, `MAX_LOGIT_SCALE`] with the least cross-entropy of softmax(s z0).

    logits z0 (N, C), labels (N,). After a drift the frozen network is sure of what is wrong, and
    an adapter would first have to undo that. This is the inverse temperature of Guo et al. 2017
    (arXiv 1706.04599); the loss is convex in s, so Newton's method finds it. Rounded to `STEP`.
    """
    stride = -(-len(labels) // _SAMPLES)
    logits, labels = logits[::stride], labels[::stride]
    z = np.ascontiguousarray((logits - logits[np.arange(len(labels)), labels][:, None]).T)
    z_max = z.max(axis=0)  # of s z too, as s is not negative
    scale = 1.0
    for _ in range(_ITERATIONS):
        p = np.exp(scale * (z - z_max))
        p /= p.sum(axis=0)
        pz = p * z
        mean = pz.sum(axis=0)
        slope, curvature = mean.mean(), (pz * z).sum(axis=0).mean() - np.square(mean).mean()
        before = scale
        scale = min(max(scale - float(slope / max(curvature, 1e-9)), 0.0), MAX_LOGIT_SCALE)
        if abs(scale - before) < STEP / 16:
            break
    return round(scale / STEP) * STEP
