"""
The accelerator's arithmetic, bit by bit: the golden model that its RTL is tested against.

Integers throughout; a number is integer * 2^-fraction with the formats of hw/registers.yaml.
Every result that is narrowed is rounded to nearest (halves up) and then saturated. It is no
backend: it shows what the hardware computes, and what that costs in accuracy.

The order of operations is pipelined SGD: when sample t goes through A, the update of A by sample
t - 1 is still under way and only those up to t - 2 are in it. B has every update up to t - 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from instantft_ros.accelerator import registers as hw

FEATURES = np.array(hw.FEATURE_TABLE, np.int32)
EXP = np.array(hw.EXP_TABLE, np.int64)
RECIPROCAL = np.array(hw.RECIPROCAL_TABLE, np.int64)
LOG = np.array(hw.LOG_TABLE, np.int64)

#: A level of 1 is 127 of 128; scales are sent multiplied by the inverse.
LEVEL_CORRECTION = (1 << hw.FEATURE_FRACTION) / ((1 << hw.FEATURE_FRACTION) - 1)

#: The largest scale that the format holds.
MAX_SCALE = (((1 << hw.SCALE_MANTISSA) - 1)
             * 2.0 ** ((1 << hw.SCALE_EXPONENT) - 1 - hw.SCALE_BIAS) / LEVEL_CORRECTION)

_RATE_BITS = 32
_EXP_STEP_BITS = hw.Z_FRACTION + hw.EXP_STEP_LOG2
_MASK = (1 << hw.SCALE_MANTISSA) - 1


def round_shift(x: np.ndarray, shift: int | np.ndarray) -> np.ndarray:
    """Divide integers by 2^shift, shift >= 1, to the nearest integer, halves up."""
    return (x + (1 << (shift - 1))) >> shift


def saturate(x: np.ndarray, bits: int) -> np.ndarray:
    """Limit integers to a signed word of so many bits."""
    return np.asarray(np.clip(x, -(1 << (bits - 1)), (1 << (bits - 1)) - 1))


def words_of(tap_sizes: Sequence[int]) -> tuple[int, ...]:
    """Give the words that each tap takes, the last one filled up with zeros."""
    return tuple(-(-size // hw.LANES) for size in tap_sizes)


def padded_columns(tap_sizes: Sequence[int]) -> np.ndarray:
    """Give the place (D,) of each feature among the words * LANES padded ones."""
    starts = np.cumsum((0, *words_of(tap_sizes)))[:-1] * hw.LANES
    return np.concatenate([start + np.arange(size) for start, size in zip(starts, tap_sizes)])


def to_fixed(x: np.ndarray, bits: int, fraction: int) -> np.ndarray:
    """Round floats to integers of 2^-fraction and saturate them; int64."""
    scaled = np.rint(np.ldexp(np.asarray(x, np.float64), fraction))
    return np.asarray(saturate(scaled, bits), np.int64)


def encode_scales(scales: np.ndarray) -> np.ndarray:
    """
    Turn scales in [0, MAX_SCALE] into half words mantissa + (exponent << 12), uint16.

    The exponent is the smallest with which the mantissa fits, so it has 12 significant bits
    for scales above 2^-8.
    """
    units = np.ldexp(np.asarray(scales, np.float64) * LEVEL_CORRECTION, hw.SCALE_BIAS)
    exponents = np.maximum(np.frexp(units)[1] - hw.SCALE_MANTISSA, 0)
    mantissas = np.rint(np.ldexp(units, -exponents)).astype(np.int64)
    exponents = exponents + (mantissas >> hw.SCALE_MANTISSA)  # rounded up to the next power
    mantissas >>= mantissas >> hw.SCALE_MANTISSA
    exponents_top = (1 << hw.SCALE_EXPONENT) - 1
    mantissas = np.where(exponents > exponents_top, _MASK, mantissas)
    return np.asarray(mantissas | np.minimum(exponents, exponents_top) << hw.SCALE_MANTISSA,
                      np.uint16)


def encode_logits(logits: np.ndarray) -> np.ndarray:
    """
    Turn frozen logits (..., C) into int16.

    Softmax does not change when a sample's largest logit is subtracted, so that they always fit
    from above; what lies more than 64 below is limited to that.
    """
    logits = np.asarray(logits, np.float64)
    return to_fixed(logits - logits.max(axis=-1, keepdims=True), hw.LOGIT_BITS,
                    hw.LOGIT_FRACTION).astype(np.int16)


def encode_rates(learning_rate: float, steps: int, falling: bool) -> tuple[int, int]:
    """Give the first step's rate and what each step takes off, in units of 2^-32."""
    start = min(round(learning_rate * (1 << _RATE_BITS)), (1 << _RATE_BITS) - 1)
    return start, start // steps if falling else 0


