"""The golden model behind the contract: what the hardware must answer, bit by bit."""

from __future__ import annotations

import numpy as np

from instantft_ros.accelerator import fixed_job
from instantft_ros.accelerator.base import Accelerator, CacheMirror, OnEpoch, stop_unless, Trained
from instantft_ros.accelerator.job import FineTuneJob
from instantft_ros.core import fixed_point


class GoldenModel(Accelerator):
    """An oracle for tests and for the self-test of a board; not a backend to train with."""

    name = 'golden'

    def _train(self, cache: CacheMirror, job: FineTuneJob, on_epoch: OnEpoch) -> Trained:
        offsets = job.schedule.class_offsets(cache.labels[job.order], cache.layout.classes)
        rate_start, rate_step = fixed_job.rates(job.schedule, len(job.order))
        fixed = fixed_point.FixedJob(
            fixed_point.words_of(cache.layout.tap_sizes),
            fixed_job.padded_codes(cache, np.arange(cache.capacity)),
            fixed_point.encode_scales(cache.scales),
            fixed_point.encode_logits(job.start.logit_scale * cache.logits + offsets),
            cache.labels, job.order, job.schedule.epochs, rate_start, rate_step)
        a, b, totals = fixed_point.fine_tune(fixed, *fixed_job.start_weights(job))
        losses = tuple(fixed_job.mean_loss(int(total), len(job.order)) for total in totals)
        for epoch, loss in enumerate(losses, 1):
            stop_unless(on_epoch, epoch, loss)
        return Trained(*fixed_job.float_weights(a, b, cache.layout, job.start.rank), losses)
