from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from instantft_ros.adaptation.label_requests import (
    LabelRequestPolicy,
    LabelRequests,
    MEASURES,
    uncertainty,
)

ONE_HOT, EVEN = np.eye(4, dtype=np.float32)[2], np.full(4, 0.25, np.float32)


def never(frame: object) -> bool:
    return False


@pytest.mark.parametrize('measure', ['margin', 'entropy'])
def test_sure_is_zero_and_even_is_one(measure):
    assert uncertainty(measure, ONE_HOT, EVEN) == 0.0
    assert uncertainty(measure, EVEN, ONE_HOT) == pytest.approx(1.0)


def test_disagreement_is_between_the_heads():
    assert uncertainty('disagreement', ONE_HOT, ONE_HOT) == 0.0
    assert uncertainty('disagreement', ONE_HOT, np.eye(4, dtype=np.float32)[0]) == 1.0
    assert uncertainty('disagreement', ONE_HOT, EVEN) == pytest.approx(0.75)


def test_margin_looks_at_the_two_best_only():
    assert uncertainty('margin', np.array([0.1, 0.6, 0.3]), EVEN[:3]) == pytest.approx(0.7)


@given(st.lists(st.floats(-20, 20), min_size=1, max_size=9), st.sampled_from(MEASURES))
def test_in_its_bounds(logits, measure):
    scores = np.exp(np.array(logits) - max(logits))
    scores /= scores.sum()
    assert 0.0 <= uncertainty(measure, scores, np.roll(scores, 1)) <= 1.0 + 1e-6


def test_the_least_certain_frame_of_each_interval_is_asked_for():
    policy, requests = LabelRequestPolicy(threshold=0.5, per_minute=6.0), LabelRequests()
    requests.offer(policy, 0.6, 'first')
    assert requests.due(policy, never, 0.0) == 'first'
    asked = []
    for step in range(60):  # one frame each half second
        requests.offer(policy, 0.5 + 0.4 * (step * 7 % 20) / 20, step)
        asked.append(requests.due(policy, never, 0.5 * (step + 1)))
    told = [frame for frame in asked if frame is not None]
    assert [asked.index(frame) for frame in told] == [19, 39, 59], 'ten seconds apart'
    for begin, frame in zip((0, 20, 40), told):
        assert frame == max(range(begin, begin + 20), key=lambda step: step * 7 % 20)


def test_sure_frames_and_a_rate_of_zero_ask_nothing():
    policy, requests = LabelRequestPolicy(threshold=0.5), LabelRequests()
    requests.offer(policy, 0.49, 'sure')
    assert requests.due(policy, never, 1e9) is None
    requests.offer(policy, 0.9, 'unsure')
    assert requests.due(LabelRequestPolicy(per_minute=0.0), never, 1e9) is None


def test_a_frame_that_was_labelled_meanwhile_is_not_asked_for_and_costs_no_turn():
    policy, requests = LabelRequestPolicy(), LabelRequests()
    requests.offer(policy, 0.9, 'corrected')
    assert requests.due(policy, lambda frame: frame == 'corrected', 0.0) is None
    requests.offer(policy, 0.6, 'next')
    assert requests.due(policy, never, 0.1) == 'next'
