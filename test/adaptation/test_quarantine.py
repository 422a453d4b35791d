import numpy as np
import pytest

from instantft_ros.adaptation.quarantine import CHANGED, OLD, Suspects
from instantft_ros.core.features import FeatureLayout, FeatureRecord, Features
from instantft_ros.core.forward_cache import ForwardCache
from instantft_ros.core.frame_ring import FrameId

LAYOUT = FeatureLayout((6, 5, 7), 3)


def filled(wrong: dict[int, int], frozen: str = 'wrong', samples: int = 300) -> ForwardCache:
    """Three clusters, one for each class; the frozen network is right or says the next class."""
    rng = np.random.default_rng(5)
    centres = rng.normal(size=(3, LAYOUT.dim))
    cache = ForwardCache(LAYOUT, 400, holdout_share=0.2)
    for number in range(samples):
        label = number % 3
        x = centres[label] + rng.normal(0, 0.2, LAYOUT.dim)
        logits = 5 * np.eye(3)[label if frozen == 'right' else (label + 1) % 3]
        cache.add(FrameId('left', number), FeatureRecord.of(
            Features(x.astype(np.float32), logits.astype(np.float32)), LAYOUT),
            wrong.get(number, label), 1)
    return cache


def suspected(cache: ForwardCache, passes: int = 3) -> set[int]:
    suspects = Suspects(cache.capacity)
    for _ in range(passes):
        suspects.look(cache)
        suspects.look_again(cache)
    slots = cache.slots()
    return {frame.stamp_ns for frame in cache.frames_in(slots[suspects.among(cache, slots)])}


def test_what_disagrees_with_everything_is_suspect():
    assert suspected(filled({7: 2, 100: 2, 200: 0}, 'right')) == {7, 100, 200}


def test_a_drift_in_which_the_operator_is_right_and_the_network_wrong_is_not():
    assert suspected(filled({})) == set()


def test_a_correction_that_the_frozen_network_agrees_with_is_not():
    """Its neighbours say otherwise, but it does not stand alone."""
    assert suspected(filled({9: 1})) == set()  # frame 9 is of class 0, the network says 1


def test_few_samples_say_nothing():
    assert suspected(filled({1: 0}, 'right', samples=5)) == set()


def test_many_samples_are_looked_at_in_parts_and_changed_ones_first():
    cache = filled({}, 'right')
    suspects = Suspects(cache.capacity)
    slots = cache.slots()
    for looks in range(1, 4):
        suspects.look(cache)
        assert (suspects._looked_at[slots] >= 0).sum() == min(looks * CHANGED, 300)
    assert not suspects.among(cache, slots).any()
    slot = slots[-1]  # the last in turn
    (frame,) = cache.frames_in(np.array([slot]))
    cache.add(frame, None, (frame.stamp_ns + 1) % 3, issued_ns=2)
    assert not suspects.among(cache, np.array([slot])).any(), 'nobody has looked at it yet'
    suspects.look(cache)
    assert suspects.among(cache, np.array([slot])).all()


@pytest.mark.parametrize('count', [1, 2])
def test_the_last_taps_are_those_of_the_samples(count):
    cache = filled({})
    slots = cache.training_order()[:20]
    start = LAYOUT.dim - sum(LAYOUT.tap_sizes[-count:])
    x, _, _ = cache.samples(slots)
    np.testing.assert_array_equal(cache.last_taps(slots, count), x[:, start:])


def test_those_looked_at_longest_ago_get_their_turn():
    """Neighbours that came later say of a sample what those before them could not."""
    cache = filled({0: 1, 1: 1, 2: 2}, 'right', samples=6)
    suspects = Suspects(cache.capacity)
    suspects.look(cache)
    odd = cache.slots_of([FrameId('left', 0)])
    assert not suspects.among(cache, odd).any()
    later = filled({0: 1}, 'right')
    for number in range(6, 300):
        slot = later.slots_of([FrameId('left', number)])
        x, logits, labels = later.samples(slot)
        cache.add(FrameId('left', number), FeatureRecord.of(Features(x[0], logits[0]), LAYOUT),
                  int(labels[0]), 1)
    for _ in range(3):
        suspects.look(cache)
    assert not suspects.among(cache, odd).any(), 'nobody has looked again yet'
    for _ in range(1 + 300 // OLD):
        suspects.look_again(cache)
    assert suspects.among(cache, odd).all()
