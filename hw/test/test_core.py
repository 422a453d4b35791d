"""The whole core, compiled, against the golden model: bit by bit, and when things go wrong."""

from __future__ import annotations

from dataclasses import replace

from core_job import (
    check_equal,
    configure,
    ORDER,
    random_job,
    RECORDS,
    RESULT,
    results,
    SEEDS,
    Shape,
    START,
    start,
    status,
)
import numpy as np
import pytest

from instantft_ros.accelerator import memory_layout
from instantft_ros.accelerator import registers as hw
from instantft_ros.accelerator.rtl_model import OKAY, RtlModel, SLVERR
from instantft_ros.core import fixed_point

ErrorCode, Register = hw.ErrorCode, hw.Register

LENET = (13, 14, 4, 2, 2)
ABORT = 1 << hw.Field.CONTROL_ABORT


def test_random_jobs_equal_the_golden_model(model: RtlModel) -> None:
    for seed in range(SEEDS):
        rng = np.random.default_rng(seed)
        model.bus(int(rng.integers(1, 100)), int(rng.choice([0, 0, 20, 60])))
        job, a, b = random_job(rng, Shape.random(rng))
        check_equal(model, job, a, b)


@pytest.mark.parametrize('shape', [
    Shape((1,), 2, 1, 1, 1), Shape((1,), 2, 1, 1, 3), Shape((1,), 32, 3, 2, 2),
    Shape((64,), 10, 3, 3, 2), Shape((4,) * 16, 32, 5, 6, 2), Shape((1,) * 16, 32, 5, 9, 2),
    Shape((1,) * 16, 16, 5, 9, 2), Shape((49, 1, 1, 1, 12), 17, 4, 5, 2),
    Shape((1, 1, 1), 10, 1024, 1024, 1), Shape((40,), 10, 1024, 30, 1),
], ids=str)
def test_shapes_at_the_limits(model: RtlModel, shape: Shape) -> None:
    for extreme in (False, True):
        job, a, b = random_job(np.random.default_rng(7), replace(shape, extreme=extreme))
        check_equal(model, job, a, b)


def test_a_long_training_saturates_like_the_golden_model(model: RtlModel) -> None:
    job, a, b = random_job(np.random.default_rng(3), Shape((3, 2), 10, 16, 64, 20))
    job = replace(job, rate_start=1 << 31, rate_step=0)
    check_equal(model, job, a, b)
    trained, _, _ = results(model, job)
    assert {-32768, 32767} <= set(trained.ravel().tolist()), 'nothing was saturated'


def test_lenet_sized_training(model: RtlModel) -> None:
    shape = Shape(LENET, 10, 64, 64, 10)
    job, a, b = random_job(np.random.default_rng(5), shape)
    a = fixed_point.to_fixed(np.random.default_rng(5).normal(0, 0.04, a.shape), 16, 14)
    check_equal(model, replace(job, rate_start=int(0.02 * 2 ** 32)), a, np.zeros_like(b))


def test_smaller_rank_leaves_the_other_rows_zero(model: RtlModel) -> None:
    job, a, b = random_job(np.random.default_rng(2), Shape((2, 3), 5, 6, 8, 3))
    a[1:], b[:, :, 1:] = 0, 0
    check_equal(model, job, a, b)
    trained_a, trained_b, _ = results(model, job)
    assert trained_a[0].any() and not trained_a[1:].any() and not trained_b[:, :, 1:].any()


def test_only_changed_slots_are_sent(model: RtlModel) -> None:
    rng = np.random.default_rng(1)
    job, a, b = random_job(rng, Shape((3, 2), 10, 20, 12, 2))
    known = replace(job, order=rng.integers(0, 11, 12))
    check_equal(model, known, a, b, slots=np.arange(11))
    check_equal(model, job, a, b, slots=np.arange(11, 20))  # appended
    other, _, _ = random_job(rng, Shape((3, 2), 10, 20, 12, 2))
    changed = np.array([17, 0, 5])
    for name in ('codes', 'scales', 'logits', 'labels'):
        getattr(job, name)[changed] = getattr(other, name)[changed]
    check_equal(model, replace(job, order=np.arange(20)), a, b, slots=changed)  # replaced
    check_equal(model, job, a, b, slots=np.arange(0))  # nothing new


