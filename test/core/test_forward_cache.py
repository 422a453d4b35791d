from dataclasses import replace

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


def sequence(cache: ForwardCache) -> list[list[tuple[bytes, int]]]:
    """What is trained on, and what is held out, in order."""
    parts = []
    for order in (cache.training_order(), cache.holdout_order()):
        x, _, labels = cache.samples(order)
        parts.append([(row.tobytes(), int(label)) for row, label in zip(x, labels)])
    return parts


def test_added_samples_come_back():
    cache = ForwardCache(LAYOUT, 10)
    assert cache.add(frame(1), record(1), 2, issued_ns=5) is Outcome.ADDED
    _x, logits, labels = cache.samples(cache.training_order())
    assert labels.tolist() == [2]
    np.testing.assert_array_equal(logits[0], record(1).logits)
    assert cache.mean_square_norm(cache.training_order()) == record(1).square_norm
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


def say(cache: ForwardCache, number: int, label: int | None, issued_ns: int,
        group: int = 0) -> None:
    if label is None:
        cache.retract(frame(number), issued_ns)
    else:
        cache.add(frame(number), record(number), label, issued_ns, group=f'group {group}')


SAID = st.lists(st.tuples(st.integers(0, 15), st.sampled_from([0, 0, 0, 1, 2, 3, None]),
                          st.integers(0, 5), st.integers(0, 9)), max_size=60)


@given(SAID, st.randoms(use_true_random=False), st.integers(1, 12))
def test_the_same_corrections_in_any_order_give_the_same_cache(operations, random, capacity):
    """Over capacity, with contradictions and retractions, holdout included."""
    caches = []
    for _ in range(3):
        cache = ForwardCache(LAYOUT, capacity, holdout_share=0.3)
        for said in operations:
            say(cache, *said)
        caches.append(cache)
        random.shuffle(operations)
    assert sequence(caches[0]) == sequence(caches[1]) == sequence(caches[2])


@given(SAID, st.integers(1, 12))
def test_what_is_kept_is_balanced_and_of_each_class_the_best(operations, capacity):
    """The definition, by hand: water filled up over the standing labels."""
    cache = ForwardCache(LAYOUT, capacity)
    standing: dict[int, tuple[int, int]] = {}
    for number, label, issued_ns, group in operations:
        say(cache, number, label, issued_ns, group)
        said = (issued_ns, -1 if label is None else label)
        standing[number] = max(standing.get(number, said), said)
    scores = {number: cache._score_of(frame(number), record(number)) for number in standing}
    ranked = []
    for label in range(4):
        members = [number for number, (_, said) in standing.items() if said == label]
        members.sort(key=lambda number: -scores[number])
        ranked += [((rank, -label), number) for rank, number in enumerate(members)]
    wanted = {number for _, number in sorted(ranked)[:capacity]}
    assert {number for number in standing if cache.label_of(frame(number)) is not None} == wanted
    assert len(cache) == len(wanted)


def test_a_retraction_lets_one_in_that_waited_while_its_frame_is_held():
    for left_the_ring in (False, True):
        cache = ForwardCache(LAYOUT, 2)
        outcomes = {number: cache.add(frame(number), record(number), 0, issued_ns=1)
                    for number in range(3)}
        assert outcomes[2] is Outcome.ADDED, 'the newest is preferred'
        waiting = next(number for number in range(3)
                       if cache.label_of(frame(number)) is None)
        if left_the_ring:
            cache.forget(frame(waiting))
        cache.retract(frame(2), issued_ns=2)
        assert (cache.label_of(frame(waiting)) is None) == left_the_ring
        assert len(cache) == (1 if left_the_ring else 2)


def test_what_came_in_is_told_also_when_a_retraction_let_it_in():
    cache = ForwardCache(LAYOUT, 2)
    for number in range(3):
        cache.add(frame(number), record(number), 0, issued_ns=7, group='a')
    kept = {number for number in range(3) if cache.label_of(frame(number)) is not None}
    assert {each[0] for each in cache.let_in()} == {frame(number) for number in kept}
    assert cache.let_in() == []
    (waiting,) = set(range(3)) - kept
    cache.retract(frame(2), issued_ns=8)
    assert cache.let_in() == [(frame(waiting), 0, 7, 'a')]


def test_a_frame_that_left_the_ring_is_forgotten_unless_it_is_kept():
    cache = ForwardCache(LAYOUT, 4)
    for number in range(1000):
        cache.add(frame(number), record(number), number % 3, issued_ns=1)
        cache.retract(frame(number + 5000), issued_ns=1)
        cache.forget(frame(number))
        cache.forget(frame(number + 5000))
    assert len(cache) == 4
    assert len(cache._entries) == len(cache._selection._candidates) == 4
    heaps = cache._selection._kept + cache._selection._waiting
    assert sum(len(heap) for heap in heaps) < 400


def test_recency_goes_by_the_time_of_arrival_where_the_clock_jumped_back():
    """After a jump of an hour new frames would otherwise not be kept for an hour."""
    cache = ForwardCache(LAYOUT, 5, recency_s=1.0)
    for number in range(20):
        stamp = 10_000 + number if number < 10 else 10_000 - 3600 + number
        cache.add(frame(stamp), replace(record(number), time_s=float(10 * number)), 0, 1)
    assert {stamp for stamp in range(6000, 11_000) if cache.label_of(frame(stamp)) is not None} \
        == {10_000 - 3600 + number for number in range(15, 20)}


def test_new_classes():
    cache = ForwardCache(LAYOUT, 10)
    cache.add(frame(1), record(1), 3, issued_ns=1)
    session, version = cache.session, cache.version
    cache.grow(6)
    assert cache.session != session and cache.version > version
    assert cache.add(frame(2), record(2), 5, issued_ns=1) is Outcome.ADDED
    assert cache.counts().tolist() == [0, 0, 0, 1, 0, 1]
    _, logits, labels = cache.samples(cache.training_order())
    assert set(labels.tolist()) == {3, 5}
    np.testing.assert_allclose(logits[:, 4], logits[:, :4].mean(axis=1), rtol=1e-6)
    assert (logits[:, 4] == logits[:, 5]).all()


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
    session, version = cache.session, cache.version
    cache.clear()
    assert len(cache) == 0 and cache.session != session
    assert cache.version > version, 'an adapter from before knows nothing that comes after'


def test_unknown_label_is_refused():
    with pytest.raises(CacheError, match='label'):
        ForwardCache(LAYOUT, 4).add(frame(1), record(1), 4, issued_ns=1)
