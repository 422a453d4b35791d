"""The contract of every accelerator: checked once here, computed by its backend."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
import ctypes
from dataclasses import dataclass, replace
import time

import numpy as np

from instantft_ros.accelerator.job import FineTuneJob, FineTuneResult, OPTIMIZERS
from instantft_ros.core import nf4
from instantft_ros.core.errors import (
    AcceleratorError,
    AdapterError,
    CacheError,
    CacheMismatchError,
    Cancelled,
    JobError,
)
from instantft_ros.core.features import FeatureLayout
from instantft_ros.core.forward_cache import CacheUpdate

#: Called after each epoch with (epoch from 1, mean loss); False stops the training.
OnEpoch = Callable[[int, float], bool]


class StopFlag:
    """
    An `OnEpoch` that stops a training once it is set, from any thread.

    The native kernel looks at it without Python's lock, for which it may have to wait otherwise,
    and which it would keep from others where its thread stands back.
    """

    def __init__(self) -> None:
        self.value = ctypes.c_int32(0)

    def set(self) -> None:
        """Stop the training after its epoch."""
        self.value.value = 1

    def __call__(self, epoch: int, loss: float) -> bool:
        """Tell whether the training goes on."""
        return not self.value.value


@dataclass(frozen=True)
class Limits:
    """The largest job that a backend takes."""

    samples: int = 1 << 20
    dim: int = 1 << 24
    taps: int = 1 << 10
    classes: int = 1 << 12
    rank: int = 256
    batch_sizes: tuple[int, ...] | None = None
    optimizers: tuple[str, ...] = OPTIMIZERS

    def exceeded(self, samples: int, layout: FeatureLayout,
                 rank: int) -> tuple[str, int, int] | None:
        """Give what of a job is out of bounds: its name, its value, the most; None: nothing."""
        return next(((what, value, most) for what, value, most in (
            ('samples', samples, self.samples), ('features', layout.dim, self.dim),
            ('taps', len(layout.tap_sizes), self.taps), ('classes', layout.classes, self.classes),
            ('rank', rank, self.rank)) if not 1 <= value <= most), None)


@dataclass(frozen=True)
class Trained:
    """What a backend gives back: weights as in `Adapter`, losses (epochs,), its own figures."""

    a: np.ndarray
    b: np.ndarray
    losses: tuple[float, ...]
    energy_j: float = float('nan')
    cycles: int = 0
    backend: str = ''       # where it is not the one that was asked
    fallback: str = ''      # why another one stepped in


class CacheMirror:
    """An accelerator's copy of a labelled cache, brought up to date slot by slot."""

    def __init__(self, session: str, layout: FeatureLayout, capacity: int) -> None:
        self.session = session
        self.layout = layout
        self.capacity = capacity
        self.version = 0
        self.filled = np.zeros(capacity, bool)
        self.codes = np.zeros((capacity, nf4.packed_size(layout.dim)), np.uint8)
        self.scales = np.zeros((capacity, len(layout.tap_sizes)), np.float32)
        self.logits = np.zeros((capacity, layout.classes), np.float32)
        self.labels = np.zeros(capacity, np.int64)

    def apply(self, update: CacheUpdate) -> None:
        """Write the changed slots; the update has been checked."""
        slots = update.slots
        self.filled[slots] = True
        self.codes[slots], self.scales[slots] = update.codes, update.scales
        self.logits[slots], self.labels[slots] = update.logits, update.labels
        self.version = update.version


