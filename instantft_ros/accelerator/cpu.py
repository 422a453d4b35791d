"""The CPU backend: the native kernel of native/, or NumPy where that was not built."""

from __future__ import annotations

import ctypes
from dataclasses import replace

import numpy as np

from instantft_ros.accelerator.base import Accelerator, CacheMirror, OnEpoch, StopFlag, Trained
from instantft_ros.accelerator.job import FineTuneJob
from instantft_ros.accelerator.numpy_reference import NumpyReference
from instantft_ros.core import native, nf4
from instantft_ros.core.errors import AcceleratorError, Cancelled

NOT_BUILT = ('the native trainer was not built (it needs CMake and a C++ compiler): '
             'NumPy trains instead, many times slower')


class CpuBackend(Accelerator):
    """
    The whole fine-tuning in one native call, without Python's lock.

    variant: an instruction set, empty for the best that this processor has. threads: threads of
    a mini-batch, one by default so that classification keeps its core; the result is the same
    for any number. Raises `AcceleratorError` for a variant that cannot run here.
    """

    name = 'cpu'

    def __init__(self, variant: str = '', threads: int = 1) -> None:
        super().__init__()
        self._library, self._threads = native.load(), threads
        if self._library is None:
            self.notice, self._reference = NOT_BUILT, NumpyReference()
            return
        self.variant = variant or self._library.variants[0]
        if self.variant not in self._library.variants:
            raise AcceleratorError(f'variant must be one of {self._library.variants}, got '
                                   f"'{variant}'")

    def _train(self, cache: CacheMirror, job: FineTuneJob, on_epoch: OnEpoch) -> Trained:
        if self._library is None:
            return replace(self._reference._train(cache, job, on_epoch), backend='numpy')
        layout, schedule = job.start.layout, job.schedule
        order = np.ascontiguousarray(job.order)
        rates = schedule.rates(len(order))
        offsets = schedule.class_offsets(cache.labels[order], layout.classes)
        sizes = np.array(layout.tap_sizes, np.int32)
        a, b = job.start.a.copy(), job.start.b.copy()
        losses = np.full(schedule.epochs, -1.0)
        raised: list[BaseException] = []

        def report(epoch: int, loss: float) -> int:
            try:
                return int(on_epoch(epoch, loss))
            except BaseException as error:  # C cannot pass it on
                raised.append(error)
                return 0

        watch = ({'stop': ctypes.addressof(on_epoch.value)} if isinstance(on_epoch, StopFlag) else
                 {'on_epoch': native.ON_EPOCH(report)})

        status = self._library.train(native.job_of(
            a, b, sizes, cache.codes, cache.scales, cache.logits, nf4.CODEBOOK, order,
            labels=cache.labels.ctypes.data, epochs=schedule.epochs,
            batch_size=schedule.batch_size, optimizer=native.OPTIMIZERS[schedule.optimizer],
            rates=rates.ctypes.data, beta1=schedule.beta1, beta2=schedule.beta2,
            epsilon=schedule.epsilon, weight_decay=schedule.weight_decay,
            logit_scale=job.start.logit_scale, class_offsets=offsets.ctypes.data,
            threads=self._threads, losses=losses.ctypes.data, **watch), self.variant)
        if raised:
            raise raised[0]
        if status == native.CANCELLED:
            raise Cancelled(f'stopped by the caller after epoch {int((losses != -1.0).sum())}')
        if status != native.OK:
            raise AcceleratorError('there is not enough memory for this job'
                                   if status == native.NO_MEMORY else
                                   f"the processor cannot run variant '{self.variant}'")
        return Trained(a, b, tuple(losses.tolist()))