BAD_REGISTERS = [
    (ErrorCode.TAPS, 0, {Register.TAPS: 0}), (ErrorCode.TAPS, 0, {Register.TAPS: 17}),
    (ErrorCode.WORDS, 1, {Register.TAP_WORDS + 4: 0}),
    (ErrorCode.WORDS, 1, {Register.TAP_WORDS: 63, Register.TAP_WORDS + 4: 2}),
    (ErrorCode.WORDS, 1, {Register.TAP_WORDS: 255, Register.TAP_WORDS + 4: 255}),
    (ErrorCode.CLASSES, 0, {Register.CLASSES: 1}), (ErrorCode.CLASSES, 0, {Register.CLASSES: 33}),
    (ErrorCode.SLOTS, 0, {Register.SLOTS: 0}), (ErrorCode.SLOTS, 0, {Register.SLOTS: 1025}),
    (ErrorCode.CAPACITY, 0, {Register.SLOTS: 1024, Register.TAP_WORDS: 40}),
    (ErrorCode.CAPACITY, 0, {Register.SLOTS: 1024, Register.TAP_WORDS: 63}),
    (ErrorCode.RECORDS, 0, {Register.RECORDS: 7}),
    (ErrorCode.SAMPLES, 0, {Register.SAMPLES: 0}),
    (ErrorCode.SAMPLES, 0, {Register.SAMPLES: 1025}),
    (ErrorCode.EPOCHS, 0, {Register.EPOCHS: 0}), (ErrorCode.EPOCHS, 0, {Register.EPOCHS: 1025}),
    (ErrorCode.ADDRESS, 0, {Register.RECORD_ADDRESS: 0x1000_0010}),
    (ErrorCode.ADDRESS, 1, {Register.ORDER_ADDRESS: 0x1000_0800}),
    (ErrorCode.ADDRESS, 2, {Register.START_ADDRESS: 0x1000_0001}),
    (ErrorCode.ADDRESS, 3, {Register.RESULT_ADDRESS: 0x1000_0100}),
    # addresses with nothing behind them are answered by the bus with an error
    (ErrorCode.READ, 0, {Register.RECORD_ADDRESS_HIGH: 0xFF}),
    (ErrorCode.READ, 0, {Register.ORDER_ADDRESS: 0x4000_0000}),
    (ErrorCode.READ, 0, {Register.START_ADDRESS_HIGH: 1}),
    (ErrorCode.WRITE, 0, {Register.RESULT_ADDRESS: 0x7FFF_F000}),
]


@pytest.mark.parametrize('code, detail, changes', BAD_REGISTERS)
def test_refuses_a_bad_configuration(model: RtlModel, code: int, detail: int,
                                     changes: dict[int, int]) -> None:
    job, a, b = random_job(np.random.default_rng(0), Shape())
    before = model.counts
    configure(model, job, a, b)
    for register, value in changes.items():
        model.write(register, value)
    start(model)
    model.run(20_000)
    assert status(model) == ('failed', code, detail)
    if code not in (ErrorCode.READ, ErrorCode.WRITE):
        assert model.counts.beats_read == before.beats_read
    if code != ErrorCode.WRITE:
        assert model.counts.beats_written == before.beats_written
    check_equal(model, job, a, b)


def test_every_error_code_is_tested() -> None:
    assert {code for code, _, _ in BAD_REGISTERS} | {
        ErrorCode.NONE, ErrorCode.RECORD_SLOT, ErrorCode.RECORD_LABEL,
        ErrorCode.ORDER_SLOT} == set(ErrorCode)


@pytest.mark.parametrize('slot, label, code', [(6, 0, ErrorCode.RECORD_SLOT),
                                               (0xFFFF, 0, ErrorCode.RECORD_SLOT),
                                               (0, 10, ErrorCode.RECORD_LABEL),
                                               (0, 0xFFFF, ErrorCode.RECORD_LABEL)])
def test_refuses_a_bad_record(model: RtlModel, slot: int, label: int, code: int) -> None:
    job, a, b = random_job(np.random.default_rng(0), Shape())
    check_equal(model, job, a, b)
    configure(model, job, a, b)
    place = RECORDS + 3 * memory_layout.record_bytes(3, 2, 10)
    model.memory[place:place + 4] = np.array([slot, label], '<u2').view(np.uint8)
    start(model)
    model.run(20_000)
    assert status(model) == ('failed', code, 3)
    check_equal(model, job, a, b, slots=np.arange(0))  # the cache is as it was


@pytest.mark.parametrize('position', [0, 7, 8, 13])
def test_refuses_an_order_that_names_a_missing_slot(model: RtlModel, position: int) -> None:
    job, a, b = random_job(np.random.default_rng(0), Shape(samples=14))
    configure(model, job, a, b)
    model.memory[ORDER + 2 * position] = 6
    start(model)
    model.run(20_000)
    assert status(model) == ('failed', ErrorCode.ORDER_SLOT, position)
    job.order[:] = job.order[::-1].copy()
    check_equal(model, job, a, b)


