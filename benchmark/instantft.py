"""InstantFT as the node runs it, and with other caches, optimizers and starts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from benchmark import data
from instantft_ros.accelerator.base import Accelerator
from instantft_ros.accelerator.cpu import CpuBackend
from instantft_ros.accelerator.golden import GoldenModel
from instantft_ros.accelerator.job import FineTuneJob
from instantft_ros.accelerator.numpy_reference import descend
from instantft_ros.core import nf4
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.features import FeatureLayout
from instantft_ros.core.forward_cache import CacheUpdate
from instantft_ros.core.replay import ReplaySet
from instantft_ros.pipeline import RANK, TrainingPolicy

CORE_POLICY = TrainingPolicy('sgd', 10, 1, warm_start=True)


@dataclass(frozen=True)
class Variant:
    """One way to run InstantFT; bits: of a uniform cache, 0: NF4, 32: floats."""

    policy: TrainingPolicy = TrainingPolicy()
    rank: int = RANK
    bits: int = 0
    replay: bool = True
    golden: bool = False
    chunks: int = 1     # fine-tunings in a row on a growing share of the labels


VARIANTS = {
    'InstantFT': Variant(),
    'rank 16': Variant(rank=16),
    'rank 4': Variant(rank=4),
    'fp32 cache (Skip2-LoRA style)': Variant(bits=32),
    'uniform 8 bit': Variant(bits=8),
    'uniform 4 bit': Variant(bits=4),
    'uniform 3 bit': Variant(bits=3),
    'uniform 2 bit': Variant(bits=2),
    'without replay': Variant(replay=False),
    'without weight decay': Variant(TrainingPolicy(weight_decay=0.0)),
    'frozen logits as they are': Variant(TrainingPolicy(fit_logits=False)),
    'without logit adjustment': Variant(TrainingPolicy(logit_adjustment=0.0)),
    'warm start, 4 fine-tunings': Variant(TrainingPolicy(warm_start=True), chunks=4),
    'cold start, 4 fine-tunings': Variant(chunks=4),
    'SGD, batch 1, rank 4 (as the core)': Variant(CORE_POLICY, 4),
    'the same in fixed point, one sample of delay': Variant(CORE_POLICY, 4, golden=True),
    'SGD, batch 1, rank 4, rate 20': Variant(replace(CORE_POLICY, rate=20.0), 4),
}


def train(dataset: str, drift: str, variant: Variant, rows: np.ndarray, seed: int) -> Adapter:
    """Fine-tune on the test images of these numbers under a drift; gives the adapter."""
    x, logits = (each[rows] for each in data.features_of(dataset, drift))
    return train_on(dataset, variant, x, logits, data.labels_of(dataset)[rows], seed)


def train_on(dataset: str, variant: Variant, x: np.ndarray, logits: np.ndarray,
             labels: np.ndarray, seed: int) -> Adapter:
    """Fine-tune on features x (N, D), frozen logits (N, C) and labels (N,)."""
    backbone, replay = data.backbone_of(dataset)
    if not variant.replay:
        replay = ReplaySet.empty(backbone.layout)
    start = Adapter.initial(backbone.layout, backbone.digest, variant.rank, seed)
    for part in range(1, variant.chunks + 1):
        count = len(labels) * part // variant.chunks
        trained = _train(variant, start, x[:count], logits[:count], labels[:count], replay, seed)
        if variant.policy.warm_start:
            start = trained
    return trained


def _train(variant: Variant, start: Adapter, x: np.ndarray, logits: np.ndarray,
           labels: np.ndarray, replay: ReplaySet, seed: int) -> Adapter:
    count, layout = len(labels), start.layout
    codes, scales = nf4.quantize(x, layout.tap_sizes)
    update = replay.extend(CacheUpdate('benchmark', 0, 1, count, np.arange(count), codes, scales,
                                       logits, labels))
    order = np.random.default_rng(seed).permutation(count)
    start = variant.policy.calibrated(start, update.logits, update.labels)
    norm = float(np.square(x).sum(axis=1).mean())
    order = replay.mix_in(order, count)
    schedule = variant.policy.schedule(len(order), norm)
    if variant.bits:
        replayed = nf4.dequantize(replay.codes, replay.scales, layout.tap_sizes)
        cached = uniform(np.concatenate([x, replayed]), layout, variant.bits)
        trained = descend(start, schedule, cached[order], update.logits[order],
                          update.labels[order])
        return replace(start, a=trained.a, b=trained.b)
    backend: Accelerator = GoldenModel() if variant.golden else CpuBackend()
    return backend.fine_tune(FineTuneJob(update, start, order, schedule)).adapter


def uniform(x: np.ndarray, layout: FeatureLayout, bits: int) -> np.ndarray:
    """Quantize and dequantize uniformly, one scale per tap; 32 bits: leave alone."""
    if bits == 32:
        return x
    result = x.copy()
    levels = 2 ** (bits - 1) - 1
    for tap in layout.slices:
        scale = np.maximum(np.abs(x[:, tap]).max(axis=1, keepdims=True), 1e-12) / levels
        result[:, tap] = np.round(x[:, tap] / scale) * scale
    return result


def accuracy(dataset: str, drift: str, adapter: Adapter, rows: np.ndarray) -> float:
    """Give the accuracy in percent on the test images of these numbers under a drift."""
    x, logits = (each[rows] for each in data.features_of(dataset, drift))
    return 100.0 * float((adapter(x, logits).argmax(axis=1) == data.labels_of(dataset)[rows])
                         .mean())
