from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import numpy as np
import pytest

from instantft_ros.core import nf4
from instantft_ros.core.errors import FeatureError

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
tap_sizes = st.lists(st.integers(1, 40), min_size=1, max_size=5)


@st.composite
def features(draw: st.DrawFn) -> tuple[np.ndarray, list[int]]:
    sizes = draw(tap_sizes)
    return draw(arrays(np.float32, (draw(st.integers(1, 3)), sum(sizes)), elements=finite)), sizes


def per_value(scales: np.ndarray, sizes: list[int]) -> np.ndarray:
    return np.repeat(scales, sizes, axis=-1).astype(np.float64)


def test_codebook_is_that_of_qlora():
    assert nf4.CODEBOOK.dtype == np.float32
    assert nf4.CODEBOOK[[0, 7, 15]].tolist() == [-1.0, 0.0, 1.0]
    assert nf4.CODEBOOK[nf4.ZERO_CODE] == 0.0
    assert (np.diff(nf4.CODEBOOK) > 0).all()
    # quantiles of the normal distribution: 7 negative steps, 8 positive ones, offset 0.9677083
    from statistics import NormalDist
    inverse = NormalDist().inv_cdf
    positive = [inverse(p) for p in np.linspace(0.9677083, 0.5, 9)[:-1]]
    negative = [-inverse(p) for p in np.linspace(0.9677083, 0.5, 8)[:-1]]
    levels = np.sort(np.array([*positive, 0.0, *negative])) / max(positive)
    np.testing.assert_allclose(nf4.CODEBOOK, levels, atol=2e-6)


@given(features())
def test_error_is_bounded_by_the_widest_gap(drawn):
    x, sizes = drawn
    codes, scales = nf4.quantize(x, sizes)
    error = np.abs(nf4.dequantize(codes, scales, sizes).astype(np.float64) - x)
    assert (error <= per_value(scales, sizes) * (nf4.MAX_RELATIVE_ERROR + 1e-6)).all()


@given(features())
def test_levels_survive_a_round_trip(drawn):
    x, sizes = drawn
    codes, scales = nf4.quantize(x, sizes)
    again_codes, again_scales = nf4.quantize(nf4.dequantize(codes, scales, sizes), sizes)
    normal = per_value(scales, sizes) > 1e-30  # below, products lose bits as subnormals
    np.testing.assert_array_equal(again_scales, scales)
    dim = sum(sizes)
    np.testing.assert_array_equal(nf4.unpack(codes, dim)[normal],
                                  nf4.unpack(again_codes, dim)[normal])


@given(features())
def test_largest_magnitude_and_zero_are_exact(drawn):
    x, sizes = drawn
    back = nf4.dequantize(*nf4.quantize(x, sizes), sizes)
    starts = np.cumsum(sizes) - sizes
    np.testing.assert_array_equal(np.maximum.reduceat(np.abs(back), starts, axis=1),
                                  np.maximum.reduceat(np.abs(x), starts, axis=1))
    assert (back[x == 0] == 0).all()


@given(features())
def test_nearest_level_is_taken(drawn):
    x, sizes = drawn
    codes, scales = nf4.quantize(x, sizes)
    wide = per_value(scales, sizes)
    wide[wide == 0] = 1
    distance = np.abs((x / wide)[..., None] - nf4.CODEBOOK.astype(np.float64))
    chosen = np.take_along_axis(distance, nf4.unpack(codes, sum(sizes))[..., None].astype(int),
                                axis=-1)[..., 0]
    assert (chosen <= distance.min(axis=-1) + 1e-6).all()


@given(arrays(np.uint8, st.tuples(st.integers(1, 3), st.integers(1, 33)),
              elements=st.integers(0, 15)))
def test_unpack_undoes_pack(codes):
    packed = nf4.pack(codes)
    assert packed.shape[-1] == nf4.packed_size(codes.shape[-1])
    np.testing.assert_array_equal(nf4.unpack(packed, codes.shape[-1]), codes)


@pytest.mark.parametrize('bad', [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused_and_the_tap_named(bad):
    x = np.zeros(10, np.float32)
    x[7] = bad
    with pytest.raises(FeatureError, match=r'tap \[1\]'):
        nf4.quantize(x, [5, 5])


@pytest.mark.parametrize('shape', [(), (9,), (2, 11)])
def test_wrong_size_is_refused(shape):
    with pytest.raises(FeatureError, match='10 values'):
        nf4.quantize(np.zeros(shape, np.float32), [5, 5])


@pytest.mark.parametrize('value', [3.4e38, -3.4e38, 1e-38, 1e-45, 0.0])
def test_extreme_values(value):
    x = np.full(4, value, np.float32)
    np.testing.assert_array_equal(nf4.dequantize(*nf4.quantize(x, [4]), [4]), x)


def test_cache_is_at_least_seven_and_a_half_times_smaller_than_float():
    from instantft_ros.core.features import FeatureLayout
    layout = FeatureLayout((784, 864, 256, 120, 84), 10)
    assert 4 * (layout.dim + layout.classes) / layout.record_bytes >= 7.5