def test_values_behind_the_order_do_not_matter(model: RtlModel) -> None:
    job, a, b = random_job(np.random.default_rng(0), Shape(samples=5))
    configure(model, job, a, b)
    model.memory[ORDER + 10:ORDER + 16] = 0xFF
    start(model)
    model.run(20_000)
    assert status(model) == ('done', 0, 0)


@pytest.mark.parametrize('after', [0, 3, 59, 60, 61, 100])
def test_stops_at_a_read_error(model: RtlModel, after: int) -> None:
    job, a, b = random_job(np.random.default_rng(0), Shape())
    model.bus(read_errors_after=after)
    configure(model, job, a, b)
    start(model)
    model.run(20_000)
    assert status(model) == ('failed', ErrorCode.READ, 0)
    assert model.counts.beats_written == 0
    model.bus()
    check_equal(model, job, a, b)


@pytest.mark.parametrize('after', [0, 2, 6])
def test_stops_at_a_write_error(model: RtlModel, after: int) -> None:
    job, a, b = random_job(np.random.default_rng(0), Shape())
    model.bus(write_errors_after=after)
    configure(model, job, a, b)
    start(model)
    model.run(20_000)
    assert status(model) == ('failed', ErrorCode.WRITE, 0)
    model.bus()
    check_equal(model, job, a, b)


def test_writes_nothing_but_the_result(model: RtlModel) -> None:
    job, a, b = random_job(np.random.default_rng(0), Shape())
    check_equal(model, job, a, b)
    counts = model.counts
    assert counts.written_from == model.base + RESULT
    assert counts.written_to == model.base + RESULT + memory_layout.weight_bytes(3, 2)
    assert counts.beats_written * 16 == memory_layout.weight_bytes(3, 2)


def test_abort_within_1000_cycles_anywhere(model: RtlModel) -> None:
    rng = np.random.default_rng(0)
    job, a, b = random_job(rng, Shape((5, 3), 10, 40, 40, 2))
    check_equal(model, job, a, b)
    total = model.read(Register.CYCLES_TOTAL)
    for cycles in [*range(0, 40, 3), *rng.integers(0, total, 60)]:
        model.bus(int(rng.integers(1, 100)), int(rng.choice([0, 30])))
        configure(model, job, a, b)
        start(model)
        model.step(int(cycles))
        model.write(Register.CONTROL, ABORT)
        assert model.run(1000) < 1000
        how, error, _ = status(model)
        assert how in ('aborted', 'done') and error == 0
    model.bus()
    check_equal(model, job, a, b)


def test_abort_keeps_a_request_that_waits(model: RtlModel) -> None:
    """A memory that is slow to take requests must see each of them until it does."""
    job, a, b = random_job(np.random.default_rng(0), Shape((5, 3), 10, 40, 10, 1))
    for cycles in range(5, 200, 2):
        model.bus(5, 85)
        configure(model, job, a, b)
        start(model)
        model.step(cycles)
        model.write(Register.CONTROL, ABORT)
        model.run(10_000)
        assert status(model)[0] == 'aborted'
        assert model.counts.violations == 0
    model.bus()
    check_equal(model, job, a, b)


def test_abort_when_idle_changes_nothing(model: RtlModel) -> None:
    job, a, b = random_job(np.random.default_rng(0), Shape())
    model.write(Register.CONTROL, ABORT)
    assert status(model)[0] == 'idle'
    check_equal(model, job, a, b)
    model.write(Register.CONTROL, ABORT)
    assert status(model)[0] == 'done'


def test_reset_in_the_middle(model: RtlModel) -> None:
    rng = np.random.default_rng(0)
    job, a, b = random_job(rng, Shape((5, 3), 10, 30, 20, 2))
    check_equal(model, job, a, b)
    total = model.read(Register.CYCLES_TOTAL)
    for cycles in rng.integers(0, total, 25):
        configure(model, job, a, b)
        start(model)
        model.step(int(cycles))
        model.reset()
        assert status(model) == ('idle', 0, 0) and not model.irq
        assert model.read(Register.TAPS) == 0
        check_equal(model, job, a, b)


