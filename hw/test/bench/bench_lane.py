"""One lane: load, update and multiply, every result against plain arithmetic."""

import random

from bench_softmax import packed, unpacked
import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge
import numpy as np

from instantft_ros.accelerator import registers as hw
from instantft_ros.core.fixed_point import FEATURES, round_shift, saturate

SHIFT = hw.U_FRACTION + hw.FEATURE_FRACTION - hw.A_FRACTION


@cocotb.test()
async def updates_and_multiplies_word_after_word(dut):
    cocotb.start_soon(Clock(dut.clk, 5, 'ns').start())
    source = random.Random(1)
    dut.load.value, dut.write.value, dut.u.value = 0, 0, 0
    await ClockCycles(dut.clk, 2)
    memory = np.zeros((hw.MAX_WORDS, hw.RANK), np.int64)
    for word in range(hw.MAX_WORDS):
        for i in range(hw.RANK):
            value = source.choice((-32768, 32767, source.randrange(-32768, 32768)))
            memory[word, i] = value
            await FallingEdge(dut.clk)
            dut.load.value, dut.load_word.value, dut.load_data.value = 1 << i, word, value
    await FallingEdge(dut.clk)
    dut.load.value = 0

    # as in training: a word a cycle, written back three cycles after it was read
    edge = 1 << (hw.U_BITS - 1)
    steps = [(n % hw.MAX_WORDS, source.randrange(16), source.randrange(16),
              [source.choice((0, edge - 1, -edge, source.randrange(-edge, edge),
                              source.randrange(-5000, 5000))) for _ in range(hw.RANK)])
             for n in range(4 * hw.MAX_WORDS)]
    expected = []
    for word, old, new, u in steps:
        change = round_shift(np.array(u) * int(FEATURES[old]), SHIFT)
        memory[word] = saturate(memory[word] - change, hw.A_BITS)
        expected.append((memory[word] * int(FEATURES[new])).tolist())
    for cycle in range(len(steps) + 4):
        if cycle < len(steps):
            word, old, new, _ = steps[cycle]
            dut.read_word.value, dut.old_code.value, dut.new_code.value = word, old, new
        if 1 <= cycle <= len(steps):
            dut.u.value = packed(steps[cycle - 1][3], hw.U_BITS)
        dut.write.value = 3 <= cycle < len(steps) + 3
        if 3 <= cycle < len(steps) + 3:
            dut.write_word.value = steps[cycle - 3][0]
        if cycle >= 4:
            products = unpacked(int(dut.products.value), hw.A_BITS + hw.FEATURE_BITS, hw.RANK)
            assert products == expected[cycle - 4], f'step {cycle - 4}'
        await FallingEdge(dut.clk)
    dut.write.value = 0
    for word in range(hw.MAX_WORDS):
        dut.read_word.value = word
        await FallingEdge(dut.clk)
        assert unpacked(int(dut.weights.value), hw.A_BITS, hw.RANK) == memory[word].tolist()
