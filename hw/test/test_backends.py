"""The driver on the simulated device, and what it says when there is no board."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
import sys

import numpy as np
import pytest

pytest.importorskip('pynq')

from instantft_ros.accelerator import registers as hw
from instantft_ros.accelerator.golden import GoldenModel
from instantft_ros.accelerator.job import FineTuneJob, Schedule
from instantft_ros.accelerator.kv260 import find_power_sensor, Kv260Backend, read_power_w
from instantft_ros.accelerator.numpy_reference import NumpyReference
from instantft_ros.accelerator.rtl_model import SOURCE
from instantft_ros.accelerator.sim import SimBackend
from instantft_ros.core import fixed_point, nf4
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.backbone import Backbone
from instantft_ros.core.errors import AcceleratorError, CacheMismatchError, Cancelled, JobError
from instantft_ros.core.features import FeatureLayout
from instantft_ros.core.forward_cache import CacheUpdate
from instantft_ros.models import DEFAULT_MANIFEST

LAYOUT = FeatureLayout((70, 33), 5)

GARMENTS_FILE = SOURCE.parent / 'instantft_ros' / 'data' / 'fashion_mnist_subset.npz'


@pytest.fixture
def backend(library: Path) -> Iterator[SimBackend]:
    """A simulated accelerator."""
    backend = SimBackend(library)
    yield backend
    backend.close()


def update(slots: np.ndarray, capacity: int = 40, base: int = 0, version: int = 1, seed: int = 0,
           layout: FeatureLayout = LAYOUT, session: str = 'test') -> CacheUpdate:
    """Draw samples of separable classes for these slots."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(layout.classes, layout.dim))
    labels = rng.integers(0, layout.classes, len(slots))
    x = np.maximum(rng.normal(size=(len(slots), layout.dim)) + centres[labels], 0)
    codes, scales = nf4.quantize(x.astype(np.float32), layout.tap_sizes)
    logits = rng.normal(10, 1, (len(slots), layout.classes)).astype(np.float32)
    return CacheUpdate(session, base, version, capacity, slots, codes, scales, logits, labels)


def job(changes: CacheUpdate, order: np.ndarray, rank: int = 4, epochs: int = 4,
        layout: FeatureLayout = LAYOUT) -> FineTuneJob:
    """Give a small job."""
    return FineTuneJob(changes, Adapter.initial(layout, '0' * 64, rank), order,
                       Schedule(epochs, learning_rate=0.01))


@pytest.mark.parametrize('rank', [1, 3, 4])
def test_agrees_with_the_reference(backend: SimBackend, rank: int) -> None:
    wanted_job = job(update(np.arange(40)), np.random.default_rng(1).permutation(40), rank)
    result, reference = backend.fine_tune(wanted_job), NumpyReference().fine_tune(wanted_job)
    golden = GoldenModel().fine_tune(wanted_job)
    assert result.adapter.digest() == golden.adapter.digest() and result.losses == golden.losses
    assert result.backend == 'sim' and result.adapter.rank == rank
    np.testing.assert_allclose(result.losses, reference.losses, rtol=0.05, atol=0.02)
    moved = np.linalg.norm(reference.adapter.a - wanted_job.start.a)
    assert np.linalg.norm(result.adapter.a - reference.adapter.a) < 0.1 * moved
    assert result.cycles == backend.cycles()['total'] > 40 * 4 * 3


@pytest.mark.parametrize('count, seed', [(200, 0), (64, 1), (64, 2)])
def test_equals_the_golden_model_on_real_data(backend: SimBackend, count: int,
                                              seed: int) -> None:
    cv2 = pytest.importorskip('cv2')
    network = Backbone(DEFAULT_MANIFEST)
    with np.load(GARMENTS_FILE) as data:
        images, labels = data['images'], data['labels'].astype(np.int64)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(images))[:count]
    turn = cv2.getRotationMatrix2D((13.5, 13.5), 60, 1)
    features = [network.features(network.preprocess(cv2.warpAffine(images[row], turn, (28, 28))))
                for row in rows]
    codes, scales = nf4.quantize(np.stack([feature.x for feature in features]),
                                 network.layout.tap_sizes)
    logits = np.stack([feature.logits for feature in features])
    changes = CacheUpdate('real', 0, 1, count, np.arange(count), codes, scales, logits,
                          labels[rows])
    asked = FineTuneJob(changes, Adapter.initial(network.layout, network.digest, seed=seed),
                        rng.permutation(count), Schedule(learning_rate=0.02))
    result, golden = backend.fine_tune(asked), GoldenModel().fine_tune(asked)
    assert result.adapter.digest() == golden.adapter.digest() and result.losses == golden.losses
    assert result.losses[-1] < 0.6 * result.losses[0]


def test_sends_only_what_changed_and_keeps_the_rest(backend: SimBackend) -> None:
    order = np.arange(40)
    backend.fine_tune(job(update(np.arange(30)), np.arange(30)))
    full_load = backend.cycles()['load']
    result = backend.fine_tune(job(update(np.arange(28, 40), base=1, version=2, seed=5), order))
    assert backend.cycles()['load'] < full_load
    # a fresh accelerator that gets everything at once comes to the same weights
    assert backend._cache is not None
    cache = backend._cache
    whole = CacheUpdate('whole', 0, 1, 40, np.arange(40), cache.codes, cache.scales, cache.logits,
                        cache.labels)
    again = backend.fine_tune(job(whole, order))
    assert again.adapter.digest() == result.adapter.digest()
    with pytest.raises(CacheMismatchError):
        backend.fine_tune(job(update(np.arange(3), base=7, version=8), order))