def test_registers_keep_what_was_written_and_say_no_to_the_rest(model: RtlModel) -> None:
    assert model.read(Register.ID) == 0x49465431
    widths = {Register.TAPS: 8, Register.CLASSES: 8, Register.SLOTS: 16, Register.RATE_START: 32,
              Register.RATE_STEP: 32, Register.EPOCHS: 16, Register.RECORDS: 16,
              Register.SAMPLES: 16, Register.IRQ_ENABLE: 1}
    for name in ('RECORD', 'ORDER', 'START', 'RESULT'):
        widths[Register[f'{name}_ADDRESS']] = 32
        widths[Register[f'{name}_ADDRESS_HIGH']] = 8
    widths.update({Register.TAP_WORDS + 4 * k: 8 for k in range(hw.MAX_TAPS)})
    rng = np.random.default_rng(0)
    values = {offset: int(rng.integers(0, 1 << 32)) for offset in widths}
    for offset, value in values.items():
        model.write(offset, value)
    for offset, value in values.items():
        assert model.read(offset) == value & (1 << widths[offset]) - 1
        assert model.try_write(offset, 0, strobes=0b0011) == SLVERR
        assert model.read(offset) == value & (1 << widths[offset]) - 1
    assert model.read(Register.CONTROL) == 0
    assert model.try_read(0x070)[0] == SLVERR and model.try_read(0x0C0)[0] == SLVERR
    for offset in (Register.ID, Register.STATUS, Register.CYCLES_LOAD, 0x070, 0x0C0, 0x1000):
        assert model.try_write(offset, 1) == SLVERR


def test_the_configuration_is_locked_while_busy(model: RtlModel) -> None:
    job, a, b = random_job(np.random.default_rng(0), Shape((5, 3), 10, 30, 20, 2))
    configure(model, job, a, b)
    start(model)
    model.step(50)
    assert model.try_write(Register.TAPS, 1) == SLVERR
    assert model.try_write(Register.TAP_WORDS, 1) == SLVERR
    assert model.try_write(Register.CONTROL, 1) == SLVERR
    assert model.try_write(Register.IRQ_ENABLE, 1) == OKAY
    assert model.read(Register.TAPS) == 2
    model.run(100_000)
    for got, wanted in zip(results(model, job), fixed_point.fine_tune(job, a, b)):
        np.testing.assert_array_equal(got, wanted)


def test_interrupt(model: RtlModel) -> None:
    job, a, b = random_job(np.random.default_rng(0), Shape())
    configure(model, job, a, b)
    model.write(Register.IRQ_ENABLE, 0)
    start(model)
    model.step(20_000)
    assert status(model)[0] == 'done' and not model.irq and model.read(Register.IRQ_STATUS)
    model.write(Register.IRQ_ENABLE, 1)
    model.write(Register.IRQ_STATUS, 0)
    assert model.irq
    model.write(Register.IRQ_STATUS, 1)
    assert not model.irq and model.read(Register.IRQ_STATUS) == 0


def test_progress_can_be_watched(model: RtlModel) -> None:
    job, a, b = random_job(np.random.default_rng(0), Shape((2, 2), 10, 20, 20, 5))
    expected = fixed_point.fine_tune(job, a, b)[2]
    check_equal(model, job, a, b)
    configure(model, job, a, b)
    start(model)
    assert model.read(Register.EPOCH) == 0, 'the epochs of the job before'
    seen: list[int] = []
    while not model.irq:
        epoch = model.read(Register.EPOCH)
        while len(seen) < epoch:
            seen.append(model.read(Register.LOSS + 4 * len(seen)))
        model.step(50)
    assert len(seen) > 1 and seen == expected[:len(seen)].tolist()


def test_cycles_stay_at_the_floor(model: RtlModel) -> None:
    """A pass takes as many cycles as it has words: the lanes never wait (hw/doc/theory.md)."""
    job, a, b = random_job(np.random.default_rng(0), Shape(LENET, 10, 40, 40, 2))
    check_equal(model, job, a, b)
    assert model.read(Register.CYCLES_TRAIN) <= 80 * sum(LENET) + 120
    assert model.read(Register.CYCLES_TOTAL) == sum(
        model.read(Register[f'CYCLES_{phase}']) for phase in ('LOAD', 'TRAIN', 'STORE'))


def test_start_weights_are_where_the_layout_says(model: RtlModel) -> None:
    """With a rate of zero the weights come back as they went in."""
    job, a, b = random_job(np.random.default_rng(0), Shape((3, 1), 20, 4, 4, 1))
    configure(model, replace(job, rate_start=0, rate_step=0), a, b)
    start(model)
    model.run(20_000)
    size = memory_layout.weight_bytes(4, 2)
    back_a, back_b = memory_layout.unpack_weights(model.memory[START:START + size], 4, 2, 20)
    np.testing.assert_array_equal(back_a, a)
    np.testing.assert_array_equal(back_b, b)
    np.testing.assert_array_equal(results(model, job)[0], a)
    np.testing.assert_array_equal(results(model, job)[1], b)
