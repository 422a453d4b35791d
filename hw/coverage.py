"""
Report which lines of the RTL the tests of the whole core reach.

`python hw/coverage.py` builds a counting model, runs hw/test/test_core.py and test_backends.py on
it, prints the share of covered lines and branches per module and those that were never reached.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
import os
from pathlib import Path
import re
import subprocess
import sys
import tempfile

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from instantft_ros.accelerator.rtl_model import build, LIBRARY_VARIABLE  # noqa: E402


def read(file: Path) -> dict[tuple[str, int, str], int]:
    """Give the counts of a coverage file by module file, line and kind of point."""
    counts: dict[tuple[str, int, str], int] = defaultdict(int)
    for line in file.read_text(errors='replace').splitlines():
        if (match := re.match(r"C '(.*)' (\d+)$", line)) is None:
            continue
        fields = dict(part.split('\x02', 1) for part in match[1].split('\x01') if part)
        point = (Path(fields['f']).name, int(fields['l']), fields.get('o', ''))
        counts[point] += int(match[2])
    return counts


def main() -> int:
    """Run the tests and print the report; gives pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--folder', type=Path, default=None, help='for the counting model')
    library = build(parser.parse_args().folder, coverage=True)
    totals: dict[tuple[str, int, str], int] = defaultdict(int)
    with tempfile.TemporaryDirectory() as folder:
        tests = [str(ROOT / 'hw' / 'test' / name) for name in ('test_core.py', 'test_backends.py')]
        done = subprocess.run([sys.executable, '-m', 'pytest', '-q', *tests], cwd=ROOT,
                              env={**os.environ, LIBRARY_VARIABLE: str(library),
                                   'INSTANTFT_COVERAGE_FOLDER': folder}, check=False)
        for file in Path(folder).glob('*.dat'):
            for point, count in read(file).items():
                totals[point] += count
    by_module: dict[str, list[int]] = defaultdict(list)
    for (module, _, _), count in totals.items():
        by_module[module].append(count)
    print(f'\n{"module":28} {"points":>7} {"covered":>8}')
    for module, counts in sorted(by_module.items()):
        covered = sum(count > 0 for count in counts)
        print(f'{module:28} {len(counts):7} {covered / len(counts):8.1%}')
    every = [count > 0 for count in totals.values()]
    print(f'{"all":28} {len(every):7} {sum(every) / max(len(every), 1):8.1%}')
    for (module, line, kind), count in sorted(totals.items()):
        if count == 0:
            print(f'never reached: {module}:{line} {kind}')
    return done.returncode


if __name__ == '__main__':
    sys.exit(main())
