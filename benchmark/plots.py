"""The plots of a finished benchmark (in the benchmark's environment)."""

from __future__ import annotations

import json
from pathlib import Path
import sys
from typing import Any

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot as plt
import numpy as np

METHODS = (('FT-All', '#7f7f7f', 's'), ('LoRA-All', '#d08770', 'o'), ('InstantFT', '#2a6fbb', 'D'))
NAMES = {'FT-All': 'ft_all', 'LoRA-All': 'lora_all', 'InstantFT': 'instantft'}


def main() -> None:
    """Draw what the results hold."""
    out = Path(sys.argv[1])
    results = json.loads((out / 'results.json').read_text())
    plt.rcParams.update({'font.size': 10, 'axes.spines.top': False, 'axes.spines.right': False,
                         'axes.grid': True, 'grid.alpha': 0.3})
    by_labels(results, out / 'accuracy_by_labels.png')
    scaling(results['speed'], out / 'scaling.png')
    over_time(results, out / 'accuracy_over_time.png')


def by_labels(results: dict[str, Any], file: Path) -> None:
    """Accuracy by number of labels, a panel a data set and angle."""
    cells = results['comparison']
    datasets = sorted({cell['dataset'] for cell in cells})
    angles = sorted({cell['angle'] for cell in cells})
    figure, axes = plt.subplots(len(datasets), len(angles), squeeze=False, sharex=True,
                                sharey='row',
                                figsize=(2.2 * len(angles) + 1, 2.3 * len(datasets) + 0.8))
    for row, dataset in enumerate(datasets):
        for axis, angle in zip(axes[row], angles):
            here = [c for c in cells if c['dataset'] == dataset and c['angle'] == angle]
            for method, colour, marker in METHODS:
                axis.plot([c['labels'] for c in here], [c[NAMES[method]] for c in here],
                          color=colour, marker=marker, markersize=4, label=method)
            axis.set_xscale('log', base=2)
            axis.set_xticks([64, 256, 1024, 4096], ['64', '256', '1k', '4k'])
            axis.set_title(f'{dataset}, {angle}°', fontsize=9)
        axes[row, 0].set_ylabel('accuracy, %')
    figure.supxlabel('labelled images', fontsize=10)
    axes[0, 0].legend(frameon=False, fontsize=9)
    figure.tight_layout()
    figure.savefig(file, dpi=130)


def scaling(speed: dict[str, Any], file: Path) -> None:
    """Time of the native kernel over each size, with the fitted slope."""
    figure, axes = plt.subplots(1, len(speed['scaling']), figsize=(13, 3.2), sharey=True)
    for axis, (name, each) in zip(axes, speed['scaling'].items()):
        axis.loglog(each['sizes'], each['ms'], 'o', color='#2a6fbb')
        slope = each['slope'][0]
        middle = np.exp(np.mean(np.log(each['ms'])) - slope * np.mean(np.log(each['sizes'])))
        axis.loglog(each['sizes'], middle * np.array(each['sizes']) ** slope, color='#7f7f7f',
                    linewidth=1)
        axis.set_title(f'{name}, slope {slope:.2f}', fontsize=10)
        axis.set_xticks(each['sizes'], [f'{size:g}' for size in each['sizes']])
        axis.minorticks_off()
    axes[0].set_ylabel('one fine-tuning, ms')
    figure.tight_layout()
    figure.savefig(file, dpi=130)


def over_time(results: dict[str, Any], file: Path) -> None:
    """Time against accuracy: 1 to 20 epochs on 1,024 labels at 45 degrees."""
    datasets = [name for name, values in results['accuracy'].items()
                if any(key.startswith('epochs/') for key in values)]
    if not datasets:
        return
    per_epoch = {method: results['speed']['methods'][name]['ms_per_epoch'] for method, name in (
        ('FT-All', 'PyTorch FT-All'), ('LoRA-All', 'PyTorch LoRA-All, by hand'),
        ('InstantFT', 'native, as shipped'))}
    figure, axes = plt.subplots(1, len(datasets), squeeze=False, figsize=(9, 3.6))
    for axis, dataset in zip(axes[0], datasets):
        values = results['accuracy'][dataset]
        for method, colour, marker in METHODS:
            epochs = sorted({int(key.split('/')[2]) for key in values
                             if key.startswith(f'epochs/{method}/')})
            means = [np.mean([value for key, value in values.items()
                              if key.startswith(f'epochs/{method}/{each}/')]) for each in epochs]
            axis.plot([each * per_epoch[method] for each in epochs], means, color=colour,
                      marker=marker, markersize=5, label=method)
        axis.set_xscale('log')
        axis.set_xlabel('time of the fine-tuning on this machine, ms')
        axis.set_title(f'{dataset}, 45°, 1,024 labels', fontsize=10)
    axes[0, 0].set_ylabel('accuracy, %')
    axes[0, 0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(file, dpi=130)


if __name__ == '__main__':
    main()
