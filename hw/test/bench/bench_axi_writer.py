"""The writing half of the AXI master against a memory that stalls as it likes."""

from collections import deque
import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, RisingEdge


class Memory:
    """Takes bursts and checks their length, order and stability."""

    def __init__(self, dut, stalls: float, seed: int) -> None:
        self.dut, self.stalls, self.random = dut, stalls, random.Random(seed)
        self.addresses: deque[tuple[int, int]] = deque()
        self.beats: deque[tuple[int, bool]] = deque()
        self.contents: dict[int, int] = {}
        self.responses = 0
        self.fail = False

    async def run(self) -> None:
        dut, answering, waiting = self.dut, False, None
        while True:
            await FallingEdge(dut.clk)
            dut.m_axi_awready.value = self.random.random() >= self.stalls
            dut.m_axi_wready.value = self.random.random() >= self.stalls
            if self.responses and not answering and self.random.random() >= self.stalls:
                dut.m_axi_bvalid.value, dut.m_axi_bresp.value = 1, 2 if self.fail else 0
                answering = True
            await RisingEdge(dut.clk)
            if int(dut.m_axi_awvalid.value) and int(dut.m_axi_awready.value):
                self.addresses.append((int(dut.m_axi_awaddr.value),
                                       int(dut.m_axi_awlen.value) + 1))
            valid = int(dut.m_axi_wvalid.value)
            now = (int(dut.m_axi_wdata.value), bool(dut.m_axi_wlast.value)) if valid else None
            assert waiting is None or now == waiting, 'data were changed or taken back'
            waiting = now if valid and not int(dut.m_axi_wready.value) else None
            if now is not None and waiting is None:
                self.beats.append(now)
            if answering and int(dut.m_axi_bready.value):
                answering, self.responses = False, self.responses - 1
                dut.m_axi_bvalid.value = 0
            while self.addresses and len(self.beats) >= self.addresses[0][1]:
                address, count = self.addresses.popleft()
                for n in range(count):
                    data, last = self.beats.popleft()
                    assert last == (n == count - 1)
                    self.contents[address + 16 * n] = data
                self.responses += 1


@cocotb.test()
@cocotb.parametrize(stalls=[0.0, 0.4, 0.8])
async def writes_every_burst(dut, stalls):
    cocotb.start_soon(Clock(dut.clk, 5, 'ns').start())
    for name in ('burst_valid', 'data_valid', 'm_axi_awready', 'm_axi_wready', 'm_axi_bvalid',
                 'm_axi_bresp'):
        getattr(dut, name).value = 0
    dut.rst_n.value = 0
    await ClockCycles(dut.clk, 3)
    dut.rst_n.value = 1
    memory = Memory(dut, stalls, 1)
    cocotb.start_soon(memory.run())
    wanted = {}
    for address, beats in ((0x1000, 1), (0x2000, 32), (0xFF_0000_0000, 8), (0x3000, 32)):
        await FallingEdge(dut.clk)
        dut.burst_valid.value = 1
        dut.burst_address.value, dut.burst_beats.value = address, beats
        while True:
            await RisingEdge(dut.clk)
            if int(dut.burst_ready.value):
                break
        await FallingEdge(dut.clk)
        dut.burst_valid.value = 0
        for n in range(beats):
            wanted[address + 16 * n] = memory.random.getrandbits(128)
            dut.data.value, dut.data_valid.value = wanted[address + 16 * n], 1
            while True:
                await RisingEdge(dut.clk)
                if int(dut.data_ready.value):
                    break
            await FallingEdge(dut.clk)
            dut.data_valid.value = 0
            if memory.random.random() < stalls:
                await ClockCycles(dut.clk, 3)
                await FallingEdge(dut.clk)
    for _ in range(2000):
        await FallingEdge(dut.clk)
        if int(dut.idle.value):
            break
    assert int(dut.idle.value) and memory.responses == 0
    assert memory.contents == wanted


@cocotb.test()
async def a_failed_burst_is_reported(dut):
    cocotb.start_soon(Clock(dut.clk, 5, 'ns').start())
    for name in ('burst_valid', 'data_valid', 'm_axi_bvalid', 'm_axi_bresp'):
        getattr(dut, name).value = 0
    dut.rst_n.value = 0
    await ClockCycles(dut.clk, 3)
    dut.rst_n.value = 1
    memory = Memory(dut, 0.0, 1)
    memory.fail = True
    cocotb.start_soon(memory.run())
    await FallingEdge(dut.clk)
    dut.burst_valid.value, dut.burst_address.value, dut.burst_beats.value = 1, 0x1000, 1
    dut.data_valid.value, dut.data.value = 1, 5
    await FallingEdge(dut.clk)
    dut.burst_valid.value = 0
    errors = 0
    for _ in range(40):
        await RisingEdge(dut.clk)
        errors += int(dut.error.value)
    assert errors == 1
