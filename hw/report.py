"""
Synthesize the accelerator for the K26 with Yosys, time the standard job, and report both.

`python hw/report.py` writes out/hw/report.json and prints it as a table. It fails when a latch, a
net with several drivers or a combinational loop is found, when a memory is not in the RAM that it
is meant for, when the job takes more than 3.6 ms, or when a resource is used by more than 70 %.

Yosys' figures are not Vivado's: it packs no registers into the DSP48E2 (so flip-flops and carry
chains come out too high) and splits memories in its own way. Nothing here says anything about
timing closure.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
import re
import subprocess
import sys
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402

from instantft_ros.accelerator import memory_layout  # noqa: E402
from instantft_ros.accelerator import registers as hw  # noqa: E402
from instantft_ros.accelerator.job import FineTuneJob, Schedule  # noqa: E402
from instantft_ros.accelerator.rtl_model import rtl_files  # noqa: E402
from instantft_ros.accelerator.sim import SimBackend  # noqa: E402
from instantft_ros.core import fixed_point, nf4  # noqa: E402
from instantft_ros.core.adapter import Adapter  # noqa: E402
from instantft_ros.core.features import FeatureLayout  # noqa: E402
from instantft_ros.core.forward_cache import CacheUpdate  # noqa: E402

#: What the K26's XCK26 has.
K26 = {'LUT': 117_120, 'FF': 234_240, 'DSP48E2': 1_248, 'RAMB36': 144, 'URAM288': 64}
MOST_SHARE = 0.70
MOST_MS = 3.6
CLOCK_MHZ = 200

#: The RAM that each memory of the RTL is meant for, by module and name.
MEMORIES = {
    'code_memory memory': 'URAM', 'side_memory memory': 'BLOCKRAM',
    'axi_lite_registers losses': 'BLOCKRAM', 'order_memory memory': 'LUTRAM',
    'lane memory': 'LUTRAM', 'lanes history': 'LUTRAM', 'lanes u_memory': 'LUTRAM',
    'head memory': 'LUTRAM', 'head h_memory': 'LUTRAM', 'side_fetch memory': 'LUTRAM',
    'side_fetch scale_memory': 'LUTRAM'}

#: LUTs that a primitive takes.
LUTS = {'LUT1': 1, 'LUT2': 1, 'LUT3': 1, 'LUT4': 1, 'LUT5': 1, 'LUT6': 1, 'INV': 0, 'SRL16E': 1,
        'SRLC32E': 1, 'RAM32M': 4, 'RAM64M': 4, 'RAM32M16': 8, 'RAM64M8': 8, 'RAM32X1D': 2,
        'RAM64X1D': 2, 'RAM128X1D': 4}
FLIP_FLOPS = ('FDRE', 'FDSE', 'FDCE', 'FDPE')
LATCHES = ('LDCE', 'LDPE', '$_DLATCH_P_', '$_DLATCH_N_')

LENET = (784, 864, 256, 120, 84)
SAMPLES, CLASSES, EPOCHS = 1024, 10, 10

_SYNTHESIS = """
import sys
from pyosys import libyosys as ys
design, log = ys.Design(), sys.argv[1]
def run(command):
    ys.run_pass(command, design)
run('read_slang --keep-hierarchy --top instantft ' + ' '.join(sys.argv[3:]))
# the lanes are equal, but the front end makes a module of each: synthesize one for all
lanes = [str(name) for name in design.modules_.keys() if str(name).startswith(chr(92) + 'lane$')]
run('chtype -set ' + lanes[0] + ' t:lane$*')
run('hierarchy -check -top instantft')
run('check -assert')
run('synth_xilinx -family xcup -top instantft -noiopad')
run('check -mapped -assert')
run('tee -q -o ' + sys.argv[2] + ' stat -json -tech xilinx')
"""


def synthesize(folder: Path) -> tuple[dict[str, int], str]:
    """Give the cells of the synthesized design by type, and Yosys' log."""
    folder.mkdir(parents=True, exist_ok=True)
    log, stat = folder / 'synthesis.log', folder / 'synthesis.json'
    with log.open('w') as stream:
        done = subprocess.run([sys.executable, '-c', _SYNTHESIS, str(log), str(stat),
                               *map(str, rtl_files())], stdout=stream, stderr=subprocess.STDOUT,
                              check=False)
    if done.returncode:
        raise SystemExit(f'Yosys failed, see {log}:\n{log.read_text()[-2000:]}')
    return json.loads(stat.read_text())['design']['num_cells_by_type'], log.read_text()


