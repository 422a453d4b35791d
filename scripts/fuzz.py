"""
Fuzz the decoders of images and files, guided by coverage (atheris, libFuzzer).

Whatever comes in, a decoder either gives something of the right kind or refuses it with an error
of this package that has a reason. Anything else is a finding: another exception, a crash, more
than RSS_LIMIT_MB of memory, more than INPUT_LIMIT_S for one input. Each finding's input is kept
in out/fuzz/, and the run ends with exit code 1.

    make fuzz                           ten minutes, all targets
    scripts/in_fuzz_env python scripts/fuzz.py --target adapter --seconds 60
    scripts/in_fuzz_env python scripts/fuzz.py --target adapter --input out/fuzz/adapter/crash-...
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
import io
import json
from pathlib import Path
import re
import subprocess
import sys
import tempfile
from types import SimpleNamespace

ROOT = Path(__file__).parents[1]
OUT = ROOT / 'out/fuzz'
RSS_LIMIT_MB, INPUT_LIMIT_S, MAX_BYTES = 1024, 10, 8192
MODELS = ROOT / 'instantft_ros/models/lenet5_fashion_mnist'


@dataclass(frozen=True)
class Target:
    """What is fed with bytes, the errors it may raise, and inputs to start from."""

    feed: Callable[[bytes], object]
    allowed: tuple[type[Exception], ...]
    seeds: Callable[[], list[bytes]]


def targets() -> dict[str, Target]:
    """Import what is to be fuzzed, instrumented."""
    import atheris
    with atheris.instrument_imports(include=['instantft_ros', 'json', 'zipfile', 'numpy.lib']):
        from instantft_ros.core import errors, image_header, images, manifest, replay
        from instantft_ros.core.adapter import Adapter
        from instantft_ros.core.features import FeatureLayout
    import cv2
    import numpy as np

    reader = images.ImageReader(None)
    encodings = [*images.ENCODINGS, 'nonsense', '']
    file = Path(tempfile.mkdtemp()) / 'file'

    def raw(data: bytes) -> object:
        provider = atheris.FuzzedDataProvider(data)
        sides = [1, 2, 3, 16, 17, 2**14, 2**14 + 1, 2**31, 2**32 - 1]

        def number() -> int:
            return (provider.PickValueInList(sides) if provider.ConsumeBool() else
                    provider.ConsumeIntInRange(0, 64))

        message = SimpleNamespace(
            encoding=provider.PickValueInList(encodings), width=number(), height=number(),
            step=number(), is_bigendian=provider.ConsumeIntInRange(0, 255), data=b'')
        message.data = provider.ConsumeBytes(provider.remaining_bytes())
        image = reader.read(message)
        assert image.dtype == np.uint8 and image.size > 0, image.dtype
        assert image.shape[:2] == (message.height, message.width), image.shape
        return image

    def compressed(data: bytes) -> object:
        image = reader.read(SimpleNamespace(format='jpeg', data=data))
        assert image.dtype == np.uint8 and image.ndim == 3
        assert image.shape[0] * image.shape[1] <= image_header.MAX_PIXELS
        return image

    def through_a_file(load: Callable[[Path], object]) -> Callable[[bytes], object]:
        def feed(data: bytes) -> object:
            file.write_bytes(data)
            return load(file)

        return feed

    def pictures() -> list[bytes]:
        small = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)
        progressive = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]
        return [cv2.imencode('.jpg', small)[1].tobytes(), cv2.imencode('.png', small)[1].tobytes(),
                cv2.imencode('.jpg', small, progressive)[1].tobytes(),
                cv2.imencode('.png', small[..., 0])[1].tobytes()]

    def replay_files() -> list[bytes]:
        stream = io.BytesIO()
        np.savez(stream, images=np.zeros((2, 4, 4), np.uint8), labels=np.array([0, 1]))
        return [stream.getvalue()]

    layout = FeatureLayout((3, 5), 4)
    return {
        'raw': Target(raw, (errors.ImageError,), lambda: [bytes(range(64)), bytes(600)]),
        'compressed': Target(compressed, (errors.ImageError,), pictures),
        'adapter': Target(Adapter.from_bytes, (errors.AdapterError,), lambda: [
            Adapter.initial(layout, 'ab' * 32, rank).to_bytes() for rank in (1, 4)]),
        'manifest': Target(through_a_file(manifest.Manifest.load), (errors.ManifestError,),
                           lambda: [(MODELS / 'manifest.json').read_bytes()]),
        'replay': Target(through_a_file(lambda path: replay.read_images(path, 10)),
                         (errors.ManifestError,), replay_files),
        # does not belong to a run: the test of this fuzzer looks for the fault in it
        'planted': Target(atheris.instrument_func(_planted), (errors.ImageError,),
                          lambda: [b'seed']),
    }


def _planted(data: bytes) -> None:
    if data[:1] == b'F' and data[1:2] == b'A' and data[2:3] == b'U':
        raise IndexError('planted')


def main() -> int:
    """Fuzz each target in a process of its own, and tell what was found."""
    parser = argparse.ArgumentParser(prog='fuzz.py', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seconds', type=int, default=600,
                        help='for all targets together (default: %(default)s)')
    parser.add_argument('--target', help='only this one')
    parser.add_argument('--seed', type=int, default=1, help='of the mutations')
    parser.add_argument('--input', type=Path, help='feed this file to --target, once')
    parser.add_argument('--inside', action='store_true', help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = [args.target] if args.target else ['raw', 'compressed', 'adapter', 'manifest',
                                               'replay']
    if args.inside or args.input:
        return _inside(args)
    rows = []
    for name in names:
        print(f'{name}: {args.seconds // len(names)} s', flush=True)
        rows.append(_run(name, args.seconds // len(names), args.seed))
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / 'report.json').write_text(json.dumps(rows, indent=2) + '\n')
    print(f'\n{"target":12}{"inputs":>12}{"per second":>12}{"coverage":>10}{"corpus":>8}'
          f'{"findings":>10}')
    for row in rows:
        print(f'{row["target"]:12}{row["inputs"]:12}{row["per_second"]:12}{row["coverage"]:10}'
              f'{row["corpus"]:8}{len(row["findings"]):10}')
        for finding in row['findings']:
            print(f'  {finding}')
    return 1 if any(row['findings'] for row in rows) else 0


def _run(name: str, seconds: int, seed: int) -> dict[str, object]:
    folder, corpus = OUT / name, OUT / name / 'corpus'
    corpus.mkdir(parents=True, exist_ok=True)
    before = set(folder.glob('*-*'))
    with (folder / 'log.txt').open('wb') as log:
        subprocess.run([sys.executable, __file__, '--inside', '--target', name, '--seed',
                        str(seed), '--seconds', str(seconds)], stdout=log,
                       stderr=subprocess.STDOUT, timeout=seconds + 120, check=False)
    log_text = (folder / 'log.txt').read_text(errors='replace')
    # libFuzzer's lines: "#4096 pulse cov: 61 ft: 120 corp: 17/1234b ... exec/s: 2048"
    last = re.findall(r'#(\d+)\s+\S+\s+cov: (\d+).*?corp: (\d+)/', log_text)[-1:]
    done = re.search(r'Done (\d+) runs', log_text)
    inputs = int(done.group(1)) if done else int(last[0][0]) if last else 0
    findings = sorted(str(each.relative_to(ROOT)) for each in set(folder.glob('*-*')) - before)
    if not done and not findings:
        findings = [f'it ended early, see {folder.relative_to(ROOT)}/log.txt']
    return {'target': name, 'seconds': seconds, 'inputs': inputs,
            'per_second': round(inputs / max(seconds, 1)),
            'coverage': int(last[0][1]) if last else 0, 'corpus': int(last[0][2]) if last else 0,
            'findings': findings}


def _inside(args: argparse.Namespace) -> int:
    import atheris
    target = targets()[args.target]

    def feed(data: bytes) -> None:
        try:
            target.feed(data)
        except target.allowed as error:
            if not str(error):
                raise AssertionError('refused without a reason') from error

    if args.input:
        feed(args.input.read_bytes())
        return 0
    folder = OUT / args.target
    for number, seed in enumerate(target.seeds()):
        (folder / 'corpus' / f'seed{number}').write_bytes(seed)
    atheris.Setup([sys.argv[0], str(folder / 'corpus'), f'-max_total_time={args.seconds}',
                   f'-rss_limit_mb={RSS_LIMIT_MB}', f'-timeout={INPUT_LIMIT_S}',
                   f'-max_len={MAX_BYTES}', f'-seed={args.seed}', '-print_final_stats=1',
                   f'-artifact_prefix={folder}/'], feed)
    atheris.Fuzz()
    return 0


if __name__ == '__main__':
    sys.exit(main())
