"""Register file on AXI4-Lite: random traffic with stalls on every channel."""

import itertools
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from instantft_ros.accelerator import registers as hw

Register = hw.Register
WIDTHS = {Register.TAPS: 8, Register.CLASSES: 8, Register.SLOTS: 16, Register.RECORDS: 16,
          Register.SAMPLES: 16, Register.EPOCHS: 16, Register.RATE_START: 32,
          Register.RATE_STEP: 32, Register.RECORD_ADDRESS: 32, Register.RESULT_ADDRESS_HIGH: 8,
          Register.TAP_WORDS: 8, Register.TAP_WORDS + 60: 8}
INPUTS = ('phase', 'busy', 'done', 'failed', 'aborted', 'ended', 'error', 'error_detail', 'epoch',
          'cycles_load', 'cycles_train', 'cycles_store', 'cycles_total', 'loss_write', 'loss_sum')


def pauses(seed: int):
    """Give an endless random pattern of stalls."""
    source = random.Random(seed)
    return (source.random() < 0.5 for _ in itertools.count())


async def begin(dut, stalls: bool = True) -> AxiLiteMaster:
    """Reset the module and attach a master."""
    cocotb.start_soon(Clock(dut.clk, 5, 'ns').start())
    for name in INPUTS:
        getattr(dut, name).value = 0
    master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, 's_axi'), dut.clk, dut.rst_n,
                           reset_active_level=False)
    if stalls:
        for seed, channel in enumerate((master.write_if.aw_channel, master.write_if.w_channel,
                                        master.write_if.b_channel, master.read_if.ar_channel,
                                        master.read_if.r_channel)):
            channel.set_pause_generator(pauses(seed))
    dut.rst_n.value = 0
    await ClockCycles(dut.clk, 4)
    dut.rst_n.value = 1
    await ClockCycles(dut.clk, 2)
    return master


async def write(master: AxiLiteMaster, offset: int, value: int) -> AxiResp:
    """Write a register."""
    return (await master.write(int(offset), value.to_bytes(4, 'little'))).resp


async def read(master: AxiLiteMaster, offset: int) -> tuple[AxiResp, int]:
    """Read a register."""
    answer = await master.read(int(offset), 4)
    return answer.resp, int.from_bytes(answer.data, 'little')


@cocotb.test()
async def holds_values_under_random_traffic(dut):
    master = await begin(dut)
    source = random.Random(1)
    held = dict.fromkeys(WIDTHS, 0)
    for _ in range(150):
        offset = source.choice(list(WIDTHS))
        if source.random() < 0.5:
            value = source.getrandbits(32)
            assert await write(master, offset, value) == AxiResp.OKAY
            held[offset] = value & (1 << WIDTHS[offset]) - 1
        assert await read(master, offset) == (AxiResp.OKAY, held[offset])


@cocotb.test()
async def start_and_abort_are_pulses(dut):
    master = await begin(dut)
    counts = {'start': 0, 'abort': 0}

    async def count():
        while True:
            await RisingEdge(dut.clk)
            for name in counts:
                counts[name] += int(getattr(dut, name).value)

    cocotb.start_soon(count())
    assert await write(master, Register.CONTROL, 1) == AxiResp.OKAY
    assert await write(master, Register.CONTROL, 2) == AxiResp.OKAY
    assert await write(master, Register.CONTROL, 0) == AxiResp.OKAY
    dut.busy.value = 1
    assert await write(master, Register.CONTROL, 1) == AxiResp.SLVERR
    assert await write(master, Register.CONTROL, 2) == AxiResp.OKAY
    assert await write(master, Register.TAPS, 3) == AxiResp.SLVERR
    await ClockCycles(dut.clk, 3)
    assert counts == {'start': 1, 'abort': 2}
    assert (await read(master, Register.TAPS))[1] == 0


@cocotb.test()
async def losses_are_kept_per_epoch(dut):
    master = await begin(dut)
    source = random.Random(2)
    losses = {epoch: source.getrandbits(32) for epoch in (0, 1, 2, 500, 1023)}
    for epoch, loss in losses.items():
        dut.epoch.value, dut.loss_sum.value, dut.loss_write.value = epoch, loss, 1
        await RisingEdge(dut.clk)
    dut.loss_write.value = 0
    for epoch, loss in losses.items():
        assert await read(master, Register.LOSS + 4 * epoch) == (AxiResp.OKAY, loss)


@cocotb.test()
async def status_and_interrupt(dut):
    master = await begin(dut)
    dut.phase.value, dut.failed.value = 5, 1
    dut.error.value, dut.error_detail.value = int(hw.ErrorCode.ORDER_SLOT), 0x1234
    assert (await read(master, Register.STATUS))[1] == 5 << 4 | 1 << 2
    assert (await read(master, Register.ERROR))[1] == 0x12340000 | hw.ErrorCode.ORDER_SLOT
    await write(master, Register.IRQ_ENABLE, 1)
    assert not dut.irq.value
    dut.ended.value = 1
    await RisingEdge(dut.clk)
    dut.ended.value = 0
    await ClockCycles(dut.clk, 2)
    assert dut.irq.value
    await write(master, Register.IRQ_STATUS, 0)
    assert dut.irq.value
    await write(master, Register.IRQ_STATUS, 1)
    await ClockCycles(dut.clk, 2)
    assert not dut.irq.value
    assert (await read(master, 0x070))[0] == AxiResp.SLVERR