def count(cells: dict[str, int]) -> dict[str, dict[str, float]]:
    """Sum primitives to the K26's resources."""
    used: dict[str, float] = {
        'LUT': sum(LUTS.get(name, 0) * number for name, number in cells.items()),
        'FF': sum(cells.get(name, 0) for name in FLIP_FLOPS),
        'DSP48E2': cells.get('DSP48E2', 0),
        'RAMB36': cells.get('RAMB36E2', 0) + cells.get('RAMB18E2', 0) / 2,
        'URAM288': cells.get('URAM288', 0)}
    return {name: {'used': number, 'share': round(number / K26[name], 4)}
            for name, number in used.items()}


def memories(log: str) -> dict[str, set[str]]:
    """Give the kinds of RAM that Yosys chose for each memory, by module and name."""
    found: dict[str, set[str]] = {}
    mapped = re.findall(r'mapping memory (\w+)\S*?\.(\S+) via \$__XILINX_([A-Z]+)', log)
    unmapped = re.findall(r'using FF mapping for memory (\w+)\S*?\.(\S+)', log)
    for module, path, kind in (*mapped, *((*name, 'FF') for name in unmapped)):
        if '$auto$' not in path:  # tables, which may be anywhere
            found.setdefault(f"{module} {path.split('.')[-1]}", set()).add(kind)
    return found


def standard_job() -> FineTuneJob:
    """Give LeNet-5's job with made-up features; cycles do not depend on values."""
    layout, rng = FeatureLayout(LENET, CLASSES), np.random.default_rng(0)
    codes, scales = nf4.quantize(np.maximum(rng.normal(size=(SAMPLES, layout.dim)), 0), LENET)
    update = CacheUpdate('report', 0, 1, SAMPLES, np.arange(SAMPLES), codes, scales,
                         rng.normal(size=(SAMPLES, CLASSES)).astype(np.float32),
                         rng.integers(0, CLASSES, SAMPLES))
    return FineTuneJob(update, Adapter.initial(layout, '0' * 64, hw.RANK), np.arange(SAMPLES),
                       Schedule(EPOCHS, learning_rate=0.01))


def main() -> int:
    """Write the report; gives 1 when a limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--folder', type=Path, default=ROOT / 'out' / 'hw')
    folder = parser.parse_args().folder
    problems = []

    backend = SimBackend()
    backend.fine_tune(standard_job())
    cycles = backend.cycles()
    ms = cycles['total'] / (1e3 * CLOCK_MHZ)
    words = sum(fixed_point.words_of(LENET))
    cells, log = synthesize(folder)
    resources = count(cells)

    if ms > MOST_MS:
        problems.append(f'the job takes {ms:.2f} ms, at most {MOST_MS} are allowed')
    problems += [f"{name}: {entry['share']:.0%} used, at most {MOST_SHARE:.0%} are allowed"
                 for name, entry in resources.items() if entry['share'] > MOST_SHARE]
    problems += [f'{cells[name]} latches {name}' for name in LATCHES if cells.get(name)]
    found = memories(log)
    problems += [f"memory '{name}' is in {', '.join(sorted(found.get(name, {'nothing'})))}, "
                 f'meant for {kind}'
                 for name, kind in MEMORIES.items() if found.get(name) != {kind}]
    problems += [f"memory '{name}' is not expected: add it to MEMORIES"
                 for name in found if name not in MEMORIES]

    report: dict[str, Any] = {
        'resources': resources, 'cycles': cycles, 'ms_at_200mhz': round(ms, 4),
        'job': {'samples': SAMPLES, 'D': sum(LENET), 'rank': hw.RANK, 'classes': CLASSES,
                'epochs': EPOCHS},
        'cache_bytes': SAMPLES * memory_layout.record_bytes(words, len(LENET), CLASSES),
        'floor_cycles': words * SAMPLES * EPOCHS, 'problems': problems}
    (folder / 'report.json').write_text(json.dumps(report, indent=2) + '\n')

    print(f'{"resource":10} {"used":>8} {"of":>8} {"share":>7}')
    for name, entry in resources.items():
        print(f"{name:10} {entry['used']:8,.0f} {K26[name]:8,} {entry['share']:7.1%}")
    print(f"\n{'cycles':10} " + ', '.join(f'{name} {number:,}' for name, number in cycles.items())
          + f'; {ms:.2f} ms at {CLOCK_MHZ} MHz (simulated; timing not verified)')
    print(f"{'job':10} " + ', '.join(f'{name} {value:,}' for name, value in report['job'].items())
          + f"; cache {report['cache_bytes']:,} bytes; floor {report['floor_cycles']:,} cycles")
    for problem in problems:
        print(f'PROBLEM: {problem}', file=sys.stderr)
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