def test_a_new_layout_replaces_the_cache(backend: SimBackend) -> None:
    backend.fine_tune(job(update(np.arange(40)), np.arange(40)))
    other = FeatureLayout((10, 200, 64), 32)
    changes = update(np.arange(9), 9, layout=other)
    small = job(changes, np.arange(9), layout=other)
    result, reference = backend.fine_tune(small), NumpyReference().fine_tune(small)
    np.testing.assert_allclose(result.losses, reference.losses, rtol=0.1, atol=0.02)


def test_reports_every_epoch_once(backend: SimBackend) -> None:
    seen: list[tuple[int, float]] = []
    result = backend.fine_tune(job(update(np.arange(40)), np.arange(40), epochs=7),
                               lambda epoch, loss: seen.append((epoch, loss)) or True)
    assert seen == list(enumerate(result.losses, 1))


def test_cancel_stops_the_core_and_the_next_job_is_right(backend: SimBackend) -> None:
    wanted = job(update(np.arange(40)), np.arange(40))
    expected = backend.fine_tune(wanted).adapter.digest()
    long = replace(wanted, schedule=Schedule(1000, learning_rate=0.01),
                   update=update(np.arange(0), base=1, version=2))
    with pytest.raises(Cancelled):
        backend.fine_tune(long, lambda epoch, loss: epoch < 3)
    again = replace(wanted, update=update(np.arange(0), base=2, version=3))
    assert backend.fine_tune(again).adapter.digest() == expected


def test_a_job_that_takes_too_long_is_given_up(backend: SimBackend) -> None:
    backend._timeout_s = 0.0
    with pytest.raises(AcceleratorError, match='not done after'):
        backend.fine_tune(job(update(np.arange(40)), np.arange(40), epochs=1000))
    backend._timeout_s = 600.0
    wanted = job(update(np.arange(0), base=1, version=2), np.arange(40))
    assert np.isfinite(backend.fine_tune(wanted).losses).all()


def test_a_bus_error_is_told_and_the_cache_is_sent_again(backend: SimBackend) -> None:
    wanted = job(update(np.arange(40)), np.arange(40))
    backend.model.bus(read_errors_after=100)
    with pytest.raises(AcceleratorError, match='answered a read with an error'):
        backend.fine_tune(wanted)
    backend.model.bus()
    repaired = backend.fine_tune(replace(wanted, update=update(np.arange(0), base=1, version=2)))
    fresh = backend.fine_tune(wanted)
    assert repaired.adapter.digest() == fresh.adapter.digest()


def test_a_lost_core_is_noticed(backend: SimBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend.model, 'read', lambda offset: 0xFFFFFFFF)
    with pytest.raises(AcceleratorError, match='does not answer'):
        backend.fine_tune(job(update(np.arange(40)), np.arange(40)))


@pytest.mark.parametrize('change, message', [
    ({'schedule': Schedule(2000, learning_rate=0.01)}, 'epochs'),
    ({'schedule': Schedule(4, learning_rate=1.5)}, 'learning_rate'),
    ({'schedule': Schedule(4, batch_size=20, learning_rate=0.01)}, 'batch_size'),
    ({'order': np.zeros(1025, np.int64)}, 'the length of the order'),
    ({'start': Adapter.initial(LAYOUT, '0' * 64, 5)}, 'rank'),
])
def test_refuses_what_the_core_cannot_do(backend: SimBackend, change: dict[str, object],
                                         message: str) -> None:
    wanted = replace(job(update(np.arange(40)), np.arange(40)), **change)
    with pytest.raises(JobError, match=message):
        backend.fine_tune(wanted)


def test_refuses_features_beyond_the_scale(backend: SimBackend) -> None:
    changes = update(np.arange(40))
    changes.scales[3] = 2 * fixed_point.MAX_SCALE
    with pytest.raises(JobError, match='features must be within'):
        backend.fine_tune(job(changes, np.arange(40)))


def test_refuses_a_cache_beyond_the_code_memory(backend: SimBackend) -> None:
    layout = FeatureLayout((64 * 50,), 5)
    with pytest.raises(JobError, match='words of all samples'):
        backend.fine_tune(job(update(np.arange(2), 1024, layout=layout), np.arange(2),
                              layout=layout))


def test_kv260_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(AcceleratorError, match='there is no overlay'):
        Kv260Backend(tmp_path / 'none.bit')
    overlay = tmp_path / 'instantft.bit'
    overlay.touch()
    with pytest.raises(AcceleratorError, match='the overlay cannot be loaded'):
        Kv260Backend(overlay)
    monkeypatch.setitem(sys.modules, 'pynq', None)
    with pytest.raises(AcceleratorError, match='pynq is not installed'):
        Kv260Backend(overlay)


def test_power_sensor(tmp_path: Path) -> None:
    assert find_power_sensor(tmp_path) is None and np.isnan(read_power_w(None))
    for number, name in enumerate(('fan', 'ina260_u14')):
        folder = tmp_path / f'hwmon{number}'
        folder.mkdir()
        (folder / 'name').write_text(f'{name}\n')
    sensor = find_power_sensor(tmp_path)
    assert sensor is not None and np.isnan(read_power_w(sensor))
    sensor.write_text('4250000\n')
    assert read_power_w(sensor) == pytest.approx(4.25)


def test_limits_are_those_of_the_build() -> None:
    assert SimBackend.limits.dim == hw.MAX_WORDS * hw.LANES
    assert SimBackend.limits.batch_sizes == (1,)
