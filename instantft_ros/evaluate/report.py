"""The evaluation's result: evaluation.json, predictions.csv, accuracy.png, a table."""

from __future__ import annotations

from collections import Counter
import csv
import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from instantft_ros.core.files import write_atomically
from instantft_ros.evaluate.judgement import accuracy, Judged, over_time
from instantft_ros.evaluate.replay import Log

#: Reasons that are listed one by one, the most frequent ones first.
MAX_REASONS = 10


def figures(log: Log, judged: Judged, classes: tuple[str, ...]) -> dict[str, Any]:
    """Give the figures of evaluation.json (doc/evaluate.md); accuracies in percent."""
    accepted = len(log.corrections_at)
    return {
        'judged_by': judged.by,
        'frames': {'read': log.frames, 'classified': len(log.seen) + log.repeated,
                   'rejected': log.rejected.total(), 'repeated_stamps': log.repeated,
                   'judged': len(judged.frames)},
        'accuracy': _plain(accuracy(judged, np.ones(len(judged.frames), bool))),
        'accuracy_since_first_adapter': _plain(accuracy(judged, judged.version > 0)),
        'accuracy_per_class': {name: _plain(accuracy(judged, judged.label == label))
                               for label, name in enumerate(classes)},
        'accuracy_over_time': [{'first': window.first, 'last': window.last}
                               | _plain(window.accuracy) for window in over_time(judged)],
        'ground_truth': {'received': len(log.truths) + log.unusable_truths.total(),
                         'of_classified_frames': len(log.truths.keys() & log.seen.keys())},
        'corrections': {'received': log.corrections, 'accepted': accepted,
                        'refused': log.refused_corrections.total()},
        'adapters': {'trained': len(log.train_ms), 'live': len(log.swaps_at),
                     'refused': log.refused.total(), 'failed': log.failed.total()},
        'train_ms': {f'p{q}': round(float(np.percentile(log.train_ms, q)), 2)
                     if log.train_ms else None for q in (50, 99)},
        'reasons': {'frames_rejected': _most(log.rejected),
                    'corrections_refused': _most(log.refused_corrections),
                    'ground_truth_unusable': _most(log.unusable_truths),
                    'adapters_refused': _most(log.refused),
                    'trainings_failed': _most(log.failed)},
    }


def write(out: Path, result: dict[str, Any], log: Log, judged: Judged, classes: tuple[str, ...],
          axis: str) -> None:
    """Write the three files; raises `OSError`."""
    write_atomically(out / 'evaluation.json', (json.dumps(result, indent=2) + '\n').encode())
    write_atomically(out / 'predictions.csv', _table_of_frames(judged, classes).encode())
    _plot(out / 'accuracy.png', result, log, axis)


def table(result: dict[str, Any]) -> str:
    """Lay the figures out for the terminal."""
    frames, corrections, adapters = (result[key] for key in ('frames', 'corrections', 'adapters'))
    train_ms = result['train_ms']['p50']
    lines = [f'{frames["read"]} frames, {frames["rejected"]} rejected, {frames["judged"]} judged '
             f'by {result["judged_by"]}',
             f'{corrections["received"]} corrections, {corrections["refused"]} refused',
             f'{adapters["live"]} adapters live, {adapters["refused"]} refused, '
             f'{adapters["failed"]} trainings failed'
             + ('' if train_ms is None else f'; training p50 {train_ms} ms'), '',
             f'{"accuracy":34}{"frames":>8}{"adapted":>10}{"frozen":>10}']
    for key, name in (('accuracy', 'all judged frames'),
                      ('accuracy_since_first_adapter', 'since the first adapter')):
        row = result[key]
        lines.append(f'{name:34}{row["frames"]:8}{_shown(row["adapted"]):>10}'
                     f'{_shown(row["frozen"]):>10}')
    if frames['repeated_stamps']:
        lines.append(f'{frames["repeated_stamps"]} frames have the stamp of an earlier one and '
                     'are not judged')
    truths = result['ground_truth']
    if truths['received'] and not truths['of_classified_frames']:
        lines.append(f'none of the {truths["received"]} ground truths names a classified frame')
    for key, reasons in result['reasons'].items():
        lines += [f'{key.replace("_", " ")}: {count} x {reason}'
                  for reason, count in list(reasons.items())[:3]]
    return '\n'.join(lines)


def _shown(percent: float | None) -> str:
    return 'none' if percent is None else f'{percent:.1f} %'


def _plain(value: Any) -> dict[str, Any]:
    return dataclasses.asdict(value)


def _most(reasons: Counter[str]) -> dict[str, int]:
    return dict(reasons.most_common(MAX_REASONS))


def _table_of_frames(judged: Judged, classes: tuple[str, ...]) -> str:
    stream = io.StringIO()
    rows = csv.writer(stream, lineterminator='\n')
    rows.writerow(['view', 'stamp_ns', 'position', 'label', 'adapted', 'frozen', 'version'])
    for i, frame in enumerate(judged.frames):
        rows.writerow([*dataclasses.astuple(frame), float(judged.position[i]),
                       *(classes[each[i]] for each in (judged.label, judged.adapted,
                                                       judged.frozen)), judged.version[i]])
    return stream.getvalue()


def _plot(path: Path, result: dict[str, Any], log: Log, axis: str) -> None:
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt

    windows = [each for each in result['accuracy_over_time'] if each['frames']]
    middle = [(each['first'] + each['last']) / 2 for each in windows]
    figure, axes = plt.subplots(figsize=(10, 4.8), layout='constrained')
    axes.plot(middle, [each['adapted'] for each in windows], '.-', color='#1b6ca8', lw=2.2,
              label='with corrections')
    axes.plot(middle, [each['frozen'] for each in windows], '.--', color='#999999', lw=1.6,
              label='frozen network, same frames')
    for at, height, colour, name in ((log.corrections_at, -4.0, '#c0392b', 'corrections'),
                                     (log.swaps_at, -9.0, '#2e8b57', 'adapter swaps')):
        axes.plot(at, np.full(len(at), height), '|', color=colour, ms=9, mew=1.4,
                  label=f'{name} ({len(at)})')
    since = result['accuracy_since_first_adapter']
    axes.set_title(f"{result['frames']['judged']} frames judged by {result['judged_by']}; since "
                   f"the first adapter {_shown(since['adapted'])}, frozen "
                   f"{_shown(since['frozen'])}", fontsize=10)
    axes.set(ylim=(-13, 105), xlabel=axis, ylabel='accuracy, %', yticks=range(0, 101, 20))
    axes.grid(axis='y', color='#e5e5e5')
    axes.set_axisbelow(True)
    axes.spines[['top', 'right']].set_visible(False)
    axes.legend(loc='upper center', bbox_to_anchor=(0.5, -0.13), ncols=4, fontsize=8,
                frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
