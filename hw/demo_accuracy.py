"""
The demo's accuracy with backend `sim` against `cpu`, on the same frames and corrections.

`python hw/demo_accuracy.py` runs the demo's world without ROS, several seeds. Two pipelines see
every frame; the operator corrects what the one with `cpu` gets wrong, both are told. Over the last
15 s each adapter that goes live is tried on every garment of the belt, fully drifted. In the demo
itself each run draws other corrections, as these depend on timing, and shows 90 garments in its
last 15 s: that alone moves its accuracy by several points.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import yaml  # noqa: E402

from instantft_ros.accelerator import registry  # noqa: E402
from instantft_ros.accelerator.base import Accelerator  # noqa: E402
from instantft_ros.adaptation.gate import GatePolicy  # noqa: E402
from instantft_ros.adaptation.versions import VersionHistory  # noqa: E402
from instantft_ros.core.adapter import Adapter  # noqa: E402
from instantft_ros.core.backbone import Backbone, Region  # noqa: E402
from instantft_ros.core.class_list import ClassList  # noqa: E402
from instantft_ros.core.corrections import Correction, Selector  # noqa: E402
from instantft_ros.core.forward_cache import ForwardCache  # noqa: E402
from instantft_ros.core.frame_ring import FrameId, FrameRing  # noqa: E402
from instantft_ros.demo.belt import Belt, Drift, STATION  # noqa: E402
from instantft_ros.models import DEFAULT_MANIFEST  # noqa: E402
from instantft_ros.pipeline import Pipeline, replay_and_guard, TrainingPolicy  # noqa: E402

CONFIG = yaml.safe_load((ROOT / 'config' / 'demo.yaml').read_text())
WORLD = CONFIG['/**']['ros__parameters']['world']
CLASSIFIER = CONFIG['/**/classifier']['ros__parameters']
#: what the core can do
CORE = {'replay_per_class': 8} | yaml.safe_load((ROOT / 'config' / 'kv260.yaml').read_text())[
    '/**/classifier']['ros__parameters']
OPERATOR = CONFIG['/**/demo_operator']['ros__parameters']

LAST_S = 15.0


def run(seed: int, accelerators: dict[str, Accelerator], rate: float) -> dict[str, float]:
    """Give the mean accuracy in percent of each backend's adapters over the last 15 s."""
    backbone = Backbone(DEFAULT_MANIFEST)
    drift = Drift(WORLD['drift_start_s'], WORLD['drift_end_s'], WORLD['tilt_deg'],
                  WORLD['gain'], WORLD['noise'])
    belt = Belt(seed, drift, WORLD['rate_hz'], WORLD['dwell'])
    pipelines = {name: Pipeline(
        backbone, FrameRing(['camera'], 900),
        ForwardCache(backbone.layout, CLASSIFIER['cache_capacity'], holdout_share=0.1),
        VersionHistory(Adapter.initial(backbone.layout, backbone.digest, CORE['rank'])),
        ClassList(backbone.manifest.classes, 10),
        *replay_and_guard(backbone, CORE['replay_per_class']))
        for name in accelerators}
    x, logits, labels = every_garment(backbone, belt)
    accuracies: dict[str, list[float]] = {name: [] for name in accelerators}
    due: list[tuple[float, int]] = []
    free_at_s = WORLD['operator_start_s']
    first = round((WORLD['operator_start_s'] - 1.0) * WORLD['rate_hz'])
    for index in range(first, round(WORLD['duration_s'] * WORLD['rate_hz'])):
        time_s = index / WORLD['rate_hz']
        image = belt.frame(index)
        seen = {name: pipeline.classify(FrameId('camera', index), image, Region(*STATION))
                for name, pipeline in pipelines.items()}
        if time_s >= free_at_s and int(seen['cpu'].scores.argmax()) != belt.label(index):
            due.append((time_s + OPERATOR['reaction_s'], index // WORLD['dwell']))
            free_at_s = time_s + 1.0 / OPERATOR['rate_hz']
        while due and due[0][0] <= time_s:
            garment = due.pop(0)[1] * WORLD['dwell']
            correction = Correction('camera', Selector.WINDOW, belt.label(garment), index, garment,
                                    garment + WORLD['dwell'] - 1)
            for name, pipeline in pipelines.items():
                learn(pipeline, accelerators[name], correction, rate)
                if time_s >= WORLD['duration_s'] - LAST_S:
                    z = pipeline.versions.current.adapter(x, logits)
                    accuracies[name].append(100.0 * float((z.argmax(axis=1) == labels).mean()))
    return {name: float(np.mean(values)) for name, values in accuracies.items()}


def every_garment(backbone: Backbone, belt: Belt) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give features (N, D), frozen logits (N, C) and labels (N,) of each garment, drifted."""
    first = round(WORLD['duration_s'] * WORLD['rate_hz'])
    frames = range(first, first + 800 * WORLD['dwell'], WORLD['dwell'])
    features = [backbone.features(backbone.preprocess(belt.frame(index), Region(*STATION)))
                for index in frames]
    return (np.stack([each.x for each in features]), np.stack([each.logits for each in features]),
            np.array([belt.label(index) for index in frames]))


def learn(pipeline: Pipeline, accelerator: Accelerator, correction: Correction,
          rate: float) -> None:
    """Take a correction and fine-tune, as the node does in the demo."""
    pipeline.correct(correction)
    job = pipeline.job(TrainingPolicy(CORE['optimizer'], CORE['epochs'], CORE['batch_size'], rate,
                                      CORE['warm_start']), 0)
    pipeline.suspects.look_again(pipeline.cache)
    if job is not None:
        pipeline.adopt(accelerator.fine_tune(job), job, pipeline.versions.current.number,
                       GatePolicy())


def main() -> None:
    """Print one line a seed, and the mean difference with its standard error."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, default=10)
    parser.add_argument('--first-seed', type=int, default=1)
    parser.add_argument('--rate', type=float, default=0.0, help='0: the default')
    arguments = parser.parse_args()
    accelerators = {name: registry.create(name) for name in ('cpu', 'sim')}
    differences = []
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
        accuracy = run(seed, accelerators, arguments.rate)
        differences.append(accuracy['sim'] - accuracy['cpu'])
        print(f'seed {seed}: cpu {accuracy["cpu"]:.1f} %, sim {accuracy["sim"]:.1f} %, '
              f'difference {differences[-1]:+.2f}', flush=True)
    error = np.std(differences, ddof=1) / len(differences) ** 0.5
    print(f'mean difference {np.mean(differences):+.2f} points, standard error {error:.2f}')


if __name__ == '__main__':
    main()
