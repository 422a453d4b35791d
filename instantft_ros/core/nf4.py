"""
4-bit NormalFloat (NF4) quantization of features.

The 16 levels are those of QLoRA (Dettmers et al., arXiv 2305.14314, appendix E): quantiles of
the standard normal distribution, scaled to [-1, 1], with an exact zero. Each tap of a sample has
one scale, its largest magnitude (absmax). Against one scale per 64 values this costs no accuracy
that can be told from noise (doc/method.md), and it lets the scale be applied once per tap to the
product A_k x_k instead of once per value.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from instantft_ros.core import native
from instantft_ros.core.errors import FeatureError

#: The only copy of the table; native code and hardware are generated from it.
CODEBOOK = np.array([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
    -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
    0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0], np.float32)
CODEBOOK.setflags(write=False)

#: The code of the value 0.
ZERO_CODE = 7

#: |x - dequantized x| is at most this, as a share of the tap's scale.
MAX_RELATIVE_ERROR = float(np.diff(CODEBOOK).max() / 2)

_MIDPOINTS = ((CODEBOOK[1:].astype(np.float64) + CODEBOOK[:-1]) / 2).astype(np.float32)


def packed_size(dim: int) -> int:
    """Give the bytes that `dim` codes take, two to a byte."""
    return (dim + 1) // 2


def quantize(x: np.ndarray, tap_sizes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """
    Quantize concatenated taps to the nearest level of each tap's scale.

    x: (..., D) float32, D = sum(tap_sizes). Returns packed codes (..., ceil(D / 2)) uint8, the
    even element in the low half of its byte, and scales (..., K) float32. Raises `FeatureError`
    for a wrong D and for NaN or infinity.
    """
    x = np.asarray(x, np.float32)
    sizes = np.asarray(tap_sizes, np.intp)
    if x.ndim == 0 or x.shape[-1] != sizes.sum():
        raise FeatureError(f'features must have {sizes.sum()} values in the last axis, '
                           f'got shape {x.shape}')
    if x.ndim == 1 and (library := native.load()) is not None:
        return _quantize_one(library, np.ascontiguousarray(x), sizes)
    starts = np.cumsum(sizes) - sizes
    scales = np.maximum.reduceat(np.abs(x), starts, axis=-1)
    if not np.isfinite(scales).all():
        taps = np.unique(np.nonzero(~np.isfinite(scales))[-1]).tolist()
        raise FeatureError(f'features hold NaN or infinity in tap {taps}')
    divisors = np.repeat(np.where(scales > 0, scales, 1), sizes, axis=-1)
    codes = np.searchsorted(_MIDPOINTS, x / divisors).astype(np.uint8)
    return pack(codes), scales


def _quantize_one(library: native.Library, x: np.ndarray,
                  sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    codes, scales = np.empty(packed_size(len(x)), np.uint8), np.empty(len(sizes), np.float32)
    bad = library.quantize(x, sizes.astype(np.int32), _MIDPOINTS, codes, scales)
    if bad >= 0:
        raise FeatureError(f'features hold NaN or infinity in tap [{bad}]')
    return codes, scales


def dequantize(codes: np.ndarray, scales: np.ndarray, tap_sizes: Sequence[int]) -> np.ndarray:
    """
    Give back (..., D) float32 from packed codes (..., ceil(D / 2)) and scales (..., K).

    The inverse of `quantize` up to `MAX_RELATIVE_ERROR` of the scale.
    """
    dim = int(sum(tap_sizes))
    x: np.ndarray = CODEBOOK[unpack(codes, dim)] * np.repeat(scales, tap_sizes, axis=-1)
    return x


def pack(codes: np.ndarray) -> np.ndarray:
    """Pack codes (..., D) in [0, 15] two to a byte; an odd end is filled with the zero code."""
    if codes.shape[-1] % 2:
        filler = np.full((*codes.shape[:-1], 1), ZERO_CODE, np.uint8)
        codes = np.concatenate([codes, filler], axis=-1)
    packed: np.ndarray = codes[..., 0::2] | codes[..., 1::2] << 4
    return packed


def unpack(packed: np.ndarray, dim: int) -> np.ndarray:
    """Unpack bytes (..., ceil(dim / 2)) to codes (..., dim) uint8."""
    codes = np.empty((*packed.shape[:-1], 2 * packed.shape[-1]), np.uint8)
    codes[..., 0::2] = packed & 0x0F
    codes[..., 1::2] = packed >> 4
    return codes[..., :dim]
