"""The whole core on cocotbext-axi's bus models, with stalls on every channel."""

import itertools
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, First, RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam, AxiResp
from core_job import random_job, Shape
import numpy as np

from instantft_ros.accelerator import memory_layout
from instantft_ros.accelerator import registers as hw
from instantft_ros.core.fixed_point import fine_tune

Register = hw.Register
RECORDS, ORDER, START, RESULT = 0x0, 0x8000, 0x9000, 0x10000


def pauses(source: random.Random, share: float):
    """Give an endless random pattern of stalls."""
    return (source.random() < share for _ in itertools.count())


class Core:
    """The core with its bus models."""

    def __init__(self, dut, stalls: float, seed: int = 1) -> None:
        self.dut = dut
        cocotb.start_soon(Clock(dut.aclk, 5, 'ns').start())
        self.control = AxiLiteMaster(AxiLiteBus.from_prefix(dut, 's_axi'), dut.aclk, dut.aresetn,
                                     reset_active_level=False)
        self.memory = AxiRam(AxiBus.from_prefix(dut, 'm_axi'), dut.aclk, dut.aresetn,
                             reset_active_level=False, size=1 << 18)
        source = random.Random(seed)
        ram = self.memory
        if stalls:
            for channel in (ram.write_if.aw_channel, ram.write_if.w_channel,
                            ram.write_if.b_channel, ram.read_if.ar_channel,
                            ram.read_if.r_channel, self.control.write_if.aw_channel,
                            self.control.write_if.w_channel, self.control.write_if.b_channel,
                            self.control.read_if.ar_channel, self.control.read_if.r_channel):
                channel.set_pause_generator(pauses(source, stalls))

    async def reset(self) -> None:
        """Hold reset for a few cycles."""
        self.dut.aresetn.value = 0
        await ClockCycles(self.dut.aclk, 5)
        self.dut.aresetn.value = 1
        await ClockCycles(self.dut.aclk, 2)

    async def write(self, offset: int, value: int) -> None:
        """Write a register."""
        answer = await self.control.write(int(offset), int(value).to_bytes(4, 'little'))
        assert answer.resp == AxiResp.OKAY

    async def read(self, offset: int) -> int:
        """Read a register."""
        return int.from_bytes((await self.control.read(int(offset), 4)).data, 'little')

    async def start(self, job, a, b, **changes) -> None:
        """Configure and start a job."""
        count = len(job.labels)
        for place, data in (
                (RECORDS, memory_layout.pack_records(np.arange(count), job.codes, job.scales,
                                                     job.logits, job.labels).ravel()),
                (ORDER, memory_layout.pack_order(job.order)),
                (START, memory_layout.pack_weights(a, b))):
            self.memory.write(place, data.tobytes())
        values = {'TAPS': len(job.words), 'CLASSES': job.logits.shape[1], 'SLOTS': count,
                  'RECORDS': count, 'SAMPLES': len(job.order), 'EPOCHS': job.epochs,
                  'RATE_START': job.rate_start, 'RATE_STEP': job.rate_step,
                  'RECORD_ADDRESS': RECORDS, 'ORDER_ADDRESS': ORDER, 'START_ADDRESS': START,
                  'RESULT_ADDRESS': RESULT, 'IRQ_ENABLE': 1, 'IRQ_STATUS': 1, **changes}
        for name, value in values.items():
            await self.write(Register[name], value)
        for k, words in enumerate(job.words):
            await self.write(Register.TAP_WORDS + 4 * k, words)
        await self.write(Register.CONTROL, 1)

    async def end(self, most: int = 20_000) -> int:
        """Wait for the interrupt and give the status."""
        if not int(self.dut.irq.value):
            await First(RisingEdge(self.dut.irq), ClockCycles(self.dut.aclk, most))
        assert int(self.dut.irq.value), 'no interrupt'
        return await self.read(Register.STATUS)

    def result(self, job) -> tuple[np.ndarray, np.ndarray]:
        """Read the trained weights from memory."""
        words, taps = sum(job.words), len(job.words)
        data = np.frombuffer(self.memory.read(RESULT, memory_layout.weight_bytes(words, taps)),
                             np.uint8)
        return memory_layout.unpack_weights(data, words, taps, job.logits.shape[1])

    async def check(self, job, a, b) -> None:
        """Run a job and compare it with the golden model."""
        await self.start(job, a, b)
        assert await self.end() == 1 << hw.Field.STATUS_DONE
        wanted_a, wanted_b, losses = fine_tune(job, a, b)
        got_a, got_b = self.result(job)
        np.testing.assert_array_equal(got_a, wanted_a)
        np.testing.assert_array_equal(got_b, wanted_b)
        for epoch, loss in enumerate(losses):
            assert await self.read(Register.LOSS + 4 * epoch) == loss


SHAPES = [Shape((2, 1), 10, 5, 5, 2), Shape((1,), 2, 3, 4, 2), Shape((1, 2, 1), 32, 4, 4, 2),
          Shape((1,) * 16, 17, 3, 3, 1, extreme=True), Shape((3, 3), 10, 4, 6, 2, extreme=True)]


@cocotb.test()
@cocotb.parametrize(stalls=[0.0, 0.3, 0.7])
async def equals_the_golden_model(dut, stalls):
    core = Core(dut, stalls)
    await core.reset()
    for seed, shape in enumerate(SHAPES):
        await core.check(*random_job(np.random.default_rng(seed), shape))


@cocotb.test()
async def reset_and_abort_in_the_middle(dut):
    core = Core(dut, 0.2)
    await core.reset()
    job, a, b = random_job(np.random.default_rng(1), SHAPES[0])
    source = random.Random(5)
    for _ in range(6):
        await core.start(job, a, b)
        await ClockCycles(dut.aclk, source.randrange(900))
        await core.reset()
        assert await core.read(Register.STATUS) == 0
        await core.start(job, a, b)
        await ClockCycles(dut.aclk, source.randrange(900))
        await core.write(Register.CONTROL, 2)
        assert await core.end(1000) in (1 << hw.Field.STATUS_ABORTED, 1 << hw.Field.STATUS_DONE)
    await core.check(job, a, b)


@cocotb.test()
async def errors_stop_it(dut):
    core = Core(dut, 0.2)
    await core.reset()
    job, a, b = random_job(np.random.default_rng(1), SHAPES[0])
    for changes, code in (({'TAPS': 0}, hw.ErrorCode.TAPS), ({'CLASSES': 1}, hw.ErrorCode.CLASSES),
                          ({'SLOTS': 0}, hw.ErrorCode.SLOTS),
                          ({'RECORDS': 6}, hw.ErrorCode.RECORDS),
                          ({'SAMPLES': 0}, hw.ErrorCode.SAMPLES),
                          ({'EPOCHS': 0}, hw.ErrorCode.EPOCHS),
                          ({'RESULT_ADDRESS': 16}, hw.ErrorCode.ADDRESS),
                          ({'SLOTS': 1, 'RECORDS': 1}, hw.ErrorCode.ORDER_SLOT)):
        await core.start(job, a, b, **changes)
        assert await core.end() == 1 << hw.Field.STATUS_FAILED
        assert await core.read(Register.ERROR) & 0xFF == code
    await core.check(job, a, b)
