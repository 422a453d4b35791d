"""
Run the demo headless: each node a process of its own, over DDS on this machine's loopback.

The same nodes and configuration as `ros2 launch instantft_ros demo.launch.py`, without the launch
packages. Ends by itself after about 80 s.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

from ament_index_python.packages import get_package_prefix, get_package_share_directory

from instantft_ros.demo.world_parameters import WorldParameters

#: The demo takes so much longer than the belt runs at most, seconds; then it has failed.
MARGIN_S = 85.0

NODES = ('classifier', 'demo_operator', 'demo_camera')


def main() -> int:
    """Start the nodes, wait for the summary, stop them."""
    parser = argparse.ArgumentParser(prog='python -m instantft_ros.demo.run', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--out', type=Path, default=Path('out/demo'),
                        help='folder for the results (default: %(default)s)')
    parser.add_argument('--backend', default='cpu',
                        help='what trains the adapters: cpu, in the classifier; any other in an '
                             'accelerator node (default: %(default)s)')
    parser.add_argument('--duration', type=float, metavar='S',
                        help='seconds that the belt runs (default: as in config/demo.yaml)')
    args = parser.parse_args()
    out = args.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    (out / 'logs').mkdir(parents=True)
    environment = loopback_environment(os.environ)
    print(f"nodes in ROS_DOMAIN_ID {environment['ROS_DOMAIN_ID']}, logs in {out}/logs",
          flush=True)
    elsewhere = args.backend != 'cpu'
    settings = {'accelerator': {'backend': args.backend},
                'classifier': {'state_directory': out / 'adapters',
                               'trainer': 'accelerator' if elsewhere else 'own'},
                'demo_monitor': {'out': out, 'adapters': out / 'adapters'}}
    configs = [*(['kv260.yaml'] if args.backend in ('kv260', 'sim') else []), 'demo.yaml']
    common = {} if args.duration is None else {'world.duration_s': args.duration}
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        for name in ('accelerator', *NODES) if elsewhere else NODES:
            with (out / 'logs' / f'{name}.log').open('wb') as log:
                processes[name] = subprocess.Popen(
                    command(name, settings.get(name, {}) | common, *configs), stdout=log,
                    stderr=subprocess.STDOUT, env=environment)
        monitor = subprocess.Popen(command('demo_monitor', settings['demo_monitor'] | common,
                                           *configs),
                                   env=environment)
        processes['demo_monitor'] = monitor
        belt_s = WorldParameters().duration_s if args.duration is None else args.duration
        return wait(monitor, processes, out / 'logs', belt_s + MARGIN_S)
    finally:
        stop(processes)


def command(name: str, parameters: dict[str, object], *configs: str) -> list[str]:
    """Give the command line of one node with configurations, the later ones stronger."""
    program = Path(get_package_prefix('instantft_ros')) / 'lib' / 'instantft_ros' / name
    folder = Path(get_package_share_directory('instantft_ros')) / 'config'
    line = [str(program), '--ros-args']
    for config in configs:
        line += ['--params-file', str(folder / config)]
    for key, value in parameters.items():
        line += ['-p', f'{key}:={value}']
    return line


def loopback_environment(base: os._Environ[str]) -> dict[str, str]:
    """Keep DDS on this machine, in a domain of its own unless one was chosen."""
    profile = Path(get_package_share_directory('instantft_ros')) / 'config' / 'fastdds.xml'
    environment = {'ROS_DOMAIN_ID': str(1 + os.getpid() % 100),
                   'FASTRTPS_DEFAULT_PROFILES_FILE': str(profile), **base,
                   'PYTHONUNBUFFERED': '1'}
    if environment.get('ROS_DISTRO') == 'humble':
        environment['ROS_LOCALHOST_ONLY'] = '1'
    else:
        environment['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    return environment


def wait(monitor: subprocess.Popen[bytes], processes: dict[str, subprocess.Popen[bytes]],
         logs: Path, limit_s: float) -> int:
    """Wait for the monitor; a node that ends before it, or too long a time, is a failure."""
    deadline_s = time.monotonic() + limit_s
    while monitor.poll() is None:
        ended = [name for name, process in processes.items()
                 if process is not monitor and process.poll() is not None]
        if ended:
            print(f'\n{ended[0]} ended with code {processes[ended[0]].returncode}:\n'
                  + (logs / f'{ended[0]}.log').read_text()[-2000:], file=sys.stderr)
            return 1
        if time.monotonic() > deadline_s:
            print(f'\nthe demo did not end within {limit_s:.0f} s', file=sys.stderr)
            return 1
        time.sleep(0.1)
    return monitor.returncode


def stop(processes: dict[str, subprocess.Popen[bytes]]) -> None:
    """End the processes that were started here."""
    running = [process for process in processes.values() if process.poll() is None]
    for process in running:
        process.send_signal(signal.SIGINT)
    for process in running:
        try:
            process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


if __name__ == '__main__':
    sys.exit(main())
