"""
Accuracy of one data set: every method at every drift and number of labels, over seeds.

Each PyTorch baseline is tuned first, all over the same settings, on images and seeds that the
evaluation does not use. All visit as many samples as InstantFT does (`TrainingPolicy.schedule`).
"""

from __future__ import annotations

import argparse
from functools import cache
import json
from pathlib import Path

import numpy as np
import torch

from benchmark import baselines, data, instantft
from benchmark.cells import Cells, source_digest, WITH_REPLAY
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.replay import first_images
from instantft_ros.pipeline import EPOCHS, TrainingPolicy, VISITS

LABELS = (64, 128, 256, 512, 1024, 4096)
SEEDS = 5

#: What all results depend on, and those of InstantFT besides.
SOURCES = ('benchmark/baselines.py', 'benchmark/data.py')
OWN_SOURCES = (*SOURCES, 'benchmark/instantft.py', 'instantft_ros/pipeline.py', 'native',
               'instantft_ros/accelerator/numpy_reference.py', 'instantft_ros/core/adapter.py',
               'instantft_ros/core/backbone.py', 'instantft_ros/core/calibration.py',
               'instantft_ros/core/nf4.py', 'instantft_ros/core/replay.py')

#: Where the baselines' settings are chosen.
TUNING_LABELS, TUNING_ANGLES, TUNING_SEEDS = (128, 1024), ('45', '75'), 2


