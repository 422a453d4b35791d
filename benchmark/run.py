"""
Run the whole benchmark, or the quick one, and write tables and plots.

`make bench` (about half an hour on two cores) or `make bench-quick` (3 to 4 minutes). What was
computed already is kept until the sources that it depends on change, or until `--again SECTION`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
import os
from pathlib import Path
import platform
import subprocess
import sys
import time

from ament_index_python.packages import get_package_share_directory

from benchmark import report
from benchmark.cells import Cells, ROOT, source_digest

BENCH_ENV = str(ROOT / 'scripts' / 'in_bench_env')

#: Sections in their order, the most exact ones first, while the machine is quiet; minutes.
SECTIONS = {'speed': 3.0, 'cycles': 0.5, 'stages': 0.2, 'end_to_end': 9.0, 'accuracy': 60.0}
QUICK = {'speed': 0.7, 'cycles': 0.5, 'stages': 0.2, 'end_to_end': 1.2, 'accuracy': 1.5}

#: What a section depends on beside the package and its own module.
SOURCES = {'speed': ('benchmark/baselines.py', 'benchmark/data.py', 'benchmark/jobs.py'),
           'cycles': ('benchmark/jobs.py', 'hw'),
           'end_to_end': ('benchmark/other_work.py', 'test/nodes/harness.py'),
           'accuracy': ('benchmark/baselines.py', 'benchmark/data.py', 'benchmark/instantft.py')}


def main() -> int:
    """Run what is missing; an exit code."""
    parser = argparse.ArgumentParser(prog='python -m benchmark.run', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--quick', action='store_true', help='a small one, in 3 to 4 minutes')
    parser.add_argument('--out', type=Path, help='folder (default: out/bench, or -quick)')
    parser.add_argument('--again', action='append', default=[], choices=tuple(SECTIONS),
                        help='a section to run although it is there')
    args = parser.parse_args()
    out = (args.out or ROOT / 'out' / ('bench-quick' if args.quick else 'bench')).resolve()
    out.mkdir(parents=True, exist_ok=True)
    minutes = QUICK if args.quick else SECTIONS
    done = Cells(out / 'sections.jsonl', digest_of)
    missing = [name for name in minutes if name in args.again or name not in done
               or not (out / f'{name}.json').exists()]
    for number, name in enumerate(missing):
        left = sum(minutes[each] for each in missing[number:])
        print(f'--- {name}; about {left:.0f} minutes left in all', flush=True)
        started_s = time.monotonic()
        RUNNERS[name](out, args.quick)
        took_min = (time.monotonic() - started_s) / 60
        done.put(name, took_min)
        print(f'--- {name} took {took_min:.1f} minutes', flush=True)
    results = report.collect(out, machine())
    (out / 'results.json').write_text(json.dumps(results, indent=1) + '\n')
    (out / 'report.md').write_text(report.markdown(results))
    subprocess.run([BENCH_ENV, 'python', '-m', 'benchmark.plots', str(out)], check=True)
    for name, value in results['headline'].items():
        print(f'  {name:34s} {value:.2f}')
    print(f'\n  {out}/report.md and the plots beside it')
    return 0


def digest_of(section: str) -> str:
    """Hash what a section's results depend on."""
    return source_digest('instantft_ros', 'native', f'benchmark/{section}.py',
                         *SOURCES.get(section, ()))


def _speed(out: Path, quick: bool) -> None:
    _run(BENCH_ENV, 'python', '-m', 'benchmark.speed', '--out', out / 'speed.json',
         '--repeats', 3 if quick else 15)


def _accuracy(out: Path, quick: bool) -> None:
    """Both data sets at once, a process each; the quick one that whose network ships."""
    names = ('fashion-mnist',) if quick else ('mnist', 'fashion-mnist')
    files = {name: out / f'accuracy-{name}.jsonl' for name in names}
    processes = [subprocess.Popen([BENCH_ENV, 'python', '-m', 'benchmark.accuracy', name,
                                   '--out', str(file), *(['--quick'] if quick else [])])
                 for name, file in files.items()]
    codes = [process.wait() for process in processes]
    if any(codes):
        sys.exit('the accuracy benchmark failed, see above')
    (out / 'accuracy.json').write_text(json.dumps(
        {name: json.loads(file.with_suffix('.json').read_text())
         for name, file in files.items()}) + '\n')


def _end_to_end(out: Path, quick: bool) -> None:
    profile = Path(get_package_share_directory('instantft_ros')) / 'config' / 'fastdds.xml'
    _run(sys.executable, '-m', 'benchmark.end_to_end', '--out', out / 'end_to_end.json',
         *(['--quick'] if quick else []), FASTRTPS_DEFAULT_PROFILES_FILE=str(profile))


def _here(name: str) -> Callable[[Path, bool], None]:
    return lambda out, quick: _run(sys.executable, '-m', f'benchmark.{name}', out / f'{name}.json')


RUNNERS: dict[str, Callable[[Path, bool], None]] = {
    'speed': _speed, 'cycles': _here('cycles'), 'stages': _here('stages'),
    'end_to_end': _end_to_end, 'accuracy': _accuracy}


def _run(*command: object, **environment: str) -> None:
    domain = {'ROS_DOMAIN_ID': str(1 + os.getpid() % 100),
              'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST'}
    subprocess.run([str(each) for each in command], check=True, cwd=ROOT,
                   env={**os.environ, **domain, **environment})


def machine() -> dict[str, str]:
    """Name the machine that this ran on."""
    cpuinfo = Path('/proc/cpuinfo').read_text()
    model = next((line.split(':', 1)[1].strip() for line in cpuinfo.splitlines()
                  if line.startswith(('model name', 'Model'))), platform.processor())
    commit = subprocess.run(['git', 'rev-parse', '--short', 'HEAD'], cwd=ROOT, text=True,
                            capture_output=True, check=False).stdout.strip()
    return {'cpu': model, 'cores': str(os.cpu_count()), 'system': platform.platform(),
            'load': ' '.join(f'{each:.2f}' for each in os.getloadavg()), 'commit': commit}


if __name__ == '__main__':
    sys.exit(main())
