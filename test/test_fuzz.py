"""The fuzzer finds a fault that was planted; skipped where its environment was not made."""

from pathlib import Path
import subprocess

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not (ROOT / '.env/fuzz/ready').exists(), reason='make fuzz was never run')
def test_a_planted_fault_is_found():
    run = subprocess.run([ROOT / 'scripts/in_fuzz_env', 'python', ROOT / 'scripts/fuzz.py',
                          '--target', 'planted', '--seconds', '20'], capture_output=True,
                         text=True, timeout=100, check=False)
    assert run.returncode == 1, run.stdout + run.stderr
    assert 'crash-' in run.stdout
