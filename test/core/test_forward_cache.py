from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from instantft_ros.core.errors import CacheError
from instantft_ros.core.features import FeatureLayout, FeatureRecord, Features
from instantft_ros.core.forward_cache import ForwardCache, Outcome
from instantft_ros.core.frame_ring import FrameId

LAYOUT = FeatureLayout((3, 4), 4)


def record(seed: int) -> FeatureRecord:
    rng = np.random.default_rng(seed)
    return FeatureRecord.of(Features(rng.normal(size=7).astype(np.float32),
                                     rng.normal(size=4).astype(np.float32)), LAYOUT)


def frame(number: int) -> FrameId:
    return FrameId('left', 1_000_000_000 * number)


def content(cache: ForwardCache) -> set[tuple[bytes, int]]:
    """What is trained on, whatever the slots."""
    x, _, labels = cache.samples(cache.training_order())
    return {(row.tobytes(), int(label)) for row, label in zip(x, labels)}


def sequence(cache: ForwardCache) -> list[tuple[bytes, int]]:
    x, _, labels = cache.samples(cache.training_order())
    return [(row.tobytes(), int(label)) for row, label in zip(x, labels)]


def test_added_samples_come_back():
    cache = ForwardCache(LAYOUT, 10)
    assert cache.add(frame(1), record(1), 2, issued_ns=5) is Outcome.ADDED
    x, logits, labels = cache.samples(cache.training_order())
    assert labels.tolist() == [2]
    np.testing.assert_array_equal(logits[0], record(1).logits)
    assert cache.mean_square_norm(cache.training_order()) == pytest.approx(float(x[0] @ x[0]))
    assert cache.counts().tolist() == [0, 0, 1, 0]


def test_correction_issued_last_stands_in_any_order():
    for first, second in ((1, 2), (2, 1)):
        cache = ForwardCache(LAYOUT, 10)
        cache.add(frame(1), record(1), first, issued_ns=first)
        outcome = cache.add(frame(1), record(1), second, issued_ns=second)
        assert outcome is (Outcome.RELABELLED if second == 2 else Outcome.SUPERSEDED)
        assert cache.label_of(frame(1)) == 2


def test_same_correction_twice_changes_nothing():
    cache = ForwardCache(LAYOUT, 10)
    cache.add(frame(1), record(1), 1, issued_ns=1)
    version = cache.version
    assert cache.add(frame(1), record(1), 1, issued_ns=1) is Outcome.DUPLICATE
    assert cache.version == version


def test_retraction_stands_against_an_older_correction_that_comes_late():
    cache = ForwardCache(LAYOUT, 10)
    assert cache.retract(frame(1), issued_ns=9) is Outcome.NOT_LABELLED
    assert cache.add(frame(1), record(1), 1, issued_ns=8) is Outcome.SUPERSEDED
    assert cache.add(frame(1), record(1), 1, issued_ns=10) is Outcome.ADDED
    assert cache.retract(frame(1), issued_ns=11) is Outcome.RETRACTED
    assert len(cache) == 0
    assert cache.label_of(frame(1)) is None


def test_a_labelled_frame_can_be_relabelled_without_its_features():
    cache = ForwardCache(LAYOUT, 10)
    cache.add(frame(1), record(1), 1, issued_ns=1)
    assert cache.add(frame(1), None, 3, issued_ns=2) is Outcome.RELABELLED
    assert cache.samples(cache.training_order())[2].tolist() == [3]
    with pytest.raises(CacheError, match='features'):
        cache.add(frame(2), None, 3, issued_ns=2)


def test_full_cache_stays_balanced():
    cache = ForwardCache(LAYOUT, 12)
    for number in range(200):
        cache.add(frame(number), record(number), 0, issued_ns=number)
    assert cache.counts().tolist() == [12, 0, 0, 0]
    for number in range(200, 210):
        cache.add(frame(number), record(number), 1 + number % 3, issued_ns=number)
    assert cache.counts().tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize(('recency_s', 'low', 'high'), [(1.0, 180, 200), (1e9, 70, 130)])