@dataclass(frozen=True)
class FixedJob:
    """
    A fine-tuning in the accelerator's numbers.

    words (K,): words of each tap; codes (S, words * 64) uint8, one code each, filled up with the
    zero code; scales (S, K) uint16; logits (S, C) int16; labels (S,); order (N,).
    """

    words: tuple[int, ...]
    codes: np.ndarray
    scales: np.ndarray
    logits: np.ndarray
    labels: np.ndarray
    order: np.ndarray
    epochs: int
    rate_start: int
    rate_step: int


def fine_tune(job: FixedJob, a: np.ndarray, b: np.ndarray,
              ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """
    Train a (R, words * 64) and b (C, K, R), integers; returns both and losses (epochs,).

    A loss is the sum over an epoch's samples, in units of 2^-12 nats.
    """
    starts = np.cumsum((0, *job.words))[:-1] * hw.LANES
    widths = np.array(job.words) * hw.LANES
    a, b = a.astype(np.int32), b.astype(np.int64)
    features = FEATURES[job.codes].astype(np.int32)
    rank = len(a)
    waiting = [(np.zeros((rank, len(widths)), np.int32), features[0])] * 2
    rate = job.rate_start
    losses = []
    for _ in range(job.epochs):
        total = 0
        for slot in job.order:
            x = features[slot]
            a = _updated(a, *waiting.pop(0), widths)
            mantissas = job.scales[slot].astype(np.int64) & _MASK
            exponents = job.scales[slot].astype(np.int64) >> hw.SCALE_MANTISSA

            sums = np.add.reduceat(a * x, starts, axis=1, dtype=np.int64)
            sums = saturate(round_shift(sums, hw.A_FRACTION + hw.FEATURE_FRACTION
                                        - hw.SUM_FRACTION), hw.SUM_BITS)
            h = saturate(round_shift(sums * mantissas, hw.SUM_FRACTION + hw.SCALE_BIAS
                                     - hw.H_FRACTION - exponents), hw.H_BITS)  # (R, K)
            parts = np.einsum('ckr,rk->ck', b, h)
            z = (job.logits[slot].astype(np.int64) << (hw.Z_FRACTION - hw.LOGIT_FRACTION)) \
                + round_shift(parts, hw.B_FRACTION + hw.H_FRACTION - hw.Z_FRACTION).sum(axis=1)

            g, loss = _error(z, int(job.labels[slot]), rate >> (_RATE_BITS - hw.RATE_BITS))
            total += loss
            gh = np.einsum('ckr,c->rk', b, g)
            gh = saturate(round_shift(gh, hw.B_FRACTION + hw.G_FRACTION - hw.GH_FRACTION),
                          hw.GH_BITS)
            u = saturate(round_shift(gh * mantissas, hw.GH_FRACTION + hw.SCALE_BIAS
                                     - hw.U_FRACTION - exponents), hw.U_BITS)
            waiting.append((u.astype(np.int32), x))
            change = g[:, None, None] * h.T[None]
            b = saturate(b - round_shift(change, hw.G_FRACTION + hw.H_FRACTION - hw.B_FRACTION),
                         hw.B_BITS)
            rate = max(rate - job.rate_step, 0)
        losses.append(total)
    for u, x in waiting:
        a = _updated(a, u, x, widths)
    return a, b, np.array(losses, np.int64)


def _updated(a: np.ndarray, u: np.ndarray, x: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Apply one sample's update u (R, K) with its features x (words * 64,) to a."""
    change = round_shift(np.repeat(u, widths, axis=1) * x,
                         hw.U_FRACTION + hw.FEATURE_FRACTION - hw.A_FRACTION)
    return saturate(a - change, hw.A_BITS)


def _error(z: np.ndarray, label: int, rate: int) -> tuple[np.ndarray, int]:
    """Give rate * (softmax(z) - onehot(label)) (C,) and the loss, from logits z (C,)."""
    below = z.max() - z
    e = EXP[np.minimum(round_shift(below, _EXP_STEP_BITS), len(EXP) - 1)]
    total = int(e.sum())
    shift = total.bit_length() - 1 - hw.EXP_FRACTION
    index = (total >> shift) * len(RECIPROCAL) >> hw.EXP_FRACTION & (len(RECIPROCAL) - 1)
    scaled = int(round_shift(RECIPROCAL[index] * rate, hw.RECIPROCAL_FRACTION + shift))
    g = round_shift(e * scaled, hw.EXP_FRACTION + hw.RATE_FRACTION - hw.G_FRACTION)
    g[label] -= round_shift(np.asarray(rate), hw.RATE_FRACTION - hw.G_FRACTION)
    loss = int(below[label]) + shift * hw.LN2 + int(LOG[index])
    return g, min(loss, (1 << hw.LOSS_BITS) - 1)
