"""
Wrong labels: how far below the frozen network they may take the classifier.

Fashion-MNIST through the package's own pipeline, with gate, guard set and quarantine as the node
has them, and without; four trainings on growing shares of the corrections. Corrections: honest
ones of random frames, of mistakes alone, 10 to 30 % with a wrong class at random, all frames of
one class called another (a targeted flip), and every frame called one class (a flood). On images
that no choice used.
Writes out/bench/poisoning.json and poisoning.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

import numpy as np

from benchmark import data
from instantft_ros.accelerator.cpu import CpuBackend
from instantft_ros.adaptation.gate import GatePolicy
from instantft_ros.adaptation.versions import VersionHistory
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.class_list import ClassList
from instantft_ros.core.corrections import Correction, Selector
from instantft_ros.core.forward_cache import ForwardCache
from instantft_ros.core.frame_ring import FrameId, FrameRing
from instantft_ros.core.replay import ReplaySet
from instantft_ros.pipeline import GUARD_PER_CLASS, Pipeline, RANK, TrainingPolicy

DATASET, ATTACKED, CALLED = 'fashion-mnist', 0, 4
CASES = ('honest', 'mistakes alone', '10 % wrong', '20 % wrong', '30 % wrong', 'flip', 'flood')

#: Open to everything: what the defence is held against.
NO_GATE = GatePolicy(100.0, 1.0, 1.0)


def labels_for(case: str, truth: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Give what the operator says of frames with these true labels (N,)."""
    said = truth.copy()
    if case.endswith('wrong'):
        wrong = rng.random(len(said)) < int(case.split()[0]) / 100
        said[wrong] = (said[wrong] + rng.integers(1, 10, int(wrong.sum()))) % 10
    elif case == 'flip':
        said[said == ATTACKED] = 6
    elif case == 'flood':
        said[:] = CALLED
    return said


def make_pipeline(count: int, defended: bool) -> Pipeline:
    """Build what the node builds."""
    backbone, replay = data.backbone_of(DATASET)
    return Pipeline(
        backbone, FrameRing(['camera'], count), ForwardCache(backbone.layout, 1024, 0.1),
        VersionHistory(Adapter.initial(backbone.layout, backbone.digest, RANK)),
        ClassList(backbone.manifest.classes, 10), replay,
        ReplaySet.load(backbone, GUARD_PER_CLASS if defended else 0, skip=8))


def run(drift: str, case: str, count: int, seed: int, defended: bool) -> dict[str, Any]:
    """Correct and train in four steps; gives accuracies in percent."""
    rng = np.random.default_rng(seed)
    part = data.split(DATASET, seed, tuning=False)
    truth, logits = data.labels_of(DATASET), data.features_of(DATASET, drift)[1]
    rows = part.train
    if case == 'mistakes alone':
        rows = rows[logits[rows].argmax(axis=1) != truth[rows]]
    rows = rows[:count]
    said = labels_for(case, truth[rows], rng)
    images, pipeline, accelerator = data.drifted(DATASET, drift), make_pipeline(count, defended), \
        CpuBackend()
    policy = TrainingPolicy(quarantine_share=0.1 if defended else 1.0)
    refused = 0
    for step in range(4):
        for number in range(len(rows) * step // 4, len(rows) * (step + 1) // 4):
            pipeline.classify(FrameId('camera', number), images[rows[number]])
            pipeline.correct(Correction('camera', Selector.STAMP, int(said[number]), 1, number))
        for _ in range(8):  # the node looks at some with each training; here there are only four
            pipeline.suspects.look(pipeline.cache)
            pipeline.suspects.look_again(pipeline.cache)
        job = pipeline.job(policy, 0)
        assert job is not None
        decision, _ = pipeline.adopt(accelerator.fine_tune(job), job,
                                     pipeline.versions.current.number,
                                     GatePolicy() if defended else NO_GATE)
        refused += not decision.accepted
    x, z0 = (each[part.test[:2000]] for each in data.features_of(DATASET, drift))
    right = truth[part.test[:2000]]
    adapted = pipeline.versions.current.adapter(x, z0).argmax(axis=1) == right
    return {'frozen': 100 * float((z0.argmax(axis=1) == right).mean()),
            'adapted': 100 * float(adapted.mean()), 'refused': refused}


def main() -> int:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(prog='python -m benchmark.poisoning', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, default=5, help='(default: %(default)s)')
    args = parser.parse_args()
    rows = []
    for drift in ('0', '45', '75'):
        for case in CASES:
            for count in (64, 256, 1024):
                cell: dict[str, Any] = {'drift': drift, 'case': case, 'corrections': count}
                for name, defended in (('open', False), ('defended', True)):
                    runs = [run(drift, case, count, seed, defended) for seed in range(args.seeds)]
                    cell['frozen'] = float(np.mean([each['frozen'] for each in runs]))
                    cell[name] = float(np.mean([each['adapted'] for each in runs]))
                    cell[f'{name}_worst'] = min(each['adapted'] - each['frozen']
                                                for each in runs)
                    cell[f'{name}_refused'] = sum(each['refused'] for each in runs)
                rows.append(cell)
                print({key: round(value, 1) if isinstance(value, float) else value
                       for key, value in cell.items()}, flush=True)
    bound = -min(row['defended_worst'] for row in rows)
    (data.OUT / 'poisoning.json').write_text(json.dumps({'bound': bound, 'cells': rows}, indent=2)
                                             + '\n')
    (data.OUT / 'poisoning.md').write_text(table(rows))
    print(table(rows))
    print(f'never more than {bound:.1f} points below the frozen network, in {len(rows)} x '
          f'{args.seeds} runs')
    return 0


def table(rows: list[dict[str, Any]]) -> str:
    """Lay the figures out in Markdown."""
    lines = ['| drift | corrections | | frozen | without defence | with it | its worst, minus '
             'frozen | trainings refused |', '| --- | --- | --- | --- | --- | --- | --- | --- |']
    lines += [f'| {row["drift"]}° | {row["case"]} | {row["corrections"]} | {row["frozen"]:.1f} | '
              f'{row["open"]:.1f} | {row["defended"]:.1f} | {row["defended_worst"]:+.1f} | '
              f'{row["defended_refused"]} |' for row in rows]
    return '\n'.join(lines) + '\n'


if __name__ == '__main__':
    sys.exit(main())
