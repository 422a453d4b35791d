"""Native scoring of cached samples equals the adapter applied to what was dequantized."""

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from instantft_ros.core import native, nf4
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.features import FeatureLayout
from instantft_ros.core.scoring import adapted_logits


@given(st.lists(st.integers(1, 70), min_size=1, max_size=4), st.integers(2, 20),
       st.integers(1, 9), st.integers(0, 30), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_equals_the_adapter_on_floats(tap_sizes, classes, rank, count, seed):
    rng = np.random.default_rng(seed)
    layout = FeatureLayout(tuple(tap_sizes), classes)
    x = rng.normal(size=(40, layout.dim)).astype(np.float32)
    logits = rng.normal(size=(40, classes)).astype(np.float32)
    codes, scales = nf4.quantize(x, tap_sizes)
    start = Adapter.initial(layout, 'ab' * 32, rank, seed)
    adapter = Adapter(layout, start.a, rng.normal(size=start.b.shape).astype(np.float32),
                      start.backbone)
    slots = rng.integers(0, 40, count)
    wanted = adapter(nf4.dequantize(codes[slots], scales[slots], tap_sizes), logits[slots])
    got = adapted_logits(adapter, codes, scales, logits, slots)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_the_same_without_the_library(monkeypatch):
    monkeypatch.setattr(native, 'load', lambda: None)
    test_equals_the_adapter_on_floats()


def test_arrays_in_another_order_are_refused():
    arrays = [np.zeros((4, 3), np.float32) for _ in range(8)]
    arrays[0] = np.asfortranarray(arrays[0])
    with pytest.raises(ValueError, match='C order'):
        native.job_of(*arrays)
