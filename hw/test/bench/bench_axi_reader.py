"""The reading half of the AXI master against a memory that stalls as it likes."""

from collections import deque
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge

from instantft_ros.accelerator import registers as hw


class Memory:
    """Answers bursts in order; a beat's data is its address. Checks the protocol."""

    def __init__(self, dut, stalls: float, seed: int) -> None:
        self.dut, self.stalls, self.random = dut, stalls, random.Random(seed)
        self.bursts: deque[list[int]] = deque()
        self.most_outstanding = 0
        self.fail_at: int | None = None
        self.requested: list[tuple[int, int]] = []

    async def run(self) -> None:
        dut, waiting = self.dut, None
        while True:
            await FallingEdge(dut.clk)
            dut.m_axi_arready.value = self.random.random() >= self.stalls
            if not self.held and self.bursts and self.random.random() >= self.stalls:
                address, left = self.bursts[0]
                dut.m_axi_rvalid.value = 1
                dut.m_axi_rdata.value = address
                dut.m_axi_rlast.value = left == 1
                dut.m_axi_rresp.value = 2 if address == self.fail_at else 0
                self.held = True
            await RisingEdge(dut.clk)
            valid, ready = int(dut.m_axi_arvalid.value), int(dut.m_axi_arready.value)
            now = (int(dut.m_axi_araddr.value), int(dut.m_axi_arlen.value)) if valid else None
            assert waiting is None or now == waiting, 'a request was changed or taken back'
            waiting = now if valid and not ready else None
            if valid and ready:
                assert now is not None
                address, beats = now[0], now[1] + 1
                assert address // 4096 == (address + 16 * beats - 1) // 4096
                assert beats <= hw.BURST
                self.requested.append((address, beats))
                self.bursts.append([address, beats])
                self.most_outstanding = max(self.most_outstanding, len(self.bursts))
            if self.held and int(dut.m_axi_rready.value):
                self.held = False
                self.bursts[0][0] += 16
                self.bursts[0][1] -= 1
                if self.bursts[0][1] == 0:
                    self.bursts.popleft()
                dut.m_axi_rvalid.value = 0

    held = False


async def begin(dut, stalls: float, seed: int) -> Memory:
    """Reset the module and attach the memory."""
    cocotb.start_soon(Clock(dut.clk, 5, 'ns').start())
    for name in ('start', 'stop', 'm_axi_arready', 'm_axi_rvalid', 'm_axi_rlast', 'm_axi_rresp'):
        getattr(dut, name).value = 0
    dut.rst_n.value = 0
    await ClockCycles(dut.clk, 3)
    dut.rst_n.value = 1
    memory = Memory(dut, stalls, seed)
    cocotb.start_soon(memory.run())
    return memory


async def read(dut, address: int, beats: int, stop_after: int | None = None) -> list[int]:
    """Read a region and give the beats; they must be the addresses."""
    await FallingEdge(dut.clk)
    dut.start.value, dut.start_address.value, dut.start_beats.value = 1, address, beats
    await FallingEdge(dut.clk)
    dut.start.value = 0
    got: list[int] = []
    for cycle in range(20_000):
        await RisingEdge(dut.clk)
        if int(dut.valid.value):
            got.append(int(dut.data.value))
        await FallingEdge(dut.clk)
        dut.stop.value = stop_after is not None and cycle >= stop_after
        if int(dut.idle.value) and cycle > 2:
            dut.stop.value = 0
            return got
    raise AssertionError('the reader hangs')


@cocotb.test()
@cocotb.parametrize(stalls=[0.0, 0.3, 0.7, 0.9])
async def reads_every_beat_once_and_in_order(dut, stalls):
    memory = await begin(dut, stalls, 1)
    for beats in (1, 2, hw.BURST - 1, hw.BURST, hw.BURST + 1, 5 * hw.BURST + 3):
        address = 0x10_0000_0000 + 4096 * memory.random.randrange(1000)
        assert await read(dut, address, beats) == [address + 16 * n for n in range(beats)]
    assert memory.most_outstanding <= hw.OUTSTANDING


@cocotb.test()
async def a_stop_drains_what_was_requested(dut):
    memory = await begin(dut, 0.5, 9)
    for stop_after in (0, 1, 5, 20, 60, 200):
        memory.requested.clear()
        got = await read(dut, 0x8000_0000, 1000, stop_after)
        requested = sum(beats for _, beats in memory.requested)
        assert len(got) <= requested <= stop_after + (hw.OUTSTANDING + 1) * hw.BURST
        assert not memory.bursts, 'idle although beats are on their way'
    assert await read(dut, 0x8000_0000, 40) == [0x8000_0000 + 16 * n for n in range(40)]


@cocotb.test()
async def an_error_is_reported(dut):
    memory = await begin(dut, 0.2, 3)
    memory.fail_at = 0x8000_0000 + 16 * 21
    errors = 0

    async def count():
        nonlocal errors
        while True:
            await RisingEdge(dut.clk)
            errors += int(dut.error.value)

    cocotb.start_soon(count())
    await read(dut, 0x8000_0000, 21)
    assert errors == 0
    await read(dut, 0x8000_0000, 70)
    assert errors == 1
