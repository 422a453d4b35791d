"""Run the cocotb benches of hw/test/bench, one per module, on Verilator."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from instantft_ros.accelerator.rtl_model import find_verilator, FOLDER_VARIABLE, rtl_files, SOURCE

runner = pytest.importorskip('cocotb_tools.runner')
pytest.importorskip('cocotbext.axi')

TEST = Path(__file__).resolve().parent


@pytest.mark.parametrize('module', ['axi_lite_registers', 'axi_reader', 'axi_writer', 'softmax',
                                    'lane', 'instantft'])
def test_bench(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    verilator = Path(find_verilator()).parent
    monkeypatch.setenv('PATH', f"{verilator}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv('MAKEFLAGS', 'CFG_CXXFLAGS_PCH_I=-include')
    for path in (SOURCE.parent, TEST, TEST / 'bench'):  # the runner hands sys.path on
        monkeypatch.syspath_prepend(path)
    folder = Path(os.environ.get(FOLDER_VARIABLE, SOURCE.parent / 'out' / 'hw')) / 'bench' / module
    simulator = runner.get_runner('verilator')
    simulator.build(sources=rtl_files(), hdl_toplevel=module, build_dir=folder,
                    build_args=['-Wno-fatal', '--x-initial', 'unique', '-O3'])
    results = simulator.test(hdl_toplevel=module, test_module=f'bench_{module}',
                             build_dir=folder, test_dir=folder)
    tests, failed = runner.get_results(results)
    assert tests and not failed
