"""Every backend goes through the same checks."""

from dataclasses import replace

import numpy as np
import pytest

from instantft_ros.accelerator import registry
from instantft_ros.accelerator.base import StopFlag
from instantft_ros.accelerator.golden import GoldenModel
from instantft_ros.accelerator.job import CacheUpdate, FineTuneJob, OFFSET_STEP, Schedule
from instantft_ros.accelerator.numpy_reference import NumpyReference, Optimizer
from instantft_ros.core import nf4
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.errors import (
    AcceleratorError,
    CacheError,
    CacheMismatchError,
    Cancelled,
    JobError,
)
from instantft_ros.core.features import FeatureLayout
from instantft_ros.core.scoring import adapted_logits

LAYOUT = FeatureLayout((30, 17, 6), 5)
BACKBONE = 'ab' * 32

#: Who says what is right, where that is not the reference: the hardware counts in fixed point.
ORACLES = {'kv260': GoldenModel, 'sim': GoldenModel}


def job(samples: int = 40, seed: int = 0, base_version: int = 0,
        **schedule: object) -> FineTuneJob:
    """Random but learnable: the label depends on the features."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, LAYOUT.dim)).astype(np.float32)
    labels = (x @ rng.normal(size=(LAYOUT.dim, LAYOUT.classes))).argmax(axis=1)
    codes, scales = nf4.quantize(x, LAYOUT.tap_sizes)
    logits = rng.normal(size=(samples, LAYOUT.classes)).astype(np.float32)
    update = CacheUpdate('session', base_version, base_version + 1, 64,
                         np.arange(samples, dtype=np.int64), codes, scales, logits,
                         labels.astype(np.int64))
    settings = {'epochs': 8, 'learning_rate': 0.05} | schedule
    return FineTuneJob(update, Adapter.initial(LAYOUT, BACKBONE, rank=4, seed=seed),
                       rng.permutation(samples).astype(np.int64), Schedule(**settings))


def part(update: CacheUpdate, rows: np.ndarray, **changes: object) -> CacheUpdate:
    return replace(update, slots=update.slots[rows], codes=update.codes[rows],
                   scales=update.scales[rows], logits=update.logits[rows],
                   labels=update.labels[rows], **changes)


@pytest.fixture(params=sorted(registry.BACKENDS))
def backend(request):
    try:
        backend = registry.create(request.param)
    except AcceleratorError as error:
        pytest.skip(str(error))
    yield backend
    backend.close()


def test_learns(backend):
    done = backend.fine_tune(job())
    assert done.losses[-1] < 0.5 * done.losses[0]
    assert len(done.losses) == 8
    assert done.backend == backend.name
    assert done.train_ms > 0


def test_equal_to_the_reference(backend):
    for seed in range(3):
        asked = job(seed=seed)
        oracle = ORACLES.get(backend.name, NumpyReference)()
        got, wanted = backend.fine_tune(asked), oracle.fine_tune(asked)
        np.testing.assert_allclose(got.adapter.a, wanted.adapter.a, atol=2e-4)
        np.testing.assert_allclose(got.adapter.b, wanted.adapter.b, atol=2e-4)
        np.testing.assert_allclose(got.losses, wanted.losses, atol=1e-3)


def test_what_it_gives_scores_natively_as_by_the_formula(backend):
    asked, every = job(), np.arange(40)
    update, adapter = asked.update, backend.fine_tune(asked).adapter
    x = nf4.dequantize(update.codes, update.scales, LAYOUT.tap_sizes)
    got = adapted_logits(adapter, update.codes, update.scales, update.logits, every)
    np.testing.assert_allclose(got, adapter(x, update.logits), rtol=1e-4, atol=1e-4)


def test_deterministic(backend):
    first, second = backend.fine_tune(job()), backend.fine_tune(job())
    assert first.adapter.digest() == second.adapter.digest()


def test_changes_on_top_equal_the_whole_cache_at_once(backend):
    whole = job(samples=40, seed=3)
    old, new = np.arange(25), np.arange(25, 40)
    first = FineTuneJob(part(whole.update, old, version=7), whole.start,
                        np.arange(25, dtype=np.int64), whole.schedule)
    backend.fine_tune(first)
    second = replace(whole, update=part(whole.update, new, base_version=7, version=9))
    assert backend.fine_tune(second).adapter.digest() \
        == backend.fine_tune(whole).adapter.digest()


def test_changed_slot_takes_the_place_of_the_old(backend):
    whole, other = job(seed=3), job(seed=4)
    backend.fine_tune(whole)
    rows = np.array([5, 9])
    backend.fine_tune(replace(whole, update=part(other.update, rows, base_version=1, version=2)))
    again = replace(whole, update=part(whole.update, rows, base_version=2, version=3))
    assert backend.fine_tune(again).adapter.digest() == backend.fine_tune(whole).adapter.digest()


def test_a_version_that_is_not_held_is_told(backend):
    with pytest.raises(CacheMismatchError, match='holds no cache'):
        backend.fine_tune(job(base_version=3))
    backend.fine_tune(job())
    with pytest.raises(CacheMismatchError, match='at version 1'):
        backend.fine_tune(job(base_version=3))
    stranger = job(base_version=1)
    with pytest.raises(CacheMismatchError, match='session'):
        backend.fine_tune(replace(stranger, update=replace(stranger.update, session='other')))


def test_stops_when_told(backend):
    seen = []

    def on_epoch(epoch: int, loss: float) -> bool:
        seen.append(epoch)
        return epoch < 3

    with pytest.raises(Cancelled):
        backend.fine_tune(job(), on_epoch)
    assert seen == [1, 2, 3]
    assert backend.fine_tune(job()).losses  # and works again afterwards


def test_a_stop_flag_stops_it_once_set(backend):
    flag = StopFlag()
    asked = job()
    assert backend.fine_tune(asked, flag).losses == backend.fine_tune(asked).losses
    flag.set()
    with pytest.raises(Cancelled, match=r'after epoch 1$'):
        backend.fine_tune(asked, flag)


def test_scaled_logits_are_what_scaling_them_by_hand_gives(backend):
    asked = job()
    halved = replace(asked, start=replace(asked.start, logit_scale=0.5))
    wanted = backend.fine_tune(replace(asked, update=replace(
        asked.update, logits=0.5 * asked.update.logits)))
    plain = backend.fine_tune(asked)
    # the cache stays as it is, only what it is multiplied by changes
    again = replace(halved, update=part(asked.update, np.arange(0), base_version=1, version=2))
    got = backend.fine_tune(again)
    np.testing.assert_allclose(got.adapter.b, wanted.adapter.b, atol=1e-5)
    np.testing.assert_allclose(got.losses, wanted.losses, rtol=1e-4)
    assert got.adapter.logit_scale == 0.5
    assert np.abs(got.adapter.b - plain.adapter.b).max() > 1e-3
    assert abs(got.losses[0] - plain.losses[0]) > 1e-3


def test_class_offsets_are_what_adding_them_to_the_logits_by_hand_gives(backend):
    asked = job()
    adjusted = replace(asked, schedule=replace(asked.schedule, logit_adjustment=1.5))
    labels = asked.update.labels[asked.order]
    offsets = adjusted.schedule.class_offsets(labels, asked.start.layout.classes)
    wanted = backend.fine_tune(replace(asked, update=replace(
        asked.update, logits=asked.update.logits + offsets)))
    plain = backend.fine_tune(asked)
    # the cache stays as it is, only what is added to it changes
    again = replace(adjusted, update=part(asked.update, np.arange(0), base_version=1, version=2))
    got = backend.fine_tune(again)
    np.testing.assert_allclose(got.adapter.b, wanted.adapter.b, atol=1e-5)
    np.testing.assert_allclose(got.losses, wanted.losses, rtol=1e-4)
    assert np.abs(got.adapter.b - plain.adapter.b).max() > 1e-3
    back = backend.fine_tune(replace(again, schedule=asked.schedule, update=replace(
        again.update, base_version=2, version=3)))
    np.testing.assert_array_equal(back.adapter.b, plain.adapter.b)


def test_class_offsets_are_the_logarithms_of_how_many_there_are():
    offsets = Schedule(logit_adjustment=2.0).class_offsets(np.repeat([0, 1], [7, 1]), 3)
    counts = np.array([8, 2, 1])  # one more of each than there is
    np.testing.assert_allclose(offsets, 2 * np.log(counts / counts.mean()), atol=OFFSET_STEP / 2)
    assert offsets.dtype == np.float32 and (offsets % OFFSET_STEP == 0).all()
    assert not Schedule().class_offsets(np.repeat([0, 1], [7, 1]), 3).any()
    assert not Schedule(logit_adjustment=2.0).class_offsets(np.arange(30) % 3, 3).any()


def test_start_weights_are_left_alone(backend):
    asked = job()
    before = asked.start.digest()
    backend.fine_tune(asked)
    assert asked.start.digest() == before


def test_one_sample_two_classes_one_tap(backend):
    layout = FeatureLayout((1,), 2)
    codes, scales = nf4.quantize(np.ones((1, 1), np.float32), (1,))
    update = CacheUpdate('s', 0, 1, 1, np.zeros(1, np.int64), codes, scales,
                         np.zeros((1, 2), np.float32), np.ones(1, np.int64))
    done = backend.fine_tune(FineTuneJob(update, Adapter.initial(layout, BACKBONE, rank=4),
                                         np.zeros(1, np.int64), Schedule(20, 1, 0.5)))
    assert done.losses[-1] < done.losses[0]


@pytest.mark.parametrize(('change', 'error', 'words'), [
    ({'codes': np.zeros((40, 3), np.uint8)}, CacheError, 'codes must be'),
    ({'scales': np.zeros((40, 2), np.float32)}, CacheError, 'scales must be'),
    ({'scales': np.full((40, 3), np.nan, np.float32)}, CacheError, 'finite'),
    ({'scales': np.full((40, 3), -1, np.float32)}, CacheError, 'not negative'),
    ({'logits': np.full((40, 5), np.inf, np.float32)}, CacheError, 'logits must be finite'),
    ({'labels': np.full(40, 5, np.int64)}, CacheError, 'labels must be'),
    ({'labels': np.full(40, -1, np.int64)}, CacheError, 'labels must be'),
    ({'slots': np.full(40, 64, np.int64)}, CacheError, 'slots must be'),
    ({'slots': np.zeros(40, np.int64)}, CacheError, 'twice'),
    ({'capacity': 0}, JobError, 'samples must be'),
])
def test_malformed_updates_are_refused(backend, change, error, words):
    asked = job()
    with pytest.raises(error, match=words):
        backend.fine_tune(replace(asked, update=replace(asked.update, **change)))
    assert backend.fine_tune(asked).losses  # the next job is served


@pytest.mark.parametrize(('order', 'words'), [
    (np.zeros(0, np.int64), 'one or more'), (np.array([0, 64]), 'in \\[0, 64\\)'),
    (np.array([-1]), 'in \\[0, 64\\)'), (np.array([50]), 'slot 50, which is empty'),
    (np.array([0.5]), 'int64'),
])
def test_malformed_orders_are_refused(backend, order, words):
    with pytest.raises(JobError, match=words):
        backend.fine_tune(replace(job(), order=order))


@pytest.mark.parametrize(('schedule', 'words'), [
    ({'epochs': 0}, 'epochs'), ({'batch_size': 0}, 'batch_size'),
    ({'learning_rate': 0.0}, 'learning_rate'), ({'learning_rate': float('nan')}, 'learning_rate'),
    ({'decay': 'cosine'}, "got 'cosine'"), ({'weight_decay': 0.1}, "got 'sgd'"),
    ({'optimizer': 'adam', 'weight_decay': -1.0}, 'weight_decay'),
    ({'optimizer': 'adam', 'weight_decay': 51.0}, 'weight_decay'),
    ({'logit_adjustment': -0.1}, 'logit_adjustment'),
    ({'logit_adjustment': float('nan')}, 'logit_adjustment'),
])
def test_impossible_schedules_are_refused(schedule, words):
    with pytest.raises(JobError, match=words):
        Schedule(**schedule)


def test_weight_decay_is_that_of_adamw():
    decaying = Optimizer(Schedule(optimizer='adam', weight_decay=2.0))
    plain = Optimizer(Schedule(optimizer='adam'))
    gradient, weights = np.float32([1.0, -3.0]), np.float32([0.5, 4.0])
    np.testing.assert_allclose(decaying.step(gradient, weights),
                               plain.step(gradient, weights) + 2.0 * weights, rtol=1e-6)


def test_linear_decay_falls_to_the_last_step():
    np.testing.assert_allclose(Schedule(2, 2, 1.0).rates(3), [1.0, 0.75, 0.5, 0.25])
    np.testing.assert_allclose(Schedule(2, 2, 1.0, 'constant').rates(3), np.ones(4))


def test_unknown_backend_is_named():
    with pytest.raises(AcceleratorError, match="got 'abacus'"):
        registry.create('abacus')


def test_divergence_is_an_error_not_an_adapter():
    with pytest.raises(AcceleratorError, match='diverged'):
        NumpyReference().fine_tune(job(learning_rate=1e5, epochs=50))


def test_mini_batches_average_their_gradients():
    asked = job(batch_size=40, epochs=1, decay='constant')
    done = NumpyReference().fine_tune(asked)
    twice = NumpyReference().fine_tune(replace(asked, order=np.concatenate([asked.order] * 2),
                                               schedule=replace(asked.schedule, batch_size=80)))
    np.testing.assert_allclose(done.adapter.a, twice.adapter.a, atol=1e-6)
