"""The demo's result: figures checked against a second computation, and the plot."""

from __future__ import annotations

from dataclasses import dataclass, field
import json
from pathlib import Path
from typing import Any

import numpy as np

from instantft_ros.core.adapter import Adapter
from instantft_ros.core.backbone import Backbone, Region
from instantft_ros.demo.belt import STATION
from instantft_ros.demo.world_parameters import WorldParameters
from instantft_ros.models import DEFAULT_MANIFEST
from instantft_ros.pipeline import softmax

#: The stretch at the end over which the adapted accuracy is taken, seconds.
LAST_S = 15.0

#: Published scores and those computed again may differ by rounding only.
SAME_SCORES = 1e-4


@dataclass(frozen=True)
class Seen:
    """One published prediction: the frame's number and the version and scores (C,) it has."""

    index: int
    version: int
    scores: np.ndarray


@dataclass
class Log:
    """What the monitor saw. Times in seconds since the first frame, durations in ms."""

    frames_published: int = 0
    seen: list[Seen] = field(default_factory=list)
    corrections_s: list[float] = field(default_factory=list)
    swaps_s: list[float] = field(default_factory=list)
    retrain_ms: list[float] = field(default_factory=list)
    correction_to_prediction_ms: list[float] = field(default_factory=list)
    node: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Checked:
    """Per prediction: right or wrong as published, right or wrong without any adapter."""

    time_s: np.ndarray
    right: np.ndarray
    frozen_right: np.ndarray
    mixed: int


def check(log: Log, world: WorldParameters, adapters: Path) -> Checked:
    """
    Render every frame again, and run the network and the adapter version it was predicted with.

    A prediction that its version's adapter does not give is counted as mixed.
    """
    belt, backbone = world.belt(), Backbone(DEFAULT_MANIFEST)
    versions = {0: Adapter.initial(backbone.layout, backbone.digest)}
    right, frozen_right, mixed = [], [], 0
    for seen in log.seen:
        if seen.version not in versions:
            versions[seen.version] = Adapter.load(adapters / f'adapter-{seen.version:06d}.npz')
        network_input = backbone.preprocess(belt.frame(seen.index), Region(*STATION))
        features = backbone.features(network_input)
        scores = softmax(versions[seen.version](features.x, features.logits))
        mixed += not np.allclose(scores, seen.scores, atol=SAME_SCORES)
        label = belt.label(seen.index)
        right.append(int(seen.scores.argmax()) == label)
        frozen_right.append(int(features.logits.argmax()) == label)
    times = np.array([seen.index for seen in log.seen]) / world.rate_hz
    return Checked(times, np.array(right, bool), np.array(frozen_right, bool), mixed)


def summary(log: Log, checked: Checked, world: WorldParameters) -> dict[str, Any]:
    """Give the figures of `summary.json`; accuracies in percent."""
    def accuracy(values: np.ndarray, first_s: float, last_s: float) -> float | None:
        chosen = values[(checked.time_s >= first_s) & (checked.time_s < last_s)]
        return round(100.0 * float(chosen.mean()), 1) if len(chosen) else None

    def quantiles(values: list[float]) -> dict[str, float | None]:
        return {name: round(float(np.percentile(values, q)), 1) if values else None
                for name, q in (('p50', 50), ('p99', 99))}

    last_s = world.duration_s - LAST_S
    node = log.node
    return {
        'accuracy_before_drift': accuracy(checked.right, 0.0, world.drift_start_s),
        'accuracy_after_drift': accuracy(checked.right, world.drift_end_s,
                                         world.operator_start_s),
        'accuracy_adapted': accuracy(checked.right, last_s, world.duration_s),
        'accuracy_frozen_same_frames': accuracy(checked.frozen_right, last_s, world.duration_s),
        'corrections': len(log.corrections_s),
        'retrainings': node['trainings'],
        'retrainings_failed': node['trainings_failed'],
        'retrainings_refused': node['trainings_refused'],
        'retrain_ms': quantiles(log.retrain_ms),
        'correction_to_prediction_ms': quantiles(log.correction_to_prediction_ms),
        'frames_published': log.frames_published,
        'frames_received': node['images_received'],
        'frames_superseded': node['images_superseded'],
        'predictions_published': node['predictions'],
        'predictions_seen': len(log.seen),
        'frames_lost': (node['images_received'] - node['images_superseded']
                        - node['images_stale'] - node['images_rejected']
                        - node['predictions']),
        'frames_lost_in_transport': log.frames_published - node['images_received'],
        'mixed_version_predictions': checked.mixed,
    }


