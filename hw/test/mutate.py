"""
Check the tests: put one-line faults into the RTL, one at a time; each must make them fail.

`python hw/test/mutate.py [NUMBER ...]` builds a model per fault (about a minute each) and runs
test_core.py against it. Fails when a fault survives.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from instantft_ros.accelerator.rtl_model import build, LIBRARY_VARIABLE  # noqa: E402

#: What is wrong, file, right line, wrong line.
FAULTS = [
    ('update with the wrong sign', 'lane.sv',
     "assign updated = WIDE'(weight_1)\n        - WIDE",
     "assign updated = WIDE'(weight_1)\n        + WIDE"),
    ('A wraps around instead of saturating at the top', 'lane.sv',
     "weight_2 <= {1'b0, {(A_BITS - 1) {1'b1}}};", "weight_2 <= a_t'(updated);"),
    ('updates are truncated, not rounded', 'lane.sv',
     "(change + CHANGE_BITS'(1 << (SHIFT - 1))) >>> SHIFT", 'change >>> SHIFT'),
    ("the update uses the new sample's codes", 'lanes.sv',
     '.old_code(old_codes[4*l+:4])', '.old_code(codes[4*l+:4])'),
    ('one history for all samples: the update is one sample late', 'lanes.sv',
     'assign old_codes = history[{stage_0.sample[0], stage_0.word}];',
     'assign old_codes = history[{!stage_0.sample[0], stage_0.word}];'),
    ('a word does not wait for its update', 'trainer.sv',
     '!(use_credit && credit == 0)', "1'b1"),
    ('the last update is not applied', 'trainer.sv',
     'update <= passes_begun == 2;',
     'update <= passes_begun == 2 && (samples_left || flushes == 0);'),
    ('the head does not wait for the update of B', 'head.sv',
     'assign f_go = forward_allowed && h_waiting != 0;', 'assign f_go = h_waiting != 0;'),
    ('unused classes take part in the softmax', 'softmax.sv',
     "exps[c] <= used[c] ? exponential(index_4[c]) : '0;", 'exps[c] <= exponential(index_4[c]);'),
    ('exp table index wraps around', 'softmax.sv',
     "index_4[c] <= steps > (Z_BITS+1)'(EXP_ENTRIES - 1) ? '1 : EXP_INDEX_BITS'(steps);",
     "index_4[c] <= EXP_INDEX_BITS'(steps);"),
    ('the learning rate goes below zero', 'trainer.sv',
     "rate_exact <= rate_exact > cfg.rate_step ? rate_exact - cfg.rate_step : '0;",
     'rate_exact <= rate_exact - cfg.rate_step;'),
    ('a slot beyond the cache is accepted', 'loader.sv',
     'header_slot >= cfg.slots', 'header_slot > cfg.slots'),
    ('a burst is one beat too short', 'axi_reader.sv',
     "m_axi_arlen <= 8'(burst - 1);", "m_axi_arlen <= burst > 1 ? 8'(burst - 2) : 8'd0;"),
    ('a stop takes a waiting request back', 'axi_reader.sv',
     "if (stop) remaining <= '0;", "if (stop) {remaining, m_axi_arvalid} <= '0;"),
    ('scales of two samples share a place', 'side_fetch.sv',
     'assign f_beat = scale_memory[{f_sample, f_tap[TAP_INDEX-1:PART]}];',
     "assign f_beat = scale_memory[{f_sample ^ 2'd1, f_tap[TAP_INDEX-1:PART]}];"),
]


def survives(number: int, scratch: Path) -> bool:
    """Tell whether the tests pass in spite of a fault."""
    text, name, right, wrong = FAULTS[number]
    rtl = scratch / 'rtl'
    shutil.rmtree(rtl, ignore_errors=True)
    shutil.copytree(ROOT / 'hw' / 'rtl', rtl)
    source = (rtl / name).read_text()
    if source.count(right) != 1:
        raise SystemExit(f'fault {number} ({text}): its line is in {name} '
                         f'{source.count(right)} times')
    (rtl / name).write_text(source.replace(right, wrong))
    library = build(scratch / 'lib', rtl)
    done = subprocess.run([sys.executable, '-m', 'pytest', '-q', '-x', '-p', 'no:cacheprovider',
                           str(ROOT / 'hw' / 'test' / 'test_core.py')], cwd=ROOT, text=True,
                          capture_output=True, check=False,
                          env={**os.environ, LIBRARY_VARIABLE: str(library),
                               'INSTANTFT_HW_SEEDS': '25'})
    library.unlink()
    if done.returncode not in (0, 1):  # neither passed nor failed
        raise SystemExit(f'pytest did not run:\n{done.stdout[-3000:]}{done.stderr[-1000:]}')
    lines = [line for line in done.stdout.splitlines() if line.startswith('FAILED')]
    by = lines[0].split('::')[-1].split(' - ')[0] if lines else 'nothing'
    print(f"{'SURVIVES' if done.returncode == 0 else 'caught'}: {name}: {text} (by {by})",
          flush=True)
    return done.returncode == 0


def main() -> int:
    """Try the faults; gives the number of those that survive."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('numbers', nargs='*', type=int, help='which faults; all unless given')
    numbers = parser.parse_args().numbers or list(range(len(FAULTS)))
    with tempfile.TemporaryDirectory() as scratch:
        return sum([survives(number, Path(scratch)) for number in numbers])


if __name__ == '__main__':
    sys.exit(main())
