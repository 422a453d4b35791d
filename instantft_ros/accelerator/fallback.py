"""An accelerator with a reserve that steps in when it fails."""

from __future__ import annotations

from dataclasses import replace
import time

import numpy as np

from instantft_ros.accelerator.base import Accelerator, CacheMirror, OnEpoch, Trained
from instantft_ros.accelerator.job import FineTuneJob
from instantft_ros.core.adapter import Adapter, cross_entropy
from instantft_ros.core.errors import AcceleratorError, AdapterError
from instantft_ros.core.scoring import adapted_logits

#: A failed accelerator is left alone for this long, seconds: a hang costs its timeout each time.
RETRY_S = 30.0

#: A loss that rose by more than this over the training is a wrong answer, nats.
LOSS_TOLERANCE = 0.5

#: Samples on which an answer is checked, at most.
CHECKED_SAMPLES = 128


class WithFallback(Accelerator):
    """
    Trains on `primary`, and on `reserve` whenever that fails, hangs or answers nonsense.

    Each time the result says which backend did the work and why. An answer is nonsense when it
    holds NaN or infinity, or when the loss on cached samples is higher than before.
    """

    def __init__(self, primary: Accelerator, reserve: Accelerator) -> None:
        super().__init__()
        self.name, self.limits, self.notice = primary.name, primary.limits, primary.notice
        self._primary, self._reserve = primary, reserve
        self._problem, self._retry_at_s = '', float('-inf')

    def close(self) -> None:
        """Close both."""
        self._primary.close()
        self._reserve.close()

    def _check_limits(self, job: FineTuneJob) -> None:
        self._primary._check_limits(job)

    def _cache_changed(self, cache: CacheMirror, slots: np.ndarray) -> None:
        self._primary._cache_changed(cache, slots)
        self._reserve._cache_changed(cache, slots)

    def _train(self, cache: CacheMirror, job: FineTuneJob, on_epoch: OnEpoch) -> Trained:
        if time.monotonic() >= self._retry_at_s:
            try:
                trained = self._primary._train(cache, job, on_epoch)
                _check_answer(cache, job, trained)
                return trained
            except (AcceleratorError, OSError) as error:
                self._problem = str(error)
                self._retry_at_s = time.monotonic() + RETRY_S
        trained = self._reserve._train(cache, job, on_epoch)
        return replace(trained, backend=self._reserve.name, fallback=(
            f"backend '{self._reserve.name}' stepped in for '{self._primary.name}': "
            f'{self._problem}'))


def _check_answer(cache: CacheMirror, job: FineTuneJob, trained: Trained) -> None:
    slots = job.order[:CHECKED_SAMPLES]
    before = _loss(cache, slots, job.start)
    try:
        after = _loss(cache, slots, replace(job.start, a=trained.a, b=trained.b))
    except AdapterError as error:
        raise AcceleratorError(f'wrong answer: {error}') from error
    if not after <= before + LOSS_TOLERANCE:
        raise AcceleratorError(f'wrong answer: the loss went from {before:.3f} to {after:.3f}')


def _loss(cache: CacheMirror, slots: np.ndarray, adapter: Adapter) -> float:
    z = adapted_logits(adapter, cache.codes, cache.scales, cache.logits, slots)
    with np.errstate(all='ignore'):
        return float(cross_entropy(z, cache.labels[slots]).mean())
