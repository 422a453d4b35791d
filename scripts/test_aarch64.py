#!/usr/bin/env python3
"""
Run the core's tests on AArch64, emulated: the NEON kernel, NF4, adapters, cache, backends.

`make test-aarch64`, on a Debian or Ubuntu machine of any architecture; about five minutes. Needs
root for the first step only:

1. `apt-get install qemu-user g++-aarch64-linux-gnu cmake`: the emulator and a cross compiler.
2. Debian's Python for arm64 with what it depends on, unpacked into .env/aarch64/root (this
   machine's own packages stay as they are), and arm64 wheels of NumPy, OpenCV and pytest.
3. native/ compiled for AArch64.
4. The tests, by `qemu-aarch64 python -m pytest`. Emulation says nothing about speed.
"""

from __future__ import annotations

import os
from pathlib import Path
import shutil
import subprocess
import sys

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / '.env' / 'aarch64'
SYSROOT, WHEELS, BUILD = FOLDER / 'root', FOLDER / 'wheels', FOLDER / 'build'

COMMANDS = {'qemu-aarch64': 'qemu-user', 'aarch64-linux-gnu-g++': 'g++-aarch64-linux-gnu',
            'cmake': 'cmake'}
PACKAGES = ('python3', 'libstdc++6', 'libgomp1')
REQUIREMENTS = ('numpy==1.26.4', 'opencv-python-headless==4.11.0.86', 'pytest==8.4.2',
                'hypothesis==6.148.7')
TESTS = ('test/core', 'test/accelerator/test_cpu.py', 'test/accelerator/test_contract.py',
         'test/adaptation', 'test/test_pipeline.py')


def main() -> int:
    """Set up what is missing and run the tests; pytest's exit code."""
    missing = [package for command, package in COMMANDS.items() if shutil.which(command) is None]
    if missing:
        if os.geteuid() != 0:
            print(f'missing: sudo apt-get install {" ".join(missing)}', file=sys.stderr)
            return 1
        run('apt-get', 'update', '-q')
        run('apt-get', 'install', '-q', '-y', '--no-install-recommends', *missing)
    if not (FOLDER / 'ready').exists():
        shutil.rmtree(FOLDER, ignore_errors=True)
        unpack_debian_packages()
        unpack_wheels()
        (FOLDER / 'ready').touch()
    run('cmake', '-S', str(ROOT / 'native'), '-B', str(BUILD), '-DCMAKE_SYSTEM_NAME=Linux',
        '-DCMAKE_SYSTEM_PROCESSOR=aarch64', '-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++',
        f'-DCMAKE_INSTALL_PREFIX={FOLDER / "package" / "instantft_ros"}')
    run('cmake', '--build', str(BUILD), '--target', 'install')
    python = next((SYSROOT / 'usr' / 'bin').glob('python3.[0-9]*'))
    environment = {'PATH': os.environ['PATH'], 'HOME': str(FOLDER),
                   'PYTHONHOME': str(SYSROOT / 'usr'),
                   'PYTHONPATH': f'{ROOT}:{FOLDER / "package"}:{WHEELS}',
                   'OPENBLAS_NUM_THREADS': '1', 'PYTHONDONTWRITEBYTECODE': '1'}
    return subprocess.run(
        ['qemu-aarch64', '-L', str(SYSROOT), str(python), '-m', 'pytest', '-o', 'addopts=',
         '-p', 'no:cacheprovider', '--import-mode=importlib', '-q', *TESTS],
        cwd=ROOT, env=environment, check=False).returncode


def unpack_debian_packages() -> None:
    """Download arm64 packages with all that they depend on, and unpack them; no root needed."""
    state = FOLDER / 'apt'
    for folder in ('lists/partial', 'archives/partial'):
        (state / folder).mkdir(parents=True)
    (state / 'status').touch()
    options = [each for key, value in {
        'APT::Architecture': 'arm64', 'APT::Architectures': 'arm64',
        'Dir::State::lists': state / 'lists', 'Dir::State::status': state / 'status',
        'Dir::Cache::archives': state / 'archives', 'Dir::Cache::pkgcache': '',
        'Dir::Cache::srcpkgcache': '', 'Debug::NoLocking': 'true',
        'APT::Sandbox::User': 'root'}.items() for each in ('-o', f'{key}={value}')]
    run('apt-get', *options, 'update', '-q')
    run('apt-get', *options, 'install', '-q', '-y', '--no-install-recommends', '--download-only',
        *PACKAGES)
    SYSROOT.mkdir()
    for package in sorted((state / 'archives').glob('*.deb')):
        run('dpkg-deb', '-x', str(package), str(SYSROOT))
    shutil.rmtree(state)


def unpack_wheels() -> None:
    """Fetch arm64 wheels for that Python; they are used from their folder, not installed."""
    python = next((SYSROOT / 'usr' / 'bin').glob('python3.[0-9]*'))
    run(sys.executable, '-m', 'pip', 'install', '--quiet', '--target', str(WHEELS),
        '--platform', 'manylinux2014_aarch64', '--platform', 'manylinux_2_28_aarch64',
        '--platform', 'manylinux_2_17_aarch64', '--implementation', 'cp', '--python-version',
        python.name.removeprefix('python'), '--only-binary=:all:', *REQUIREMENTS)


def run(*command: str) -> None:
    """Run a command; its failure ends this script."""
    print('+', ' '.join(command), flush=True)
    subprocess.run(command, check=True)


if __name__ == '__main__':
    sys.exit(main())
