"""A job in the accelerator's numbers, and its result in floats again."""

from __future__ import annotations

import numpy as np

from instantft_ros.accelerator import registers as hw
from instantft_ros.accelerator.base import CacheMirror
from instantft_ros.accelerator.job import FineTuneJob, Schedule
from instantft_ros.core import fixed_point, nf4
from instantft_ros.core.features import FeatureLayout


def padded_codes(cache: CacheMirror, slots: np.ndarray) -> np.ndarray:
    """Give codes (M, words * LANES), one each, every tap filled up with the zero code."""
    sizes = cache.layout.tap_sizes
    codes = np.full((len(slots), sum(fixed_point.words_of(sizes)) * hw.LANES), nf4.ZERO_CODE,
                    np.uint8)
    codes[:, fixed_point.padded_columns(sizes)] = nf4.unpack(cache.codes[slots],
                                                             cache.layout.dim)
    return codes


def rates(schedule: Schedule, samples: int) -> tuple[int, int]:
    """Give the first step's learning rate and what each step takes off, in units of 2^-32."""
    return fixed_point.encode_rates(schedule.learning_rate, schedule.epochs * samples,
                                    schedule.decay == 'linear')


def start_weights(job: FineTuneJob) -> tuple[np.ndarray, np.ndarray]:
    """Give a (RANK, words * LANES) and b (C, K, RANK) as integers; further ranks are zero."""
    sizes, rank = job.start.layout.tap_sizes, job.start.rank
    a = np.zeros((hw.RANK, sum(fixed_point.words_of(sizes)) * hw.LANES), np.int64)
    a[:rank, fixed_point.padded_columns(sizes)] = fixed_point.to_fixed(job.start.a, hw.A_BITS,
                                                                       hw.A_FRACTION)
    b = np.zeros((*job.start.b.shape[:2], hw.RANK), np.int64)
    b[:, :, :rank] = fixed_point.to_fixed(job.start.b, hw.B_BITS, hw.B_FRACTION)
    return a, b


def float_weights(a: np.ndarray, b: np.ndarray, layout: FeatureLayout, rank: int,
                  ) -> tuple[np.ndarray, np.ndarray]:
    """Give back a (r, D) and b (C, K, r) as float32; exact."""
    columns = fixed_point.padded_columns(layout.tap_sizes)
    return (np.ldexp(a[:rank, columns].astype(np.float32), -hw.A_FRACTION),
            np.ldexp(b[:, :, :rank].astype(np.float32), -hw.B_FRACTION))


def mean_loss(total: int, samples: int) -> float:
    """Give an epoch's mean cross-entropy in nats from its sum in units of 2^-12."""
    return float(np.ldexp(total / samples, -hw.LOSS_FRACTION))
