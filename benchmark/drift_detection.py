"""
Drift detectors on simulated streams: how late they are, and how often they are wrong.

Streams of 20,000 frames of Fashion-MNIST through the frozen network, an object in view for 5
frames: without a drift, with an abrupt one, a gradual one over 4,000 frames, and one that comes
and goes every 4,000 frames. Signals: the confidence, the distance of the logits from the usual
ones, and, with labels, whether the network is wrong on one object in twenty. Detectors: the CUSUM
of adaptation/drift.py, and ADWIN, Page-Hinkley and KSWIN of river with their defaults. The CUSUM's
settings were chosen on other seeds and images. Writes out/bench/drift.json and drift.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
import json
from pathlib import Path
import sys

import numpy as np

from benchmark import data
from instantft_ros.adaptation.drift import Cusum, DriftPolicy
from instantft_ros.pipeline import softmax

FRAMES, DWELL, GRADUAL, PERIOD, LABELLED = 20_000, 5, 4_000, 4_000, 20
DRIFTS = ('15', '30', '45', '75', 'noise', 'dark', 'blur')
KINDS = ('abrupt', 'gradual', 'recurring')

#: A change that is not found within so many frames was missed; no alarm before it is false.
PATIENCE = 2_000


@dataclass(frozen=True)
class Stream:
    """Signals (name -> values (FRAMES,), NaN where there is none) and where changes begin."""

    signals: dict[str, np.ndarray]
    changes: tuple[int, ...]


def stream(kind: str, drift: str, seed: int, tuning: bool) -> Stream:
    """Make a stream; kind 'none' has no drift."""
    rng = np.random.default_rng(seed + (10_000 if tuning else 0))
    part = data.split('fashion-mnist', seed, tuning)
    objects = rng.choice(np.concatenate([part.train, part.test]), FRAMES // DWELL)
    drifted, changes = _when(kind, rng)
    logits = np.where(np.repeat(drifted, DWELL)[:, None],
                      np.repeat(data.features_of('fashion-mnist', drift)[1][objects], DWELL, 0),
                      np.repeat(data.features_of('fashion-mnist', '0')[1][objects], DWELL, 0))
    logits = logits + rng.normal(0, 0.1, logits.shape)  # two frames of one object differ a bit
    labels = np.repeat(data.labels_of('fashion-mnist')[objects], DWELL)
    usual = logits[:150].mean(axis=0)
    wrong = (logits.argmax(axis=1) != labels).astype(float)
    wrong[np.arange(FRAMES) % (DWELL * LABELLED) != 0] = np.nan
    return Stream({'confidence': softmax(logits).max(axis=1),
                   'features': np.linalg.norm(logits - usual, axis=1), 'mistakes': wrong},
                  changes)


def _when(kind: str, rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, ...]]:
    objects = np.arange(FRAMES // DWELL)
    middle = FRAMES // DWELL // 2
    if kind == 'none':
        return np.zeros(len(objects), bool), ()
    if kind == 'abrupt':
        return objects >= middle, (FRAMES // 2,)
    if kind == 'gradual':
        share = np.clip((objects - middle) / (GRADUAL / DWELL), 0, 1)
        return rng.random(len(objects)) < share, (FRAMES // 2,)
    phase = objects * DWELL // PERIOD
    return phase % 2 == 1, tuple(range(PERIOD, FRAMES, PERIOD))


def _cusum(signal: str) -> Callable[[float], bool]:
    # one labelled object is one value: nothing to average
    policy = DriftPolicy() if signal != 'mistakes' else DriftPolicy(block=5)
    return Cusum(policy).update


def _river(name: str) -> Callable[[str], Callable[[float], bool]]:
    def make(signal: str) -> Callable[[float], bool]:
        from river import drift
        detector = getattr(drift, name)()

        def update(value: float) -> bool:
            detector.update(value)
            return bool(detector.drift_detected)

        return update

    return make


DETECTORS: dict[str, Callable[[str], Callable[[float], bool]]] = {
    'CUSUM': _cusum, 'ADWIN': _river('ADWIN'), 'Page-Hinkley': _river('PageHinkley'),
    'KSWIN': _river('KSWIN')}


def alarms(detector: Callable[[float], bool], values: np.ndarray) -> list[int]:
    """Give the frames at which a detector raised an alarm."""
    return [frame for frame, value in enumerate(values.tolist())
            if value == value and detector(value)]


def judge(found: list[int], changes: tuple[int, ...]) -> tuple[list[int], int, int, int]:
    """Give delays, changes missed, false alarms, and frames in which an alarm was false."""
    delays, missed, genuine = [], 0, set()
    for change in changes:
        after = [frame for frame in found if change <= frame < change + PATIENCE + GRADUAL]
        genuine.update(after)
        if after:
            delays.append(after[0] - change)
        else:
            missed += 1
    quiet = FRAMES - sum(min(PATIENCE + GRADUAL, FRAMES - change) for change in changes)
    return delays, missed, len(set(found) - genuine), max(quiet, 0)


def measure(seeds: int, tuning: bool) -> list[dict[str, object]]:
    """Run every detector on every signal of every stream."""
    rows = []
    for name, make in DETECTORS.items():
        for signal in ('confidence', 'features', 'mistakes'):
            cells: dict[str, object] = {'detector': name, 'signal': signal}
            false = frames = 0
            for seed in range(seeds):
                quiet = stream('none', '0', seed, tuning)
                false += len(alarms(make(signal), quiet.signals[signal]))
                frames += FRAMES
            cells['false_per_10000'] = round(1e4 * false / frames, 2)
            for kind in KINDS:
                delays: list[int] = []
                missed = 0
                for seed in range(seeds):
                    for drift in DRIFTS:
                        one = stream(kind, drift, seed, tuning)
                        got, lost, _, _ = judge(alarms(make(signal), one.signals[signal]),
                                                one.changes)
                        delays += got
                        missed += lost
                cells[kind] = {'delay_p50': float(np.median(delays)) if delays else None,
                               'delay_p90': float(np.percentile(delays, 90)) if delays else None,
                               'found_percent': round(100 * len(delays)
                                                      / (len(delays) + missed), 1)}
            rows.append(cells)
            print(cells, flush=True)
    return rows


def table(rows: list[dict[str, object]]) -> str:
    """Lay the figures out in Markdown."""
    lines = ['| detector | signal | false alarms per 10,000 frames | '
             + ' | '.join(f'{kind}: found, delay p50 / p90' for kind in KINDS) + ' |',
             '| --- | --- | --- | ' + ' | '.join('---' for _ in KINDS) + ' |']
    for row in rows:
        cells = []
        for kind in KINDS:
            cell = row[kind]
            assert isinstance(cell, dict)
            cells.append(f'{cell["found_percent"]:.0f} %, '
                         + ('-' if cell['delay_p50'] is None else
                            f'{cell["delay_p50"]:.0f} / {cell["delay_p90"]:.0f}'))
        lines.append(f'| {row["detector"]} | {row["signal"]} | {row["false_per_10000"]} | '
                     + ' | '.join(cells) + ' |')
    return '\n'.join(lines) + '\n'


def main() -> int:
    """Measure, write the table."""
    parser = argparse.ArgumentParser(prog='python -m benchmark.drift_detection',
                                     description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, default=5, help='(default: %(default)s)')
    parser.add_argument('--tuning', action='store_true', help='on the images for tuning')
    parser.add_argument('--out', type=Path, default=data.OUT / 'drift.json')
    args = parser.parse_args()
    rows = measure(args.seeds, args.tuning)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(rows, indent=2) + '\n')
    args.out.with_suffix('.md').write_text(table(rows))
    print(table(rows))
    return 0


if __name__ == '__main__':
    sys.exit(main())
