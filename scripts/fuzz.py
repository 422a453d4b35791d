#!/usr/bin/env python3
"""
Fuzz the decoders of what comes from outside, guided by coverage: `make fuzz`.

The engine is Atheris: libFuzzer on Python's bytecode. Targets, in turns: raw image messages,
compressed ones, adapter files, manifests, replay files. A finding is

- an exception other than the decoder's declared one, or a declared one without a message;
- an accepted input that cannot be used (targets.py asserts what must hold);
- more than 1 GiB of memory, or a MemoryError, even one behind a declared error;
- more than 5 s of processor time (or 20 s in all), or a crash of the process.

Each is written to out/fuzz/ with the input that shows it, one for each place; then the exit code
is 1. Every run begins with a decoder that has planted faults; when they are not found, the exit
code is 2. The corpus is kept and a later run starts from it.

OpenCV's decoders are native code without coverage: there libFuzzer changes inputs blindly. What
is read by cv_bridge is not covered either.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
import hashlib
import os
from pathlib import Path
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / 'out' / 'fuzz'

#: In the order in which they run.
TARGETS = ('raw_image', 'compressed_image', 'adapter', 'manifest', 'replay')

#: One input may take so long in all, seconds.
LIMIT_S = 20

#: It ends when all are found; a busy machine needs that long.
PLANTED_S = 180.0
PLANTED_FAULTS = 6


@dataclass(frozen=True)
class Summary:
    """What one target's run did; `arcs` are edges of the instrumented code that were passed."""

    executions: int
    per_s: float
    arcs: int
    corpus: int
    findings: tuple[Path, ...]


def main() -> int:
    """Fuzz; an exit code."""
    parser = argparse.ArgumentParser(prog='scripts/in_fuzz_env python scripts/fuzz.py',
                                     description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=float, default=600.0,
                        help='of the whole run (default: 600)')
    parser.add_argument('--target', choices=(*TARGETS, 'planted'),
                        help='this one only (default: all of them)')
    parser.add_argument('--seed', type=int, default=1,
                        help='of the random changes (default: 1); the same seed and corpus give '
                             'the same inputs in the same order')
    parser.add_argument('--corpus', type=Path, default=OUT / 'corpus',
                        help='folder of inputs that reached something new (default: '
                             'out/fuzz/corpus)')
    parser.add_argument('--out', type=Path, default=OUT, help='folder of the findings')
    parser.add_argument('--reproduce', type=Path, metavar='FILE',
                        help='run this one input of --target and say what it shows')
    args = parser.parse_args()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if args.reproduce:
        if not args.target:
            parser.error('--reproduce needs --target')
        with scratch_folder() as folder:
            return subprocess.run(worker(args.target, out, '--reproduce', args.reproduce),
                                  check=False, env={**os.environ, 'TMPDIR': folder}).returncode
    for old in out.iterdir():
        if old.suffix in ('.input', '.txt', '.log', '.current'):
            old.unlink()
    names = [args.target] if args.target else list(TARGETS)
    seconds = args.seconds
    if args.target != 'planted':
        check = out / 'planted'
        shutil.rmtree(check, ignore_errors=True)
        check.mkdir()
        started_s = time.monotonic()
        check_run = fuzz('planted', PLANTED_S, args.seed, check / 'corpus', check, PLANTED_FAULTS)
        if len(check_run.findings) < PLANTED_FAULTS:
            print(f'only {len(check_run.findings)} of {PLANTED_FAULTS} planted faults were '
                  f'found: the fuzzer is broken, see {check}', file=sys.stderr)
            return 2
        print(f'all {PLANTED_FAULTS} planted faults were found', flush=True)
        seconds -= time.monotonic() - started_s
    summaries = {}
    for name in names:
        print(f'{name}: {seconds / len(names):.0f} s', flush=True)
        summaries[name] = fuzz(name, seconds / len(names), args.seed,
                               args.corpus.resolve() / name, out,
                               PLANTED_FAULTS if name == 'planted' else None)
    print(table(summaries))
    found = [path for each in summaries.values() for path in each.findings]
    for path in found:
        print(f'{path}: {kind_of(path)}')
    return int(bool(found))