def test_recency_prefers_new_frames_and_without_it_all_are_alike(recency_s, low, high):
    kept = []
    for start in range(0, 20_000, 1000):
        cache = ForwardCache(LAYOUT, 10, recency_s=recency_s)
        for number in range(start, start + 200):
            cache.add(frame(number), record(number), 0, issued_ns=number)
        kept += [number - start for number in range(start, start + 200)
                 if cache.label_of(frame(number)) is not None]
    assert low < np.mean(kept) < high


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), max_size=60),
       st.randoms(use_true_random=False), st.integers(1, 12))
def test_order_of_arrival_does_not_matter(corrections, random, capacity):
    """Over capacity this holds for additions; each frame gets one label here."""
    labels = dict(corrections)
    arrivals = list(labels.items())
    caches = []
    for _ in range(2):
        cache = ForwardCache(LAYOUT, capacity, holdout_share=0.2)
        for number, label in arrivals:
            cache.add(frame(number), record(number), label, issued_ns=number)
        caches.append(cache)
        random.shuffle(arrivals)
    assert sequence(caches[0]) == sequence(caches[1])


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from([0, 1, 2, 3, None]),
                          st.integers(0, 5)), max_size=40),
       st.randoms(use_true_random=False))
def test_contradictions_and_retractions_in_any_order_give_the_same_cache(operations, random):
    caches = []
    for _ in range(2):
        cache = ForwardCache(LAYOUT, 20)
        for number, label, issued_ns in operations:
            if label is None:
                cache.retract(frame(number), issued_ns)
            else:
                cache.add(frame(number), record(number), label, issued_ns)
        caches.append(cache)
        random.shuffle(operations)
    assert sequence(caches[0]) == sequence(caches[1])


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3)), max_size=80))
def test_updates_carry_all_that_an_accelerator_lacks(corrections):
    """Applying every update in turn gives the accelerator what the cache holds."""
    cache = ForwardCache(LAYOUT, 8)
    held: dict[int, tuple[bytes, int]] = {}
    version = 0
    for step, (number, label) in enumerate(corrections):
        cache.add(frame(number), record(number), label, issued_ns=step)
        if step % 3 == 0:
            update = cache.update_since(version)
            version = update.version
            held |= {int(slot): (codes.tobytes(), int(label)) for slot, codes, label
                     in zip(update.slots, update.codes, update.labels)}
            whole = cache.update_since(0)
            expected = {int(slot): (codes.tobytes(), int(label)) for slot, codes, label
                        in zip(whole.slots, whole.codes, whole.labels)}
            assert {slot: held[slot] for slot in cache.training_order().tolist()} == expected


def test_holdout_is_never_trained_on_and_goes_by_group():
    cache = ForwardCache(LAYOUT, 400, holdout_share=0.25)
    for number in range(400):
        cache.add(frame(number), record(number), 0, issued_ns=1, group=f'group {number // 4}')
    training, holdout = set(cache.training_order()), set(cache.holdout_order())
    assert not training & holdout
    assert len(training | holdout) == 400
    assert len(holdout) % 4 == 0
    assert 0.15 < len(holdout) / 400 < 0.35


def test_clear_starts_a_new_session():
    cache = ForwardCache(LAYOUT, 4)
    cache.add(frame(1), record(1), 1, issued_ns=1)
    session = cache.session
    cache.clear()
    assert len(cache) == 0 and cache.version == 0
    assert cache.session != session


def test_retractions_do_not_pile_up():
    cache = ForwardCache(LAYOUT, 4)
    for number in range(1000):
        cache.retract(frame(number), issued_ns=number)
    assert len(cache._entries) <= 5


def test_unknown_label_is_refused():
    with pytest.raises(CacheError, match='label'):
        ForwardCache(LAYOUT, 4).add(frame(1), record(1), 4, issued_ns=1)
