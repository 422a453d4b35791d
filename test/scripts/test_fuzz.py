"""The fuzzer finds faults that were planted, so that finding none means something."""

from pathlib import Path
import platform
import subprocess

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(platform.machine() != 'x86_64',
                                reason='Atheris has no wheels for this machine')


def fuzz(folder: Path, *options: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [ROOT / 'scripts/in_fuzz_env', 'python', ROOT / 'scripts/fuzz.py', '--target', 'planted',
         '--out', folder, '--corpus', folder / 'corpus', *map(str, options)],
        capture_output=True, text=True, check=False)


@pytest.mark.timeout(420)  # the first time, its environment is set up
def test_planted_faults_are_found_and_shown_again(tmp_path):
    done = fuzz(tmp_path, '--seconds', 180)  # ends when all are found
    assert done.returncode == 1, done.stderr
    found = {path.read_text().strip().splitlines()[-1]: path.with_suffix('.input')
             for path in tmp_path.glob('planted-*.txt')}
    for words in ('IndexError is not declared', 'without a message', 'out of memory behind',
                  'too much memory', 'too slow', 'the process crashed'):
        kind = next((each for each in found if words in each), None)
        assert kind, f'{words}: {done.stdout}{done.stderr}'
        again = fuzz(tmp_path, '--reproduce', found[kind])
        assert words in again.stdout if 'crashed' not in kind else again.returncode not in (0, 1)


def test_wrong_options_are_refused(tmp_path):
    assert 'needs --target' in subprocess.run(
        [ROOT / 'scripts/in_fuzz_env', 'python', ROOT / 'scripts/fuzz.py', '--reproduce',
         tmp_path], capture_output=True, text=True, check=False).stderr
