"""The job whose time is measured, and others around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from instantft_ros.accelerator.job import FineTuneJob, Schedule
from instantft_ros.core import nf4
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.features import FeatureLayout
from instantft_ros.core.forward_cache import CacheUpdate
from instantft_ros.pipeline import RANK as SHIPPED_RANK
from instantft_ros.pipeline import TrainingPolicy

SAMPLES, EPOCHS, RANK = 1024, 10, 4
TAPS = (784, 864, 256, 120, 84)


@dataclass(frozen=True)
class Shape:
    """What a job's cost is measured over; the defaults are the standard job."""

    samples: int = SAMPLES
    width: int = 1          # every tap of LeNet-5 so many times
    rank: int = RANK
    classes: int = 10
    epochs: int = EPOCHS


def job_of(shape: Shape, shipped: bool = False) -> FineTuneJob:
    """Make a job on random features: batch 1, linear decay, or what the node does by default."""
    rng = np.random.default_rng(0)
    layout = FeatureLayout(tuple(size * shape.width for size in TAPS), shape.classes)
    x = rng.normal(size=(shape.samples, layout.dim)).astype(np.float32)
    codes, scales = nf4.quantize(x, layout.tap_sizes)
    update = CacheUpdate('speed', 0, 1, shape.samples, np.arange(shape.samples), codes, scales,
                         rng.normal(size=(shape.samples, shape.classes)).astype(np.float32),
                         rng.integers(0, shape.classes, shape.samples))
    schedule = (TrainingPolicy().schedule(shape.samples, float(layout.dim)) if shipped else
                Schedule(shape.epochs, 1, 1e-3))
    rank = SHIPPED_RANK if shipped else shape.rank
    return FineTuneJob(update, Adapter.initial(layout, '0' * 64, rank), np.arange(shape.samples),
                       schedule)
