from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from instantft_ros.adaptation.gate import Decision, Gate, GatePolicy
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.features import FeatureLayout, FeatureRecord, Features
from instantft_ros.core.forward_cache import ForwardCache
from instantft_ros.core.frame_ring import FrameId
from instantft_ros.core.replay import ReplaySet

LAYOUT = FeatureLayout((2,), 2)


def cache(samples: int, holdout_share: float = 0.5) -> ForwardCache:
    """Class c lies at the unit vector c; the frozen logits know nothing."""
    made = ForwardCache(LAYOUT, samples + 50, holdout_share)
    for number in range(samples):
        features = Features(np.eye(2, dtype=np.float32)[number % 2], np.zeros(2, np.float32))
        made.add(FrameId('left', number), FeatureRecord.of(features, LAYOUT), number % 2, 1)
    return made


def adapter(gain: float) -> Adapter:
    """Right with certainty `gain`, wrong when it is negative."""
    return Adapter(LAYOUT, np.eye(2, dtype=np.float32),
                   gain * np.eye(2, dtype=np.float32)[:, None], 'ab' * 32)


def unguarded(cache: ForwardCache) -> Gate:
    """No guard sample at all."""
    layout = cache.layout
    return Gate(cache, ReplaySet.empty(layout), Adapter.initial(layout, 'ab' * 32))


def judge(candidate: Adapter, current: Adapter, cache: ForwardCache,
          policy: GatePolicy) -> Decision:
    return unguarded(cache).judge(candidate, current, cache.training_order(),
                                  cache.holdout_order(), policy)


def test_better_is_accepted_with_its_figures():
    decision = judge(adapter(5.0), adapter(0.1), cache(100), GatePolicy())
    assert decision.accepted
    assert decision.holdout_accuracy == 1.0
    assert decision.loss == pytest.approx(np.log1p(np.exp(-5.0)), rel=1e-4)


def test_higher_loss_is_refused():
    decision = judge(adapter(-5.0), adapter(1.0), cache(100), GatePolicy())
    assert not decision.accepted
    assert 'the loss on the cached samples rose' in decision.reason


def test_loss_within_the_tolerance_is_accepted():
    assert judge(adapter(0.9), adapter(1.0), cache(100), GatePolicy(loss_tolerance=0.1)).accepted


def test_significant_fall_on_the_holdout_is_refused_whatever_the_loss():
    lenient = GatePolicy(loss_tolerance=100.0, accuracy_tolerance=0.1)
    decision = judge(adapter(-1.0), adapter(1.0), cache(100), lenient)
    assert not decision.accepted
    assert 'held-out' in decision.reason


def test_small_holdout_alone_does_not_refuse():
    lenient = GatePolicy(loss_tolerance=100.0, accuracy_tolerance=0.1)
    made = cache(5)
    assert 0 < len(made.holdout_order()) <= 4
    assert judge(adapter(-1.0), adapter(1.0), made, lenient).accepted


@pytest.mark.parametrize('gain', [1e30, -1e30, 3e38])
def test_absurd_weights_are_judged_without_a_crash(gain):
    huge = Adapter(LAYOUT, np.full((2, 2), 3e38, np.float32),
                   np.full((2, 1, 2), gain, np.float32), 'ab' * 32)
    assert not judge(huge, adapter(1.0), cache(100), GatePolicy()).accepted


def test_without_samples_nothing_is_accepted():
    assert not judge(adapter(1.0), adapter(1.0), ForwardCache(LAYOUT, 4),
                     GatePolicy()).accepted


def test_without_a_holdout_its_accuracy_is_unknown():
    assert np.isnan(judge(adapter(1.0), adapter(0.0), cache(10, 0.0),
                          GatePolicy()).holdout_accuracy)


def test_what_came_after_the_training_is_not_held_against_it():
    """A correction that the candidate could not know, and on which it is wrong with certainty."""
    made = cache(10, 0.0)
    order, version = made.training_order(), made.version
    features = Features(np.array([1, 0], np.float32), np.zeros(2, np.float32))
    for number in range(20, 40):
        made.add(FrameId('left', number), FeatureRecord.of(features, LAYOUT), 1, 1)
    made.add(FrameId('left', 0), None, 1, 2)  # and one that it knew otherwise
    known = made.unchanged(order, version)
    assert len(known) == 9
    assert unguarded(made).judge(adapter(9.0), adapter(0.1), known, made.holdout_order(),
                                 GatePolicy()).accepted
    assert not judge(adapter(9.0), adapter(0.1), made, GatePolicy()).accepted


def guarded(samples: int, first: Adapter,
            holdout_share: float = 0.0) -> tuple[ForwardCache, Gate]:
    """Samples from before the drift: class c lies at the unit vector c here too."""
    labels = np.arange(samples) % 2
    records = [FeatureRecord.of(Features(np.eye(2, dtype=np.float32)[label],
                                         np.zeros(2, np.float32)), LAYOUT) for label in labels]
    made = cache(20, holdout_share)
    return made, Gate(made, ReplaySet(np.stack([each.codes for each in records]),
                                      np.stack([each.scales for each in records]),
                                      np.zeros((samples, 2), np.float32), labels), first)


def judge_guarded(candidate: Adapter, current: Adapter,
                  guarding: tuple[ForwardCache, Gate]) -> Decision:
    lenient = GatePolicy(loss_tolerance=100.0, accuracy_tolerance=1.0, guard_tolerance=0.2)
    made, gate = guarding
    return gate.judge(candidate, current, made.training_order(), made.holdout_order(), lenient)


