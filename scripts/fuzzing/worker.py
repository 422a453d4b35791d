"""One target under libFuzzer, in a process of its own: `python -m fuzzing.worker`."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import mmap
from pathlib import Path
import resource
import sys
import time
import traceback

import atheris
import cv2
import numpy as np

from fuzzing.target import Target

# zipfile parses for us, so what it does counts as coverage too
with contextlib.redirect_stderr(io.StringIO()), atheris.instrument_imports(
        include=['instantft_ros', 'fuzzing.planted', 'zipfile']):
    from fuzzing.targets import PLANTED, TARGETS

MIB = 1 << 20

#: The length of the input under way, while there is none.
NO_INPUT = b'\xff' * 8


class Judge:
    """Runs inputs; keeps each one that shows a fault of a kind not seen before."""

    def __init__(self, name: str, target: Target, findings: Path) -> None:
        self._name, self._target, self._findings = name, target, findings
        self._seen: set[str] = set()
        self._start_mb = _peak_mb()
        # the input under way, where it survives a crash or an endless loop
        size = 8 + target.max_bytes
        with (findings / f'{name}.current').open('w+b') as stream:
            stream.truncate(size)
            self._current = mmap.mmap(stream.fileno(), size)
        self._current[:8] = NO_INPUT

    def __call__(self, data: bytes) -> int:
        """Run one input; -1 keeps one with a fault out of the corpus."""
        self._keep(data)
        faults = self.faults(data)
        self._current[:8] = NO_INPUT
        for fault in faults:
            # one finding for each place, whatever the figures in its message
            kind = hashlib.sha256(fault.split('\n')[-1].encode()).hexdigest()[:8]
            if kind in self._seen:
                continue
            self._seen.add(kind)
            path = self._findings / f'{self._name}-{kind}'
            path.with_suffix('.input').write_bytes(data)
            path.with_suffix('.partial').write_text(fault + '\n', errors='backslashreplace')
            path.with_suffix('.partial').rename(path.with_suffix('.txt'))
        return -1 if faults else 0

    def _keep(self, data: bytes) -> None:
        self._current[:8] = len(data).to_bytes(8, 'little')
        self._current[8:8 + len(data)] = data

    def faults(self, data: bytes) -> list[str]:
        """Run one input and describe what it shows; each description ends with its kind."""
        found, target = [], self._target
        started_s, peak_before_mb = time.process_time(), _peak_mb()
        try:
            target.run(data)
        except target.declared as error:
            if complaint := _complaint(error):
                found.append(_describe(error, complaint))
        except Exception as error:
            found.append(_describe(error, f'{type(error).__name__} is not declared'))
        took_s, peak_mb = time.process_time() - started_s, _peak_mb()
        if took_s > target.limit_s:
            found.append(f'took {took_s:.1f} s of processor time, allowed are '
                         f'{target.limit_s} s\ntoo slow')
        # the peak never falls: who raises it above the bound is to blame
        if peak_mb > peak_before_mb and peak_mb - self._start_mb > target.growth_mb:
            found.append(f'took {peak_mb - self._start_mb:.0f} MiB, allowed are '
                         f'{target.growth_mb} MiB\ntoo much memory')
        return found


def _complaint(error: Exception) -> str | None:
    """Say what is wrong with a declared error, None when nothing is."""
    message = str(error)
    if not message.strip():
        return 'a declared error without a message'
    try:
        message.encode()
    except UnicodeEncodeError:
        return 'a message that is not UTF-8 cannot be sent'
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or (
                isinstance(cause, cv2.error) and getattr(cause, 'code', 0) == -4):
            return 'out of memory behind a declared error'
        cause = cause.__cause__ or cause.__context__
    return None


def _describe(error: Exception, kind: str) -> str:
    """Give the traceback, and as the last line the kind of fault and its place in our code."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if '/instantft_ros/' in frame.filename]
    place = (own or frames)[-1]
    text = ''.join(traceback.format_exception(error))
    return f'{text}\n{kind}, at {Path(place.filename).name}:{place.lineno}'


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _limit_memory(growth_mb: int) -> None:
    """Bound the address space, so that what asks for far too much fails at once."""
    pages = int(Path('/proc/self/statm').read_text().split()[0])
    limit = pages * resource.getpagesize() + (2 * growth_mb + 256) * MIB
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> int:
    """Fuzz, or run one input; 1 when that has a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('name')
    parser.add_argument('findings', type=Path)
    parser.add_argument('--reproduce', type=Path)
    args, fuzzer_options = parser.parse_known_args()
    target = {**TARGETS, 'planted': PLANTED}[args.name]
    cv2.setNumThreads(1)
    for reader in ('read_array', '_read_array_header'):
        atheris.instrument_func(getattr(np.lib.format, reader))
    judge = Judge(args.name, target, args.findings)
    _limit_memory(target.growth_mb)
    if args.reproduce:
        faults = judge.faults(args.reproduce.read_bytes())
        print('\n\n'.join(faults) or 'no fault')
        return int(bool(faults))
    seeds = args.findings / 'seeds' / args.name
    seeds.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (seeds / f'{number}').write_bytes(seed)
    words = args.findings / 'seeds' / f'{args.name}.dict'
    words.write_text('# what often stands in the inputs\n' + ''.join(
        '"' + ''.join(f'\\x{byte:02x}' for byte in word) + '"\n' for word in target.words))
    more = {'custom_mutator': target.mutate} if target.mutate else {}
    options = [*fuzzer_options, f'-max_len={target.max_bytes}', str(seeds)]
    if target.words:
        options.append(f'-dict={words}')
    atheris.Setup([sys.argv[0], *options], judge, **more)
    atheris.Fuzz()
    return 0


if __name__ == '__main__':
    sys.exit(main())
