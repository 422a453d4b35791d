"""Softmax, its gradient and the loss against the golden model."""

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge
import numpy as np

from instantft_ros.accelerator import registers as hw
from instantft_ros.core.fixed_point import _error


def packed(values, bits: int) -> int:
    """Pack signed values, the first one lowest."""
    return sum((int(value) & (1 << bits) - 1) << bits * n for n, value in enumerate(values))


def unpacked(word: int, bits: int, count: int) -> list[int]:
    """Give back signed values."""
    values = [word >> bits * n & (1 << bits) - 1 for n in range(count)]
    return [value - (1 << bits) if value >> (bits - 1) else value for value in values]


def logits(source: random.Random, classes: int) -> list[int]:
    """Draw logits: ordinary ones, equal ones, far apart ones, extreme ones."""
    kind = source.randrange(5)
    spread = (1 << 12, 1, 1 << 16, 1 << 28, 300)[kind]
    values = [source.randrange(-spread, spread) for _ in range(classes)]
    if kind == 3:
        values[source.randrange(classes)] = (1 << 28) - 1
    return values


@cocotb.test()
async def equals_the_golden_model(dut):
    cocotb.start_soon(Clock(dut.clk, 5, 'ns').start())
    dut.z_valid.value, dut.clear.value, dut.rst_n.value = 0, 0, 0
    await ClockCycles(dut.clk, 3)
    dut.rst_n.value = 1
    source = random.Random(1)
    for _ in range(400):
        classes = source.choice((2, 3, 10, 16, 17, 31, 32))
        z, label = logits(source, classes), source.randrange(classes)
        rate = source.choice((0, 1, source.getrandbits(hw.RATE_BITS), (1 << hw.RATE_BITS) - 1,
                              round(0.02 * 2 ** hw.RATE_FRACTION)))
        unused = [source.randrange(-1 << 29, 1 << 29) for _ in range(hw.MAX_CLASSES - classes)]
        await FallingEdge(dut.clk)
        dut.classes.value, dut.rate.value, dut.label.value = classes, rate, label
        dut.z.value, dut.z_valid.value = packed(z + unused, hw.Z_BITS), 1
        await FallingEdge(dut.clk)
        dut.z_valid.value = 0
        for _ in range(30):
            if int(dut.g_valid.value):
                break
            await FallingEdge(dut.clk)
        loss = int(dut.loss.value)
        await FallingEdge(dut.clk)
        assert not int(dut.g_valid.value)
        g = unpacked(int(dut.g.value), hw.G_BITS, hw.MAX_CLASSES)
        wanted_g, wanted_loss = _error(np.array(z, np.int64), label, rate)
        assert g == wanted_g.tolist() + [0] * (hw.MAX_CLASSES - classes)
        assert loss == wanted_loss