def test_what_was_known_before_the_drift_may_not_be_lost():
    decision = judge_guarded(adapter(-1.0), adapter(1.0), guarded(80, adapter(1.0)))
    assert not decision.accepted and 'guard samples' in decision.reason
    assert decision.guard_accuracy == 0.0
    assert judge_guarded(adapter(2.0), adapter(1.0), guarded(80, adapter(1.0))).accepted


def test_nor_in_a_chain_of_steps_that_are_each_tolerated():
    """The one in use is no better any more: the first adapter still is."""
    assert not judge_guarded(adapter(-1.0), adapter(-0.5), guarded(80, adapter(1.0))).accepted


def test_only_the_candidate_is_asked_where_nothing_changed(monkeypatch):
    asked, scored = [], []
    right, adapted_logits = ReplaySet.right, ForwardCache.adapted_logits
    monkeypatch.setattr(ReplaySet, 'right',
                        lambda self, adapter: asked.append(adapter) or right(self, adapter))
    monkeypatch.setattr(ForwardCache, 'adapted_logits', lambda self, adapter, slots:
                        scored.append((adapter, len(slots)))
                        or adapted_logits(self, adapter, slots))
    first, current = adapter(1.0), adapter(1.5)
    made, gate = guarded(20, first)
    for number, gain in enumerate((2.0, 2.5, 3.0, 3.5)):
        asked.clear()
        scored.clear()
        made.add(FrameId('left', 0), None, number % 2, 2 + number)  # one sample has changed
        candidate = adapter(gain)
        assert judge_guarded(candidate, current, (made, gate)).accepted
        assert asked == ([candidate] if number else [first, current, candidate])
        assert scored == [(current, 1 if number else 20), (candidate, 20)]
        current = candidate


CHANGES = st.lists(st.one_of(
    st.tuples(st.just('label'), st.integers(0, 39), st.integers(0, 1)),
    st.tuples(st.just('retract'), st.integers(0, 39), st.just(0)),
    st.tuples(st.just('judge'), st.integers(0, 3), st.integers(0, 3))), max_size=40)


@given(CHANGES)
@settings(max_examples=60, deadline=None)
def test_what_is_remembered_changes_no_decision(changes):
    adapters = [adapter(gain) for gain in (-1.0, 0.5, 1.0, 2.0)]
    made, remembering = guarded(20, adapters[2], holdout_share=0.5)
    features = Features(np.array([0.5, 0.25], np.float32), np.array([0, 1], np.float32))
    for number, (what, index, choice) in enumerate(changes):
        frame = FrameId('left', index)
        if what == 'label':
            made.add(frame, FeatureRecord.of(features, LAYOUT), choice, 2 + number)
        elif what == 'retract':
            made.retract(frame, 2 + number)
        else:
            asked = (adapters[index], adapters[choice], made.training_order(),
                     made.holdout_order(), GatePolicy())
            fresh = Gate(made, remembering.guard, adapters[2])
            got, wanted = remembering.judge(*asked), fresh.judge(*asked)
            np.testing.assert_equal(vars(got), vars(wanted))


def test_a_tiny_guard_set_alone_does_not_refuse():
    assert judge_guarded(adapter(-1.0), adapter(1.0), guarded(4, adapter(1.0))).accepted


def test_one_class_that_is_lost_is_refused_though_the_mean_hardly_falls():
    """Ten classes; the candidate loses one of them, a tenth of the holdout."""
    layout = FeatureLayout((10,), 10)
    eye = np.eye(10, dtype=np.float32)
    made = ForwardCache(layout, 600, holdout_share=0.5)
    for number in range(500):
        made.add(FrameId('left', number),
                 FeatureRecord.of(Features(eye[number % 10], np.zeros(10, np.float32)), layout),
                 number % 10, 1)
    good = Adapter(layout, eye, eye[:, None], 'ab' * 32)
    swapped = eye.copy()
    swapped[[3, 4]] = swapped[3]  # class 3's outputs answer for class 4 as well
    bad = Adapter(layout, eye, 2 * swapped[:, None], 'ab' * 32)
    bad.b.setflags(write=True)
    bad.b[4] = 0.0
    policy = GatePolicy(loss_tolerance=100.0, accuracy_tolerance=0.2)
    decision = judge(bad, good, made, policy)
    assert not decision.accepted and 'class 4' in decision.reason
    assert decision.holdout_by_class[4] == 0.0 and decision.holdout_by_class[3] == 1.0
    assert decision.holdout_accuracy > 0.85


def test_a_little_lost_in_every_class_is_refused_though_in_none_it_is_significant():
    """Each class has a rare kind of features, which the candidate no longer knows."""
    layout = FeatureLayout((20,), 10)
    eye = np.eye(20, dtype=np.float32)
    made = ForwardCache(layout, 600, holdout_share=0.5)
    for number in range(500):
        label, rare = number % 10, number // 10 % 10 == 0
        made.add(FrameId('left', number), FeatureRecord.of(Features(
            eye[2 * label + rare], np.zeros(10, np.float32)), layout), label, 1)
    good = np.repeat(np.eye(10, dtype=np.float32), 2, axis=1)
    bad = good.copy()
    bad[:, 1::2] = np.roll(bad[:, 1::2], 1, axis=0)
    current, candidate = (Adapter(layout, eye, each[:, None], 'ab' * 32) for each in (good, bad))
    policy = GatePolicy(loss_tolerance=100.0, accuracy_tolerance=0.0)
    decision = judge(candidate, current, made, policy)
    assert not decision.accepted
    assert 'held-out samples' in decision.reason and 'of class' not in decision.reason
