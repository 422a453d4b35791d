"""Images, backbones and drifts of the accuracy benchmark, and which images are for what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from benchmark.cells import ROOT, source_digest
from instantft_ros.core.backbone import Backbone
from instantft_ros.core.replay import ReplaySet
from instantft_ros.models import DEFAULT_MANIFEST
from instantft_ros.training import datasets

OUT = ROOT / 'out' / 'bench'
DATA = ROOT / 'out' / 'data'

ANGLES = (15, 30, 45, 60, 75, 90)
OTHER_DRIFTS = ('blur', 'noise', 'dark', 'low contrast', 'inverted', 'occluded')


@dataclass(frozen=True)
class Split:
    """Numbers of the test images to draw labels from, and of those to test on."""

    train: np.ndarray
    test: np.ndarray


def manifest_of(dataset: str) -> Path:
    """Give the manifest of a data set's LeNet-5; MNIST's is trained on first use."""
    if dataset == 'fashion-mnist':
        return DEFAULT_MANIFEST
    folder = OUT / 'models' / f'{dataset}-{source_digest("instantft_ros/training")}'
    if not (folder / 'replay.npz').exists():
        from instantft_ros.training import lenet
        lenet.main(['--dataset', dataset, '--out', str(folder), '--cache', str(DATA)])
    return folder / 'manifest.json'


@cache
def backbone_of(dataset: str) -> tuple[Backbone, ReplaySet]:
    """Load a data set's backbone and its replay samples, as many as the node uses."""
    backbone = Backbone(manifest_of(dataset))
    return backbone, ReplaySet.load(backbone, 8)


@cache
def drifted(dataset: str, drift: str) -> np.ndarray:
    """Give all test images (10000, 28, 28) uint8 under a drift: an angle, or a name."""
    _, _, images, _ = datasets.load(dataset, DATA)
    return np.stack([_drift(image, drift, number) for number, image in enumerate(images)])


def _drift(image: np.ndarray, drift: str, number: int) -> np.ndarray:
    if drift.isdigit():
        turn = cv2.getRotationMatrix2D((13.5, 13.5), int(drift), 1)
        return cv2.warpAffine(image, turn, (28, 28))
    if drift == 'blur':
        return cv2.GaussianBlur(image, (0, 0), 2.0)
    if drift == 'noise':
        noise = np.random.default_rng(number).normal(0, 60, image.shape)
        return np.asarray(np.clip(image + noise, 0, 255), np.uint8)
    if drift == 'dark':
        return np.asarray(image * 0.25, np.uint8)
    if drift == 'low contrast':
        return np.asarray(100 + image * 0.3, np.uint8)
    if drift == 'inverted':
        return np.asarray(255 - image)
    assert drift == 'occluded'
    image = image.copy()
    row, column = np.random.default_rng(number).integers(4, 16, 2)
    image[row:row + 10, column:column + 10] = 128
    return image


@cache
def labels_of(dataset: str) -> np.ndarray:
    """Give the labels (10000,) int64 of the test images."""
    labels: np.ndarray = datasets.load(dataset, DATA)[3].astype(np.int64)
    return labels


@cache
def features_of(dataset: str, drift: str) -> tuple[np.ndarray, np.ndarray]:
    """Give the backbone's x (10000, D) and logits (10000, C) of all test images under a drift."""
    backbone, _ = backbone_of(dataset)
    each = [backbone.features(backbone.preprocess(image)) for image in drifted(dataset, drift)]
    return np.stack([one.x for one in each]), np.stack([one.logits for one in each])


def split(dataset: str, seed: int, tuning: bool) -> Split:
    """
    Split the test images for one seed.

    Half of them were free for every choice of a method or a rate (doc/method.md) and serve for
    tuning; evaluation uses images from the other half alone, and other seeds.
    """
    order = np.random.default_rng(77).permutation(len(labels_of(dataset)))
    rng = np.random.default_rng(seed + (1000 if tuning else 0))
    rows = rng.permutation(order[5000:9500] if tuning
                           else np.concatenate([order[:5000], order[9500:]]))
    return Split(rows[:2500], rows[2500:]) if tuning else Split(rows[:4096], rows[4096:])