class Accelerator(ABC):
    """
    Trains adapters on a labelled cache that it holds between jobs.

    A backend implements `_train`, and `_cache_changed` if it keeps a further copy of its own.
    One job at a time.
    """

    name: str
    limits = Limits()
    #: What the user of this backend should know, for the log; empty: nothing.
    notice = ''

    def __init__(self) -> None:
        self._cache: CacheMirror | None = None

    def fine_tune(self, job: FineTuneJob, on_epoch: OnEpoch | None = None) -> FineTuneResult:
        """
        Bring the cache up to date and train.

        Raises `CacheMismatchError` when the update builds on a version that is not held (send
        the whole cache then), `CacheError` and `JobError` for a malformed job or one beyond the
        limits, `Cancelled` when `on_epoch` returned False, `AcceleratorError` when the backend
        failed. After an error the cache is either the old or the new version, never a mix.
        """
        layout = job.start.layout
        self._check_limits(job)
        _check_update(job.update, layout)
        cache = self._cache_for(job.update, layout)
        _check_order(job, cache)
        cache.apply(job.update)
        self._cache = cache
        self._cache_changed(cache, job.update.slots)
        started = time.perf_counter()
        trained = self._train(cache, job, on_epoch or (lambda epoch, loss: True))
        train_ms = 1e3 * (time.perf_counter() - started)
        try:
            adapter = replace(job.start, a=trained.a, b=trained.b)
        except AdapterError as error:
            raise AcceleratorError(f'{self.name}: the training diverged: {error}') from error
        return FineTuneResult(adapter, trained.losses, trained.backend or self.name, train_ms,
                              trained.energy_j, trained.cycles, trained.fallback)

    def close(self) -> None:
        """Give back what the backend holds; it is not used again."""

    @abstractmethod
    def _train(self, cache: CacheMirror, job: FineTuneJob, on_epoch: OnEpoch) -> Trained:
        """Train; everything has been checked. Raises `Cancelled` or `AcceleratorError`."""

    def _cache_changed(self, cache: CacheMirror, slots: np.ndarray) -> None:
        """Take over the slots that changed, where the backend keeps its own copy."""

    def _cache_for(self, update: CacheUpdate, layout: FeatureLayout) -> CacheMirror:
        if update.base_version == 0:
            return CacheMirror(update.session, layout, update.capacity)
        held = self._cache
        if (held is None or held.session != update.session or held.layout != layout
                or held.capacity != update.capacity or held.version != update.base_version):
            have = f"'{held.session}' at version {held.version}" if held else 'no cache'
            raise CacheMismatchError(f"the update builds on '{update.session}' at version "
                                     f'{update.base_version}, this accelerator holds {have}')
        return held

    def _check_limits(self, job: FineTuneJob) -> None:
        limits = self.limits
        if beyond := limits.exceeded(job.update.capacity, job.start.layout, job.start.rank):
            what, value, most = beyond
            raise JobError(f'{self.name}: {what} must be in [1, {most}], got {value}')
        sizes, wanted = limits.batch_sizes, job.schedule.batch_size
        if sizes is not None and wanted not in sizes:
            raise JobError(f'{self.name}: batch_size must be one of {sizes}, got {wanted}')
        if job.schedule.optimizer not in limits.optimizers:
            raise JobError(f'{self.name}: optimizer must be one of {limits.optimizers}, got '
                           f"'{job.schedule.optimizer}'")


def stop_unless(on_epoch: OnEpoch, epoch: int, loss: float) -> None:
    """Report an epoch; raises `Cancelled` when the caller wants no more."""
    if not on_epoch(epoch, loss):
        raise Cancelled(f'stopped by the caller after epoch {epoch}')


def _check_update(update: CacheUpdate, layout: FeatureLayout) -> None:
    count = len(update.slots)
    for name, shape, dtype in (('slots', (count,), np.int64),
                               ('codes', (count, nf4.packed_size(layout.dim)), np.uint8),
                               ('scales', (count, len(layout.tap_sizes)), np.float32),
                               ('logits', (count, layout.classes), np.float32),
                               ('labels', (count,), np.int64)):
        array = getattr(update, name)
        if array.shape != shape or array.dtype != dtype:
            raise CacheError(f'{name} must be {np.dtype(dtype)} of shape {shape}, got '
                             f'{array.dtype} of shape {array.shape}')
    if count and not (update.slots.min() >= 0 and update.slots.max() < update.capacity):
        raise CacheError(f'slots must be in [0, {update.capacity})')
    if len(np.unique(update.slots)) != count:
        raise CacheError('a slot is named twice in one update')
    if count and not (update.labels.min() >= 0 and update.labels.max() < layout.classes):
        raise CacheError(f'labels must be in [0, {layout.classes})')
    if not (np.isfinite(update.scales).all() and (update.scales >= 0).all()):
        raise CacheError('scales must be finite and not negative')
    if not np.isfinite(update.logits).all():
        raise CacheError('logits must be finite')


def _check_order(job: FineTuneJob, cache: CacheMirror) -> None:
    order = job.order
    if order.ndim != 1 or order.dtype != np.int64 or len(order) == 0:
        raise JobError(f'order must be one or more int64 slots, got {order.dtype} of shape '
                       f'{order.shape}')
    if order.min() < 0 or order.max() >= cache.capacity:
        raise JobError(f'order must name slots in [0, {cache.capacity})')
    filled = cache.filled.copy()
    filled[job.update.slots] = True
    if not filled[order].all():
        raise JobError(f'order names slot {int(order[~filled[order]][0])}, which is empty')
