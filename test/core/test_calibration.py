"""The scale of the frozen logits is the one with the least loss."""

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from instantft_ros.core.adapter import cross_entropy, MAX_LOGIT_SCALE
from instantft_ros.core.calibration import fit_logit_scale, STEP


@given(seed=st.integers(0, 10_000), size=st.floats(0.01, 300.0), right=st.floats(0.0, 1.0),
       samples=st.integers(1, 60))
@settings(max_examples=60, deadline=None)
def test_no_other_scale_has_a_lower_loss(seed, size, right, samples):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, size, (samples, 4)).astype(np.float32)
    labels = np.where(rng.random(samples) < right, logits.argmax(axis=1),
                      rng.integers(0, 4, samples))
    found = fit_logit_scale(logits, labels)
    scales = np.arange(0, MAX_LOGIT_SCALE + STEP / 2, STEP)
    losses = [cross_entropy(scale * logits, labels).mean() for scale in scales]
    nearby = min(losses[max(round(found / STEP) - 1, 0):round(found / STEP) + 2])
    assert nearby == pytest.approx(min(losses), abs=1e-4 * (1 + size))


@pytest.mark.parametrize(('labels', 'wanted'), [([0, 1, 2], MAX_LOGIT_SCALE), ([1, 2, 0], 0.0)])
def test_sure_and_right_is_trusted_most_and_sure_and_wrong_not_at_all(labels, wanted):
    assert fit_logit_scale(np.eye(3, dtype=np.float32), np.array(labels)) == wanted


def test_logits_that_say_nothing_are_left_alone():
    assert fit_logit_scale(np.zeros((5, 3), np.float32), np.zeros(5, np.int64)) == 1.0