def main() -> None:
    """Compute the missing cells of one data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('dataset', choices=('mnist', 'fashion-mnist'))
    parser.add_argument('--out', type=Path, required=True, help='file of the results')
    parser.add_argument('--quick', action='store_true')
    args = parser.parse_args()
    torch.set_num_threads(1)
    cells = open_cells(args.out, args.dataset)
    benchmark = Benchmark(args.dataset, cells)
    if args.quick:
        quick(benchmark)
    else:
        whole(benchmark)
    args.out.with_suffix('.json').write_text(json.dumps(cells.all()) + '\n')


def quick(benchmark: Benchmark) -> None:
    """Compute a few cells, tuned over as many settings as there is time for."""
    benchmark.tune(('LoRA-All', 'FT-All'), seeds=1, labels=(1024,), angles=('75',),
                   settings=tuple(each for each in baselines.SETTINGS
                                  if each.optimizer == 'adam' and each.decay))
    benchmark.evaluate(('LoRA-All', 'FT-All'), ('InstantFT',), ('45', '75'), (1024,), 1)


def whole(benchmark: Benchmark) -> None:
    """Everything."""
    benchmark.tune(baselines.METHODS)
    angles = tuple(map(str, data.ANGLES))
    benchmark.evaluate(('LoRA-All', 'FT-All'), ('InstantFT',), angles, LABELS, SEEDS)
    benchmark.evaluate(('LoRA-All' + WITH_REPLAY, 'FT-All' + WITH_REPLAY), ('without replay',),
                       angles, (64, 256, 1024), SEEDS)
    benchmark.evaluate((), instantft.VARIANTS, ('15', '45', '75'), (64, 256, 1024), SEEDS)
    benchmark.evaluate(('FT-Last', 'LoRA-Last'), (), ('45', '75'), (64, 256, 1024), SEEDS)
    benchmark.evaluate(('LoRA-All', 'FT-All'), ('InstantFT',), data.OTHER_DRIFTS, (1024,), 2)
    benchmark.forgetting(('45', '75'), (256, 1024), SEEDS)
    benchmark.over_epochs('45', 1024, 2)


def open_cells(path: Path, dataset: str) -> Cells:
    """Open a file of results, which all depend on the frozen network too."""
    network = data.backbone_of(dataset)[0].digest
    baseline, own = (f'{source_digest(*each)} {network}' for each in (SOURCES, OWN_SOURCES))

    def digest_of(key: str) -> str:
        what, method = key.split('/')[:2]
        theirs = what in ('tuning', 'setting') or method == 'frozen' or _is_baseline(method)
        # all visit as many samples as InstantFT does
        return f'{baseline} {VISITS} {EPOCHS}' if theirs else own

    return Cells(path, digest_of)


class Benchmark:
    """One data set's cells; a key is `what/method/drift/labels/seed`, a value percent right."""

    def __init__(self, dataset: str, cells: Cells) -> None:
        self._dataset, self._cells = dataset, cells
        backbone, _ = data.backbone_of(dataset)
        self._weights = data.manifest_of(dataset).parent / backbone.manifest.network

    def tune(self, methods: tuple[str, ...], seeds: int = TUNING_SEEDS,
             labels: tuple[int, ...] = TUNING_LABELS, angles: tuple[str, ...] = TUNING_ANGLES,
             settings: tuple[baselines.Setting, ...] = baselines.SETTINGS) -> None:
        """Choose each method's setting: the best mean accuracy on the tuning images."""
        keys = [f'tuning/{method}/{number}/{angle}/{count}/{seed}'
                for method in methods for number in range(len(settings))
                for angle in angles for count in labels for seed in range(seeds)]
        self._cells.fill(f'{self._dataset}, tuning', keys, lambda key: self._tuned(key, settings),
                         cost=lambda key: _visits(int(key.split('/')[-2])))
        for method in methods:
            means = [np.mean([self._cells[key] for key in keys
                              if key.startswith(f'tuning/{method}/{number}/')])
                     for number in range(len(settings))]
            best = settings[int(np.argmax(means))]
            tried = [each.rate for each in settings if each.optimizer == best.optimizer]
            self._cells.put(f'setting/{method}', [
                best.optimizer, best.rate, best.decay, float(max(means)),
                best.rate in (min(tried), max(tried))])

    def _tuned(self, key: str, settings: tuple[baselines.Setting, ...]) -> float:
        _, method, number, angle, count, seed = key.split('/')
        return self._baseline(method, angle, int(count), int(seed), settings[int(number)], True)

    def evaluate(self, methods: tuple[str, ...], variants: object, drifts: tuple[str, ...],
                 labels: tuple[int, ...], seeds: int) -> None:
        """Compute the cells of baselines and of variants of InstantFT."""
        keys = [f'accuracy/{method}/{drift}/{count}/{seed}' for seed in range(seeds)
                for count in labels for drift in drifts
                for method in (*methods, *variants, 'frozen')]  # type: ignore[misc]

        def compute(key: str) -> float:
            _, method, drift, count, seed = key.split('/')
            if _is_baseline(method):
                optimizer, rate, decay, *_ = self._cells[
                    f'setting/{method.removesuffix(WITH_REPLAY)}']
                return self._baseline(method, drift, int(count), int(seed),
                                      baselines.Setting(optimizer, rate, decay), False)
            split = data.split(self._dataset, int(seed), tuning=False)
            if method == 'frozen':
                _, logits = data.features_of(self._dataset, drift)
                right = logits.argmax(axis=1) == data.labels_of(self._dataset)
                return 100.0 * float(right[split.test].mean())
            adapter = instantft.train(self._dataset, drift, instantft.VARIANTS[method],
                                      split.train[:int(count)], int(seed))
            return instantft.accuracy(self._dataset, drift, adapter, split.test)

        def cost(key: str) -> float:
            _, method, _, count, _ = key.split('/')
            return _visits(int(count)) * (10.0 if _is_baseline(method) else 1.0)

        self._cells.fill(f'{self._dataset}, accuracy', keys, compute, cost)

    def forgetting(self, angles: tuple[str, ...], labels: tuple[int, ...], seeds: int) -> None:
        """Accuracy on drifted and on upright images, with shares of replayed samples."""
        keys = [f'forgetting/{share}/{angle}/{count}/{seed}' for share in (0, 8, 4)
                for angle in angles for count in labels for seed in range(seeds)]

        def compute(key: str) -> list[float]:
            _, share, angle, count, seed = key.split('/')
            return self._with_replay(int(share), angle, int(count), int(seed))

        self._cells.fill(f'{self._dataset}, forgetting', keys, compute)

    def _with_replay(self, share: int, angle: str, count: int, seed: int) -> list[float]:
        """Give accuracies (drifted, upright) when 1 / share of the cache is upright samples."""
        split = data.split(self._dataset, seed, tuning=False)
        old = count // share if share else 0
        new_rows, old_rows = split.train[:count - old], split.train[len(split.train) - old:]
        x, logits = (np.concatenate([new[new_rows], upright[old_rows]])
                     for new, upright in zip(data.features_of(self._dataset, angle),
                                             data.features_of(self._dataset, '0')))
        labels = data.labels_of(self._dataset)[np.concatenate([new_rows, old_rows])]
        adapter = instantft.train_on(self._dataset, instantft.Variant(replay=False), x, logits,
                                     labels, seed)
        return [instantft.accuracy(self._dataset, drift, adapter, split.test)
                for drift in (angle, '0')]

    def over_epochs(self, angle: str, count: int, seeds: int) -> None:
        """Accuracy after 1, 2, 5, 10 and 20 epochs, each with a schedule of that length."""
        keys = [f'epochs/{method}/{epochs}/{seed}' for method in (*baselines.METHODS, 'InstantFT')
                for epochs in (1, 2, 5, 10, 20) for seed in range(seeds)]

        def compute(key: str) -> float:
            _, method, epochs, seed = key.split('/')
            split = data.split(self._dataset, int(seed), tuning=False)
            if method == 'InstantFT':
                variant = instantft.Variant(TrainingPolicy(epochs=int(epochs)))
                adapter: Adapter = instantft.train(self._dataset, angle, variant,
                                                   split.train[:count], int(seed))
                return instantft.accuracy(self._dataset, angle, adapter, split.test)
            optimizer, rate, decay, *_ = self._cells[f'setting/{method}']
            return self._baseline(method, angle, count, int(seed),
                                  baselines.Setting(optimizer, rate, decay), False, int(epochs))

        self._cells.fill(f'{self._dataset}, epochs', keys, compute)

    def _baseline(self, method: str, drift: str, count: int, seed: int,
                  setting: baselines.Setting, tuning: bool, epochs: int = 0) -> float:
        split = data.split(self._dataset, seed, tuning)
        images, labels = data.drifted(self._dataset, drift), data.labels_of(self._dataset)
        network = baselines.LeNet5(self._weights, method.removesuffix(WITH_REPLAY), seed)
        rows = split.train[:count]
        learned, answers = images[rows], labels[rows]
        if method.endswith(WITH_REPLAY):
            replayed = _replay_images(self._dataset)
            learned = np.concatenate([learned, replayed[0]])
            answers = np.concatenate([answers, replayed[1]])
        epochs = epochs or TrainingPolicy().schedule(len(answers), 1.0).epochs
        for _ in baselines.train(network, learned, answers, setting, epochs, seed):
            pass
        return baselines.accuracy(network, images[split.test], labels[split.test])


def _is_baseline(method: str) -> bool:
    return method.removesuffix(WITH_REPLAY) in baselines.METHODS


@cache
def _replay_images(dataset: str) -> tuple[np.ndarray, np.ndarray]:
    """Give the images (R, 28, 28) and labels (R,) that InstantFT replays."""
    backbone, replay = data.backbone_of(dataset)
    return first_images(backbone, len(replay) // backbone.layout.classes)


def _visits(count: int) -> float:
    return float(count * TrainingPolicy().schedule(count, 1.0).epochs)


if __name__ == '__main__':
    main()
