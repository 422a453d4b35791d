"""
The driver of the accelerator core. Of the board it knows only what pynq gives: registers, buffers.

`kv260` and `sim` are this driver on a real and on a simulated pynq device; it cannot tell which.
"""

from __future__ import annotations

from collections.abc import Callable
import time
from typing import Any

import numpy as np

from instantft_ros.accelerator import fixed_job, memory_layout
from instantft_ros.accelerator import registers as hw
from instantft_ros.accelerator.base import (
    Accelerator,
    CacheMirror,
    Limits,
    OnEpoch,
    stop_unless,
    Trained,
)
from instantft_ros.accelerator.job import FineTuneJob
from instantft_ros.accelerator.registers import ErrorCode, Field, Register
from instantft_ros.core import fixed_point
from instantft_ros.core.errors import AcceleratorError, Cancelled, JobError
from instantft_ros.core.features import FeatureLayout

IDENTITY = 0x49465431
REGISTER_BYTES = 0x2000

_BUSY = 1 << Field.STATUS_BUSY
_DONE = 1 << Field.STATUS_DONE
_FAILED = 1 << Field.STATUS_FAILED
_MAX_RECORD_SIDE = memory_layout.record_bytes(0, hw.MAX_TAPS, hw.MAX_CLASSES)


class PynqAccelerator(Accelerator):
    """
    The core behind a pynq device.

    device: a `pynq` Device; base_address: of the core's registers on it. A job that takes longer
    than `timeout_s` is given up. `poll_s`: pause between two looks at the status register.
    """

    limits = Limits(samples=hw.MAX_SAMPLES, dim=hw.MAX_WORDS * hw.LANES, taps=hw.MAX_TAPS,
                    classes=hw.MAX_CLASSES, rank=hw.RANK, batch_sizes=(1,),
                    optimizers=('sgd',))

    def __init__(self, device: Any, base_address: int, timeout_s: float = 10.0,
                 poll_s: float = 0.0002) -> None:
        super().__init__()
        import pynq
        self._timeout_s, self._poll_s = timeout_s, poll_s
        self._registers = pynq.MMIO(base_address, REGISTER_BYTES, device=device)
        self._check_identity()

        def buffer(size: int) -> Any:
            return pynq.allocate((size,), dtype=np.uint8, target=device)

        weights = memory_layout.weight_bytes(hw.MAX_WORDS, hw.MAX_TAPS)
        self._records = buffer(hw.CODE_WORDS * hw.LANES // 2 + hw.MAX_SAMPLES * _MAX_RECORD_SIDE)
        self._order = buffer(2 * hw.MAX_SAMPLES)
        self._start, self._result = buffer(weights), buffer(weights)
        self._held: CacheMirror | None = None
        self._logit_scale, self._class_offsets = 1.0, np.zeros(0, np.float32)
        self._stale = np.zeros(0, bool)  # slots that the device does not hold as the mirror does

    def close(self) -> None:
        """Give the buffers back."""
        for buffer in (self._records, self._order, self._start, self._result):
            buffer.freebuffer()

    def _check_limits(self, job: FineTuneJob) -> None:
        super()._check_limits(job)
        layout, schedule = job.start.layout, job.schedule
        words = sum(fixed_point.words_of(layout.tap_sizes))
        for what, value, most in (
                ('words of 64 features', words, hw.MAX_WORDS),
                ('words of all samples', words * job.update.capacity, hw.CODE_WORDS),
                ('epochs', schedule.epochs, hw.MAX_EPOCHS),
                ('the length of the order', len(job.order), hw.MAX_SAMPLES)):
            if value > most:
                raise JobError(f'{self.name}: {what} must be at most {most}, got {value}')
        if layout.classes < 2:
            raise JobError(f'{self.name}: classes must be 2 or more, got {layout.classes}')
        if schedule.learning_rate >= 1.0:
            raise JobError(f'{self.name}: learning_rate must be below 1, got '
                           f'{schedule.learning_rate}')
        scales = job.update.scales
        if scales.size and scales.max() > fixed_point.MAX_SCALE:
            raise JobError(f'{self.name}: features must be within ±{fixed_point.MAX_SCALE:.0f}, '
                           f'got {scales.max():.4g}')

    def _cache_changed(self, cache: CacheMirror, slots: np.ndarray) -> None:
        if cache is not self._held:
            self._held = cache
            self._stale = cache.filled.copy()
        self._stale[slots] = True

    def _train(self, cache: CacheMirror, job: FineTuneJob, on_epoch: OnEpoch) -> Trained:
        self._check_identity()
        if self._read(Register.STATUS) & _BUSY:
            raise AcceleratorError(f'{self.name}: the core is busy with another job')
        layout, scale = job.start.layout, job.start.logit_scale
        offsets = job.schedule.class_offsets(cache.labels[job.order], layout.classes)
        if scale != self._logit_scale or not np.array_equal(offsets, self._class_offsets):
            self._stale = cache.filled.copy()  # the device holds logits as they are trained on
            self._logit_scale, self._class_offsets = scale, offsets
        slots = np.flatnonzero(self._stale)
        self._put(self._records, _records(cache, slots, scale, offsets))
        self._put(self._order, memory_layout.pack_order(job.order))
        self._put(self._start, memory_layout.pack_weights(*fixed_job.start_weights(job)))
        self._configure(layout, job, len(slots), cache.capacity)

        # from here on, and until it has said that it is done, the device's cache is in doubt
        self._stale = cache.filled.copy()
        losses: list[float] = []
        self._write(Register.CONTROL, 1 << Field.CONTROL_START)
        try:
            status = self._wait(lambda: self._report(job, losses, on_epoch))
        except Cancelled:
            self._abort()
            raise
        if not status & _DONE:
            raise AcceleratorError(f'{self.name}: {self._failure(status)}')
        self._report(job, losses, on_epoch)
        self._stale[:] = False
        words, taps = sum(fixed_point.words_of(layout.tap_sizes)), len(layout.tap_sizes)
        size = memory_layout.weight_bytes(words, taps)
        self._result.sync_from_device()
        a, b = memory_layout.unpack_weights(np.array(self._result[:size]), words, taps,
                                            layout.classes)
        return Trained(*fixed_job.float_weights(a, b, layout, job.start.rank), tuple(losses),
                       cycles=self._read(Register.CYCLES_TOTAL))

    def cycles(self) -> dict[str, int]:
        """Give the clock cycles of the last job: load, train, store, total."""
        return {name: self._read(Register[f'CYCLES_{name.upper()}'])
                for name in ('load', 'train', 'store', 'total')}

    def _check_identity(self) -> None:
        if (found := self._read(Register.ID)) != IDENTITY:
            raise AcceleratorError(f'{self.name}: the core does not answer: its identity must '
                                   f'read {IDENTITY:#x}, got {found:#x}')
        build = self._read(Register.BUILD)
        found_shape = (build & 0xFF, build >> Field.BUILD_RANK & 0xF,
                       build >> Field.BUILD_TAPS & 0x3F, build >> Field.BUILD_CLASSES & 0x3F)
        wanted = (hw.LANES, hw.RANK, hw.MAX_TAPS, hw.MAX_CLASSES)
        if found_shape != wanted:
            raise AcceleratorError(f'{self.name}: the core was built with lanes, rank, taps, '
                                   f'classes {found_shape}, this driver is for {wanted}')

    def _configure(self, layout: FeatureLayout, job: FineTuneJob, records: int,
                   capacity: int) -> None:
        schedule = job.schedule
        rate_start, rate_step = fixed_job.rates(schedule, len(job.order))
        words = fixed_point.words_of(layout.tap_sizes)
        for register, value in (
                (Register.TAPS, len(words)), (Register.CLASSES, layout.classes),
                (Register.SLOTS, capacity), (Register.RECORDS, records),
                (Register.SAMPLES, len(job.order)), (Register.EPOCHS, schedule.epochs),
                (Register.RATE_START, rate_start), (Register.RATE_STEP, rate_step),
                *((Register.TAP_WORDS + 4 * k, count) for k, count in enumerate(words))):
            self._write(register, value)
        for register, buffer in ((Register.RECORD_ADDRESS, self._records),
                                 (Register.ORDER_ADDRESS, self._order),
                                 (Register.START_ADDRESS, self._start),
                                 (Register.RESULT_ADDRESS, self._result)):
            low, high = memory_layout.split_address(buffer.device_address)
            self._write(register, low)
            self._write(register + 4, high)

    def _wait(self, on_poll: Callable[[], None]) -> int:
        """Give the status once the core is no longer busy; `on_poll` is called meanwhile."""
        deadline = time.monotonic() + self._timeout_s
        while (status := self._read(Register.STATUS)) & _BUSY:
            if time.monotonic() > deadline:
                self._abort()
                raise AcceleratorError(f'{self.name}: not done after {self._timeout_s} s, '
                                       f'status {status:#x}')
            on_poll()
            time.sleep(self._poll_s)
        return status

    def _report(self, job: FineTuneJob, losses: list[float], on_epoch: OnEpoch) -> None:
        """Report the epochs that have ended since the last time."""
        for epoch in range(len(losses), min(self._read(Register.EPOCH), job.schedule.epochs)):
            total = self._read(Register.LOSS + 4 * epoch)
            losses.append(fixed_job.mean_loss(total, len(job.order)))
            stop_unless(on_epoch, epoch + 1, losses[-1])

    def _abort(self) -> None:
        """Stop the core and wait a moment for it; a core that hangs is left alone."""
        self._write(Register.CONTROL, 1 << Field.CONTROL_ABORT)
        deadline = time.monotonic() + 1.0
        while self._read(Register.STATUS) & _BUSY and time.monotonic() < deadline:
            time.sleep(self._poll_s)

    def _failure(self, status: int) -> str:
        if not status & _FAILED:
            return f'the job ended with status {status:#x}'
        error = self._read(Register.ERROR)
        code, detail = error & 0xFF, error >> Field.ERROR_DETAIL
        try:
            text = hw.ERROR_TEXTS[ErrorCode(code)]
        except ValueError:
            text = 'unknown error'
        return f'{text} (code {code}, detail {detail})'

    def _read(self, register: int) -> int:
        return int(self._registers.read(int(register)))

    def _write(self, register: int, value: int) -> None:
        self._registers.write(int(register), int(value))

    def _put(self, buffer: Any, data: np.ndarray) -> None:
        buffer[:data.size] = data.ravel()
        buffer.sync_to_device()


def _records(cache: CacheMirror, slots: np.ndarray, logit_scale: float,
             class_offsets: np.ndarray) -> np.ndarray:
    return memory_layout.pack_records(
        slots, fixed_job.padded_codes(cache, slots),
        fixed_point.encode_scales(cache.scales[slots]),
        fixed_point.encode_logits(logit_scale * cache.logits[slots] + class_offsets),
        cache.labels[slots])
