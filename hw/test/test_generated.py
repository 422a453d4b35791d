"""What hw/generate.py derives is up to date, and the RTL passes Verilator's checks."""

from __future__ import annotations

import subprocess
import sys

import pytest

from instantft_ros.accelerator import registers as hw
from instantft_ros.accelerator.rtl_model import find_verilator, rtl_files, SOURCE
from instantft_ros.core.nf4 import CODEBOOK


def test_generated_files_are_up_to_date() -> None:
    pytest.importorskip('yaml')
    done = subprocess.run([sys.executable, str(SOURCE / 'generate.py'), '--check'],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_rtl_is_lint_clean() -> None:
    done = subprocess.run([find_verilator(), '--lint-only', '-Wall', '--top-module', 'instantft',
                           *map(str, rtl_files())], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_feature_table_is_the_codebook() -> None:
    assert tuple(round(127 * float(level)) for level in CODEBOOK) == hw.FEATURE_TABLE