def write(out: Path, log: Log, checked: Checked, world: WorldParameters,
          figures: dict[str, Any]) -> None:
    """Write `summary.json` and `accuracy.png`."""
    (out / 'summary.json').write_text(json.dumps(figures, indent=2) + '\n')
    _plot(out / 'accuracy.png', log, checked, world, figures)


def table(figures: dict[str, Any]) -> str:
    """Lay the figures out for the terminal."""
    def shown(key: str, value: Any) -> str:
        if isinstance(value, dict):
            return '   '.join(f'{name} {shown(key, each)}' for name, each in value.items())
        if value is None:
            return 'none'
        unit = ' %' if key.startswith('accuracy') else ' ms' if key.endswith('_ms') else ''
        return f'{value}{unit}'

    return '\n'.join(f'  {key.replace("_ms", "").replace("_", " "):32}{shown(key, value)}'
                     for key, value in figures.items())


def _plot(path: Path, log: Log, checked: Checked, world: WorldParameters,
          figures: dict[str, Any]) -> None:
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    window_s = 3.0
    grid = np.arange(window_s / 2, world.duration_s - window_s / 2, 0.25)

    def smooth(values: np.ndarray) -> np.ndarray:
        means = [values[np.abs(checked.time_s - t) <= window_s / 2] for t in grid]
        return np.array([100.0 * part.mean() if len(part) else np.nan for part in means])

    figure, axes = plt.subplots(figsize=(10, 4.8), layout='constrained')
    axes.axvspan(world.drift_start_s, world.drift_end_s, color='#f3d9b1', lw=0,
                 label=f'drift: tilt 0 to {world.tilt_deg:.0f}°, darker, noisier')
    axes.axvline(world.operator_start_s, color='#555555', ls=':', lw=1.2)
    axes.annotate('operator begins', (world.operator_start_s, 101), fontsize=9, color='#555555',
                  ha='center', annotation_clip=False)
    axes.plot(grid, smooth(checked.right), color='#1b6ca8', lw=2.2, label='with corrections')
    axes.plot(grid, smooth(checked.frozen_right), color='#999999', lw=1.6, ls='--',
              label='frozen network, same frames')
    axes.plot(log.corrections_s, np.full(len(log.corrections_s), -4.0), '|', color='#c0392b',
              ms=9, mew=1.4, label=f'corrections ({len(log.corrections_s)})')
    axes.plot(log.swaps_s, np.full(len(log.swaps_s), -9.0), '|', color='#2e8b57', ms=9, mew=1.4,
              label=f'adapter swaps ({len(log.swaps_s)})')
    retrain, reaction = figures['retrain_ms'], figures['correction_to_prediction_ms']
    axes.set_title(f"retraining p50 {retrain['p50']} ms, correction to first prediction that "
                   f"knows it p50 {reaction['p50']} ms, p99 {reaction['p99']} ms", fontsize=10)
    axes.set(xlim=(0, world.duration_s), ylim=(-13, 105), xlabel='time, s',
             ylabel=f'accuracy over {window_s:.0f} s, %', yticks=range(0, 101, 20))
    axes.grid(axis='y', color='#e5e5e5')
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(loc='upper center', bbox_to_anchor=(0.5, -0.13), ncols=5, fontsize=8,
                frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
