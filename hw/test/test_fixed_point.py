"""The golden model's own conversions, and how near its training is to floats."""

from __future__ import annotations

import numpy as np
import pytest

from instantft_ros.accelerator import memory_layout
from instantft_ros.accelerator import registers as hw
from instantft_ros.accelerator.job import FineTuneJob, Schedule
from instantft_ros.accelerator.numpy_reference import NumpyReference
from instantft_ros.core import fixed_point, nf4
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.features import FeatureLayout
from instantft_ros.core.forward_cache import CacheUpdate


def decoded(half_words: np.ndarray) -> np.ndarray:
    """Give the scales that half words stand for."""
    mantissas = half_words.astype(np.int64) & 0xFFF
    return np.ldexp(mantissas / fixed_point.LEVEL_CORRECTION,
                    (half_words >> 12).astype(np.int64) - hw.SCALE_BIAS)


def test_scales_keep_twelve_bits() -> None:
    scales = np.concatenate([np.geomspace(2 ** -8, fixed_point.MAX_SCALE, 5000),
                             2.0 ** np.arange(-8, 8)])
    assert np.abs(decoded(fixed_point.encode_scales(scales)) / scales - 1).max() <= 2 ** -12


def test_small_scales_and_zero() -> None:
    small = np.linspace(0, 2 ** -8, 1000)
    assert np.abs(decoded(fixed_point.encode_scales(small)) - small).max() <= 2.0 ** -20
    assert fixed_point.encode_scales(np.array([0.0])) == 0


def test_scales_beyond_the_format_become_the_largest() -> None:
    assert fixed_point.encode_scales(np.array([1e9])) == 0xFFFF


def test_logits_keep_their_differences() -> None:
    logits = np.random.default_rng(0).normal(100, 5, (50, 10))
    got = fixed_point.encode_logits(logits) / 2 ** hw.LOGIT_FRACTION
    np.testing.assert_allclose(got - got[:, :1], logits - logits[:, :1],
                               atol=2.0 ** -hw.LOGIT_FRACTION)
    assert (got.max(axis=1) == 0).all()


def test_rates_fall_to_zero() -> None:
    start, step = fixed_point.encode_rates(0.02, 10_240, True)
    assert start / 2 ** 32 == pytest.approx(0.02) and 0 <= start - 10_240 * step < 10_240
    assert fixed_point.encode_rates(0.02, 10_240, False) == (start, 0)


def test_weights_survive_packing() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(-32768, 32768, (hw.RANK, 3 * hw.LANES))
    b = rng.integers(-32768, 32768, (21, 2, hw.RANK))
    data = memory_layout.pack_weights(a, b)
    assert data.nbytes == memory_layout.weight_bytes(3, 2)
    back_a, back_b = memory_layout.unpack_weights(data, 3, 2, 21)
    np.testing.assert_array_equal(back_a, a)
    np.testing.assert_array_equal(back_b, b)


def test_training_is_near_the_float_reference() -> None:
    rng = np.random.default_rng(0)
    layout = FeatureLayout((70, 33), 4)
    count, dim = 60, layout.dim
    labels = rng.integers(0, 4, count)
    x = np.maximum(rng.normal(size=(count, dim)) + rng.normal(size=(4, dim))[labels], 0)
    codes, scales = nf4.quantize(x.astype(np.float32), layout.tap_sizes)
    logits = rng.normal(0, 1, (count, 4)).astype(np.float32)
    start = Adapter.initial(layout, '0' * 64)
    schedule = Schedule(5, learning_rate=0.01)
    update = CacheUpdate('t', 0, 1, count, np.arange(count), codes, scales, logits, labels)
    reference = NumpyReference().fine_tune(FineTuneJob(update, start, np.arange(count), schedule))

    words, columns = fixed_point.words_of(layout.tap_sizes), fixed_point.padded_columns(
        layout.tap_sizes)
    padded = np.full((count, sum(words) * hw.LANES), nf4.ZERO_CODE, np.uint8)
    padded[:, columns] = nf4.unpack(codes, dim)
    rate, step = fixed_point.encode_rates(0.01, 5 * count, True)
    a = np.zeros((hw.RANK, sum(words) * hw.LANES), np.int64)
    a[:, columns] = fixed_point.to_fixed(start.a, hw.A_BITS, hw.A_FRACTION)
    trained_a, trained_b, losses = fixed_point.fine_tune(
        fixed_point.FixedJob(words, padded, fixed_point.encode_scales(scales),
                             fixed_point.encode_logits(logits), labels, np.arange(count), 5, rate,
                             step), a, fixed_point.to_fixed(start.b, hw.B_BITS, hw.B_FRACTION))
    assert losses[-1] < 0.7 * losses[0]
    np.testing.assert_allclose(losses / 2 ** hw.LOSS_FRACTION / count, reference.losses,
                               rtol=0.05, atol=0.02)
    moved = np.linalg.norm(reference.adapter.a - start.a)
    difference = np.linalg.norm(trained_a[:, columns] / 2 ** hw.A_FRACTION - reference.adapter.a)
    assert difference < 0.1 * moved
    np.testing.assert_allclose(trained_b / 2 ** hw.B_FRACTION, reference.adapter.b, atol=0.05)


def test_a_delay_of_one_sample_is_what_the_model_does() -> None:
    """Two samples, one tap: the second forward pass must not see the first update of A."""
    words = (1,)
    codes = np.full((2, hw.LANES), 15, np.uint8)
    scales = fixed_point.encode_scales(np.ones((2, 1)))
    a = np.full((hw.RANK, hw.LANES), 100, np.int64)
    b = np.full((2, 1, hw.RANK), 4000, np.int64)
    b[1] = -4000
    job = fixed_point.FixedJob(words, codes, scales, np.zeros((2, 2), np.int16),
                               np.array([1, 1]), np.array([0, 1]), 1, 1 << 30, 0)
    _, _, both = fixed_point.fine_tune(job, a, b)
    # with B frozen at its start, equal features give equal losses although A has changed
    single = fixed_point.FixedJob(words, codes, scales, job.logits, job.labels, np.array([0]), 1,
                                  1 << 30, 0)
    a_after, b_after, first = fixed_point.fine_tune(single, a, b)
    _, _, with_new_b = fixed_point.fine_tune(single, a, b_after)
    assert (a_after != a).any() and both[0] == first[0] + with_new_b[0]
