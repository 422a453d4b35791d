"""
Wrong labels: how far below the frozen network they may take the classifier.

Fashion-MNIST through the package's own pipeline, with gate, guard set and quarantine as the node
has them, and without; frame after frame, with a training whenever an eighth more is corrected,
eight at least. Corrections: honest ones of any frame, of those alone that the adapter in use has
wrong, 10 to 30 % with a wrong class at random, all frames of one class called another (a targeted
flip), and every frame called one class (a flood). On images that no choice used.
Writes out/bench/poisoning.json and poisoning.md.
"""

from __future__ import annotations

import argparse
from itertools import groupby
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

DRIFTS, CHECKED = ('0', '15', '45', '75'), (64, 256, 1024)

#: Open to everything: what the defence is held against.
NO_GATE = GatePolicy(100.0, 1.0, 1.0)


def said_of(case: str, truth: int, rng: np.random.Generator) -> int:
    """Give what the operator says of a frame with this true label."""
    if case.endswith('wrong') and rng.random() < int(case.split()[0]) / 100:
        return int(truth + rng.integers(1, 10)) % 10
    if case == 'flip' and truth == ATTACKED:
        return 6
    return CALLED if case == 'flood' else truth


def make_pipeline(count: int, defended: bool) -> Pipeline:
    """Build what the node builds."""
    backbone, replay = data.backbone_of(DATASET)
    return Pipeline(
        backbone, FrameRing(['camera'], count), ForwardCache(backbone.layout, 1024, 0.1),
        VersionHistory(Adapter.initial(backbone.layout, backbone.digest, RANK)),
        ClassList(backbone.manifest.classes, 10), replay,
        ReplaySet.load(backbone, GUARD_PER_CLASS if defended else 0, skip=8))


def run(drift: str, case: str, seed: int, defended: bool) -> list[dict[str, float]]:
    """Show, correct and train; gives accuracies in percent after each of `CHECKED` corrections."""
    rng = np.random.default_rng(seed)
    part, truth = data.split(DATASET, seed, tuning=False), data.labels_of(DATASET)
    images, pipeline = data.drifted(DATASET, drift), make_pipeline(len(part.train), defended)
    x, z0 = (each[part.test[:2000]] for each in data.features_of(DATASET, drift))
    right = truth[part.test[:2000]]
    corrected = trained = refused = 0
    checked: list[dict[str, float]] = []
    for number, row in enumerate(part.train):
        last = number == len(part.train) - 1  # there may be fewer mistakes than wanted
        prediction = pipeline.classify(FrameId('camera', number), images[row])
        if case != 'mistakes alone' or prediction.scores.argmax() != truth[row]:
            said = said_of(case, int(truth[row]), rng)
            pipeline.correct(Correction('camera', Selector.STAMP, said, 1, number))
            corrected += 1
        elif not last:
            continue
        check = corrected == CHECKED[len(checked)] or last
        if check or corrected - trained >= max(8, trained // 8):
            trained = corrected
            refused += not fine_tuned(pipeline, defended)
        if check:
            adapted = pipeline.versions.current.adapter(x, z0).argmax(axis=1) == right
            checked.append({'corrected': corrected, 'refused': refused,
                            'frozen': 100 * float((z0.argmax(axis=1) == right).mean()),
                            'adapted': 100 * float(adapted.mean())})
            if len(checked) == len(CHECKED):
                break
    return checked


def fine_tuned(pipeline: Pipeline, defended: bool) -> bool:
    """Train as the node does; whether the adapter was accepted."""
    job = pipeline.job(TrainingPolicy(quarantine_share=0.1 if defended else 1.0), 0)
    assert job is not None
    pipeline.suspects.look_again(pipeline.cache)
    decision, _ = pipeline.adopt(CpuBackend().fine_tune(job), job,
                                 pipeline.versions.current.number,
                                 GatePolicy() if defended else NO_GATE)
    return decision.accepted


def cells_of(drift: str, case: str, seeds: int) -> list[dict[str, Any]]:
    """Run a case and give a cell for each number of corrections that all seeds came to."""
    runs = {name: [run(drift, case, seed, name == 'defended') for seed in range(seeds)]
            for name in ('open', 'defended')}
    cells = []
    for at in range(min(len(each) for both in runs.values() for each in both)):
        cell: dict[str, Any] = {'drift': drift, 'case': case}
        for name, each in runs.items():
            then = [one[at] for one in each]
            cell['frozen'] = float(np.mean([one['frozen'] for one in then]))
            cell[name] = float(np.mean([one['adapted'] for one in then]))
            cell[f'{name}_corrections'] = round(np.mean([one['corrected'] for one in then]))
            cell[f'{name}_worst'] = min(one['adapted'] - one['frozen'] for one in then)
            cell[f'{name}_refused'] = sum(one['refused'] for one in then)
        cells.append(cell)
    return cells


def main() -> int:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(prog='python -m benchmark.poisoning', description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, default=5, help='(default: %(default)s)')
    args = parser.parse_args()
    rows = []
    for drift in DRIFTS:
        for case in CASES:
            for cell in cells_of(drift, case, args.seeds):
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
    """Lay the figures out in Markdown, a row for each drift and case."""
    lines = ['| drift | corrections | | frozen | without defence | with it | its worst, minus '
             'frozen | trainings refused |', '| --- | --- | --- | --- | --- | --- | --- | --- |']
    for (drift, case), group in groupby(rows, lambda row: (row['drift'], row['case'])):
        cells = list(group)
        lines.append(f'| {drift}° | {case} | {_joined(cells, "defended_corrections", ",")} | '
                     f'{cells[0]["frozen"]:.1f} | {_joined(cells, "open", ".1f")} | '
                     f'{_joined(cells, "defended", ".1f")} | '
                     f'{_joined(cells, "defended_worst", "+.1f")} | '
                     f'{_joined(cells, "defended_refused", "d")} |')
    return '\n'.join(lines) + '\n'


def _joined(cells: list[dict[str, Any]], name: str, form: str) -> str:
    return ' / '.join(f'{cell[name]:{form}}' for cell in cells)


if __name__ == '__main__':
    sys.exit(main())