def fuzz(name: str, seconds: float, seed: int, corpus: Path, out: Path,
         enough: int | None = None) -> Summary:
    """
    Fuzz one target, for some time or until there are `enough` findings.

    After a crash it goes on from the corpus, 20 times at most.
    """
    corpus.mkdir(parents=True, exist_ok=True)
    log = out / f'{name}.log'
    executions, arcs, started_s = 0, 0, time.monotonic()
    for attempt in range(20):
        left_s = round(seconds - (time.monotonic() - started_s))
        if left_s < 1:
            break
        command = worker(name, out, f'-max_total_time={left_s}', f'-seed={seed + attempt}',
                         f'-timeout={LIMIT_S}', '-rss_limit_mb=0', '-len_control=20',
                         '-close_fd_mask=3', f'-artifact_prefix={out}/artifact-',
                         '-print_final_stats=1', corpus)
        code = _run(command, log, left_s + 60.0,
                    lambda: enough is not None and len(findings(name, out)) >= enough)
        text = log.read_text(errors='replace')
        ran, reached = _counted(text)
        executions, arcs = executions + ran, max(arcs, reached)
        if code == 0:
            break
        reason = 'the process crashed'
        if code == -signal.SIGALRM or 'SUMMARY: libFuzzer: timeout' in text:
            reason = f'no end within {LIMIT_S} s'
        current = (out / f'{name}.current').read_bytes()
        length = int.from_bytes(current[:8], 'little')
        if length > len(current):  # no input was under way
            raise RuntimeError(f'the fuzzer of {name} ended with {code}, see {log}')
        data = current[8:8 + length]
        path = out / f'{name}-{hashlib.sha256(data).hexdigest()[:8]}'
        path.with_suffix('.input').write_bytes(data)
        path.with_suffix('.txt').write_text(f'{text[-3000:]}\n{reason}\n')
        if enough is not None and len(findings(name, out)) >= enough:
            break
    return Summary(executions, executions / (time.monotonic() - started_s), arcs,
                   sum(1 for _ in corpus.iterdir()), findings(name, out))


def findings(name: str, out: Path) -> tuple[Path, ...]:
    """Give what was found in a target, one of each kind: a text, beside it the input."""
    kinds = {kind_of(path): path for path in sorted(out.glob(f'{name}-*.txt'), reverse=True)}
    return tuple(kinds.values())


def kind_of(path: Path) -> str:
    """Give the last line of a finding: its kind, and the place if that is known."""
    return path.read_text(errors='replace').strip().splitlines()[-1]


def scratch_folder() -> tempfile.TemporaryDirectory[str]:
    """Make a folder for the files that are read, in memory where there is /dev/shm."""
    return tempfile.TemporaryDirectory(
        prefix='instantft-fuzz-', dir='/dev/shm' if os.access('/dev/shm', os.W_OK) else None)


def _run(command: list[str], log: Path, limit_s: float, done: Callable[[], bool]) -> int:
    """Run to its end, to 0 also when `done` says that it need not go on."""
    deadline_s = time.monotonic() + limit_s
    with log.open('w') as stream, scratch_folder() as folder, \
            subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT,
                             env={**os.environ, 'TMPDIR': folder}) as process:
        try:
            while process.poll() is None:
                if done():
                    return 0
                if time.monotonic() > deadline_s:
                    raise RuntimeError(f'{command} did not end, see {log}')
                time.sleep(0.2)
        finally:
            process.kill()
    return process.returncode


def _counted(log: str) -> tuple[int, int]:
    """Read executions and arcs from libFuzzer's log."""
    states = re.findall(r'^#(\d+)\s+\S+\s+cov: (\d+)', log, re.MULTILINE)
    total = re.findall(r'number_of_executed_units:\s*(\d+)', log)
    return int(total[-1] if total else states[-1][0] if states else 0), \
        int(states[-1][1]) if states else 0


def worker(name: str, out: Path, *options: object) -> list[str]:
    """Give the command that runs one target."""
    return [sys.executable, '-m', 'fuzzing.worker', name, str(out), *map(str, options)]


def table(summaries: dict[str, Summary]) -> str:
    """Write the summary."""
    rows = [('target', 'executions', 'per s', 'arcs', 'corpus', 'findings')]
    rows += [(name, f'{each.executions:,}', f'{each.per_s:,.0f}', f'{each.arcs:,}',
              f'{each.corpus:,}', str(len(each.findings))) for name, each in summaries.items()]
    return '\n'.join('  '.join([f'{row[0]:18}', *(f'{cell:>12}' for cell in row[1:])])
                     for row in rows)


if __name__ == '__main__':
    sys.exit(main())
