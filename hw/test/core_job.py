"""Random jobs for the whole core, run in the compiled model and by the golden model."""

from __future__ import annotations

from dataclasses import dataclass
import os

import numpy as np

from instantft_ros.accelerator import memory_layout as layout
from instantft_ros.accelerator import registers as hw
from instantft_ros.accelerator.rtl_model import RtlModel
from instantft_ros.core.fixed_point import fine_tune, FixedJob

Register = hw.Register

#: Random jobs of a sweep; set higher for the long run.
SEEDS = int(os.environ.get('INSTANTFT_HW_SEEDS', '80'))

RECORDS, ORDER, START, RESULT = 0x0, 0x80_0000, 0x81_0000, 0x90_0000


@dataclass
class Shape:
    """What a random job looks like."""

    words: tuple[int, ...] = (2, 1)
    classes: int = 10
    slots: int = 6
    samples: int = 6
    epochs: int = 2
    extreme: bool = False

    @staticmethod
    def random(rng: np.random.Generator) -> Shape:
        """Draw a shape; small, as the golden model and the core are compared exactly."""
        taps = int(rng.choice([1, 2, 3, 5, 8, 16]))
        most = hw.MAX_WORDS // taps
        words = tuple(int(w) for w in rng.integers(1, min(most, 6) + 1, taps))
        slots = int(rng.integers(1, 20))
        return Shape(words, int(rng.choice([2, 3, 7, 10, 15, 16, 17, 25, 31, 32])), slots,
                     int(rng.integers(1, 25)), int(rng.integers(1, 4)), bool(rng.random() < 0.4))


def random_job(rng: np.random.Generator, shape: Shape,
               ) -> tuple[FixedJob, np.ndarray, np.ndarray]:
    """Draw data, and start weights a (RANK, words * LANES) and b (C, K, RANK)."""
    taps, width = len(shape.words), sum(shape.words) * hw.LANES
    codes = rng.integers(0, 16, (shape.slots, width)).astype(np.uint8)
    mantissas = rng.integers(0, 1 << hw.SCALE_MANTISSA, (shape.slots, taps))
    exponents = rng.integers(4, 11, (shape.slots, taps))
    logits = rng.integers(-4000, 1, (shape.slots, shape.classes))
    a = rng.normal(0, 1500, (hw.RANK, width)).clip(-32768, 32767)
    b = rng.normal(0, 2000, (shape.classes, taps, hw.RANK)).clip(-32768, 32767)
    rate = int(rng.integers(1, 1 << 28))
    if shape.extreme:
        exponents = rng.choice([0, 7, 15], exponents.shape)
        mantissas = rng.choice([0, 1, 4095, 2048], mantissas.shape)
        codes[rng.random(shape.slots) < 0.3] = rng.choice([0, 15])
        logits = rng.choice([-32768, 32767, 0, -1, 511], logits.shape)
        a = np.where(rng.random(a.shape) < 0.3, rng.choice([-32768, 32767], a.shape), a)
        b = np.where(rng.random(b.shape) < 0.3, rng.choice([-32768, 32767], b.shape), b)
        rate = int(rng.choice([0, 1, 1 << 20, 1 << 31, (1 << 32) - 1]))
    order = rng.integers(0, shape.slots, shape.samples)
    steps = shape.epochs * shape.samples
    step = int(rng.choice([0, rate // steps, min(2 * rate // steps + 1, (1 << 32) - 1)]))
    job = FixedJob(shape.words, codes,
                   (mantissas | exponents << hw.SCALE_MANTISSA).astype(np.uint16),
                   logits.astype(np.int16), rng.integers(0, shape.classes, shape.slots), order,
                   shape.epochs, rate, step)
    return job, a.astype(np.int64), b.astype(np.int64)


def configure(model: RtlModel, job: FixedJob, a: np.ndarray, b: np.ndarray,
              slots: np.ndarray | None = None) -> None:
    """Put a job's records (of these slots, all unless given), order and weights in place."""
    classes, taps = job.logits.shape[1], len(job.words)
    slots = np.arange(len(job.labels)) if slots is None else slots
    records = layout.pack_records(slots, job.codes[slots], job.scales[slots], job.logits[slots],
                                  job.labels[slots]).ravel()
    for place, data in ((RECORDS, records), (ORDER, layout.pack_order(job.order)),
                        (START, layout.pack_weights(a, b))):
        model.memory[place:place + len(data)] = data
    for register, value in (
            (Register.TAPS, taps), (Register.CLASSES, classes),
            (Register.SLOTS, len(job.labels)), (Register.RECORDS, len(slots)),
            (Register.SAMPLES, len(job.order)), (Register.EPOCHS, job.epochs),
            (Register.RATE_START, job.rate_start), (Register.RATE_STEP, job.rate_step),
            (Register.RECORD_ADDRESS, model.base + RECORDS),
            (Register.RECORD_ADDRESS_HIGH, 0),
            (Register.ORDER_ADDRESS, model.base + ORDER), (Register.ORDER_ADDRESS_HIGH, 0),
            (Register.START_ADDRESS, model.base + START), (Register.START_ADDRESS_HIGH, 0),
            (Register.RESULT_ADDRESS, model.base + RESULT), (Register.RESULT_ADDRESS_HIGH, 0),
            (Register.IRQ_ENABLE, 1),
            *((Register.TAP_WORDS + 4 * k, words) for k, words in enumerate(job.words))):
        model.write(register, value)


def start(model: RtlModel) -> None:
    """Start the configured job."""
    model.write(Register.IRQ_STATUS, 1)
    model.write(Register.CONTROL, 1 << hw.Field.CONTROL_START)


def status(model: RtlModel) -> tuple[str, int, int]:
    """Give how the last job ended, its error code and the error's detail."""
    value, error = model.read(Register.STATUS), model.read(Register.ERROR)
    for name in ('BUSY', 'DONE', 'FAILED', 'ABORTED'):
        if value >> hw.Field[f'STATUS_{name}'] & 1:
            return name.lower(), error & 0xFF, error >> 16
    return 'idle', error & 0xFF, error >> 16


def results(model: RtlModel, job: FixedJob) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read back weights a, b and losses (epochs,)."""
    words, taps = sum(job.words), len(job.words)
    data = model.memory[RESULT:RESULT + layout.weight_bytes(words, taps)]
    a, b = layout.unpack_weights(data, words, taps, job.logits.shape[1])
    losses = [model.read(Register.LOSS + 4 * epoch) for epoch in range(job.epochs)]
    return a, b, np.array(losses)


def check_equal(model: RtlModel, job: FixedJob, a: np.ndarray, b: np.ndarray,
                slots: np.ndarray | None = None, most_cycles: int = 5_000_000) -> None:
    """Run a job in the model and assert that it ends well and equals the golden model."""
    configure(model, job, a, b, slots)
    start(model)
    model.run(most_cycles)
    assert status(model) == ('done', 0, 0)
    expected = fine_tune(job, a, b)
    for name, got, wanted in zip(('a', 'b', 'losses'), results(model, job), expected):
        np.testing.assert_array_equal(got, wanted, err_msg=name)
    assert model.counts.violations == 0
