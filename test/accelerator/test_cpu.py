"""The native kernel equals the reference in every instruction set, shape and optimizer."""

from dataclasses import replace
import threading

from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from instantft_ros.accelerator import cpu
from instantft_ros.accelerator.base import StopFlag
from instantft_ros.accelerator.cpu import CpuBackend
from instantft_ros.accelerator.job import CacheUpdate, FineTuneJob, Schedule
from instantft_ros.accelerator.numpy_reference import NumpyReference
from instantft_ros.core import native, nf4
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.errors import AcceleratorError, Cancelled, FeatureError
from instantft_ros.core.features import FeatureLayout

LIBRARY = native.load()
BACKBONE = 'ab' * 32


def make_job(tap_sizes: tuple[int, ...] = (40, 33, 7), classes: int = 5, rank: int = 4,
             samples: int = 30, capacity: int = 40, seed: int = 0,
             **schedule: object) -> FineTuneJob:
    rng = np.random.default_rng(seed)
    layout = FeatureLayout(tap_sizes, classes)
    x = rng.normal(size=(capacity, layout.dim)).astype(np.float32)
    codes, scales = nf4.quantize(x, tap_sizes)
    update = CacheUpdate('session', 0, 1, capacity, np.arange(capacity, dtype=np.int64), codes,
                         scales, rng.normal(size=(capacity, classes)).astype(np.float32),
                         rng.integers(0, classes, capacity))
    order = rng.permutation(capacity)[:samples].astype(np.int64)
    settings = {'epochs': 3, 'learning_rate': 0.02} | schedule
    start = replace(Adapter.initial(layout, BACKBONE, rank, seed), logit_scale=0.75)
    return FineTuneJob(update, start, order, Schedule(**settings))


def assert_equal_to_the_reference(job: FineTuneJob, **backend: object) -> None:
    got, wanted = CpuBackend(**backend).fine_tune(job), NumpyReference().fine_tune(job)
    np.testing.assert_allclose(got.adapter.a, wanted.adapter.a, atol=1e-4)
    np.testing.assert_allclose(got.adapter.b, wanted.adapter.b, atol=1e-4)
    np.testing.assert_allclose(got.losses, wanted.losses, rtol=1e-4, atol=1e-5)


def test_the_library_was_built():
    assert LIBRARY is not None, 'the build has a compiler, so the kernel must be there'


@pytest.mark.parametrize('variant', LIBRARY.variants if LIBRARY else ())
@pytest.mark.parametrize(('batch_size', 'optimizer'), [
    (1, 'sgd'), (1, 'momentum'), (1, 'adam'), (7, 'sgd'), (20, 'momentum'), (20, 'adam'),
    (30, 'adam'), (100, 'sgd')])
def test_every_variant_equals_the_reference(variant, batch_size, optimizer):
    rate = 0.002 if optimizer == 'adam' else 0.02
    for tap_sizes, rank, classes in (((40, 33, 7), 4, 5), ((1,), 1, 2), ((33, 1, 64), 6, 17)):
        assert_equal_to_the_reference(
            make_job(tap_sizes, classes, rank, batch_size=batch_size, optimizer=optimizer,
                     learning_rate=rate, epsilon=1e-3,
                     weight_decay=30.0 if optimizer == 'adam' else 0.0), variant=variant)


@given(tap_sizes=st.lists(st.integers(1, 70), min_size=1, max_size=5), classes=st.integers(2, 20),
       rank=st.integers(1, 9), samples=st.integers(1, 40), batch_size=st.integers(1, 45),
       optimizer=st.sampled_from(['sgd', 'momentum']),
       decay=st.sampled_from(['linear', 'constant']),
       seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_any_shape_equals_the_reference(tap_sizes, classes, rank, samples, batch_size, optimizer,
                                        decay, seed):
    assert_equal_to_the_reference(make_job(
        tuple(tap_sizes), classes, rank, samples, seed=seed, batch_size=batch_size,
        optimizer=optimizer, decay=decay, epochs=2, learning_rate=0.005))


def test_the_number_of_threads_changes_no_bit():
    job = make_job((500, 300), samples=40, batch_size=40, optimizer='adam', epochs=5)
    one, four = (CpuBackend(threads=threads).fine_tune(job) for threads in (1, 4))
    assert one.adapter.digest() == four.adapter.digest() and one.losses == four.losses


def test_other_threads_of_python_run_meanwhile():
    """`tick` answers only while the kernel is between two of its reports."""
    job = make_job((2000,), capacity=500, samples=500, epochs=200)
    ticks, done = [], threading.Event()

    def tick() -> None:
        while not done.is_set():
            ticks.append(len(epochs))
            done.wait(1e-4)

    epochs: list[int] = []
    ticker = threading.Thread(target=tick)
    ticker.start()
    CpuBackend().fine_tune(job, lambda epoch, loss: epochs.append(epoch) is None)
    done.set()
    ticker.join()
    assert len(set(ticks)) > 3  # seen at different epochs: it ran beside the training


def test_another_thread_stops_it():
    flag = StopFlag()
    timer = threading.Timer(0.05, flag.set)
    timer.start()
    with pytest.raises(Cancelled):
        CpuBackend().fine_tune(make_job((2000,), capacity=500, samples=500, epochs=10_000), flag)
    timer.join()


def test_an_error_of_the_caller_comes_back():
    def on_epoch(epoch: int, loss: float) -> bool:
        raise KeyError('mine')

    with pytest.raises(KeyError, match='mine'):
        CpuBackend().fine_tune(make_job(), on_epoch)


def test_weights_that_overflow_are_an_error():
    for batch_size in (1, 10):
        with pytest.raises(AcceleratorError, match='diverged'):
            CpuBackend().fine_tune(make_job(learning_rate=1e5, epochs=50, batch_size=batch_size))


def test_an_unknown_variant_is_named():
    with pytest.raises(AcceleratorError, match="got 'abacus'"):
        CpuBackend(variant='abacus')


def test_without_the_library_numpy_trains_and_says_so(monkeypatch):
    monkeypatch.setattr(native, 'load', lambda: None)
    backend = CpuBackend()
    assert backend.notice == cpu.NOT_BUILT
    done, wanted = backend.fine_tune(make_job()), NumpyReference().fine_tune(make_job())
    assert done.backend == 'numpy' and done.adapter.digest() == wanted.adapter.digest()


@given(st.lists(st.integers(1, 50), min_size=1, max_size=4), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None)
def test_one_frame_is_quantized_to_the_bit_as_many(tap_sizes, seed):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(1, sum(tap_sizes))) * 10.0 ** rng.integers(-30, 30)).astype(np.float32)
    x[rng.random(x.shape) < 0.3] = 0.0
    many, one = nf4.quantize(x, tap_sizes), nf4.quantize(x[0], tap_sizes)
    np.testing.assert_array_equal(many[0][0], one[0])
    np.testing.assert_array_equal(many[1][0], one[1])


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_one_frame_with_a_bad_value_is_refused(value):
    x = np.ones(10, np.float32)
    x[7] = value
    with pytest.raises(FeatureError, match=r'tap \[1\]'):
        nf4.quantize(x, (5, 5))
