"""Adapted logits of many cached samples at once, read from their codes."""

from __future__ import annotations

import numpy as np

from instantft_ros.core import native, nf4
from instantft_ros.core.adapter import Adapter


def adapted_logits(adapter: Adapter, codes: np.ndarray, scales: np.ndarray, logits: np.ndarray,
                   slots: np.ndarray) -> np.ndarray:
    """
    Give s z0 + sum_k B_k A_k x_k, (N, C) float32, of the cached samples in `slots` (N,) int64.

    codes, scales and logits are the whole cache's, as in `CacheUpdate`. Natively, where that was
    compiled; else by NumPy.
    """
    library, layout = native.load(), adapter.layout
    slots = np.ascontiguousarray(slots)
    if library is None or len(slots) == 0:
        x = nf4.dequantize(codes[slots], scales[slots], layout.tap_sizes)
        with np.errstate(over='ignore', invalid='ignore'):
            return adapter(x, logits[slots])
    z = np.empty((len(slots), layout.classes), np.float32)
    sizes = np.array(layout.tap_sizes, np.int32)
    status = library.apply(native.job_of(adapter.a, adapter.b, sizes, codes, scales, logits,
                                         nf4.CODEBOOK, slots, logit_scale=adapter.logit_scale,
                                         batch_size=16, threads=1),
                           library.variants[0], z)
    if status != native.OK:
        raise MemoryError('there is not enough memory to score the cached samples')
    return z
