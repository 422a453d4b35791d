"""The reference trainer, in NumPy: the oracle that every other backend is held against."""

from __future__ import annotations

from typing import Any

import numpy as np

from instantft_ros.accelerator.base import Accelerator, CacheMirror, OnEpoch, stop_unless, Trained
from instantft_ros.accelerator.job import FineTuneJob, Schedule
from instantft_ros.core import nf4
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.features import FeatureLayout


class NumpyReference(Accelerator):
    """SGD, momentum and Adam on the CPU, written for reading."""

    name = 'numpy'

    def _train(self, cache: CacheMirror, job: FineTuneJob, on_epoch: OnEpoch) -> Trained:
        layout, order = job.start.layout, job.order
        x = nf4.dequantize(cache.codes[order], cache.scales[order], layout.tap_sizes)
        return descend(job.start, job.schedule, x, cache.logits[order], cache.labels[order],
                       on_epoch)


def descend(start: Adapter, schedule: Schedule, x: np.ndarray, logits: np.ndarray,
            labels: np.ndarray, on_epoch: OnEpoch = lambda epoch, loss: True) -> Trained:
    """
    Train on features x (N, D), frozen logits z0 (N, C) and labels (N,), in this order.

    Raises `Cancelled` when `on_epoch` returned False.
    """
    a, b = start.a.copy(), start.b.copy()
    logits = (np.float32(start.logit_scale) * logits
              + schedule.class_offsets(labels, start.layout.classes))
    rates = iter(schedule.rates(len(labels)))
    optimizers = Optimizer(schedule), Optimizer(schedule)
    losses = []
    for epoch in range(1, schedule.epochs + 1):
        total = 0.0
        for first in range(0, len(labels), schedule.batch_size):
            batch = slice(first, first + schedule.batch_size)
            loss, grad_a, grad_b = gradients(start.layout, a, b, x[batch], logits[batch],
                                             labels[batch])
            rate = next(rates)
            a -= rate * optimizers[0].step(grad_a, a)
            b -= rate * optimizers[1].step(grad_b, b)
            total += loss * len(labels[batch])
        losses.append(total / len(labels))
        stop_unless(on_epoch, epoch, losses[-1])
    return Trained(a, b, tuple(losses))


class Optimizer:
    """Turns the gradients of one array of weights into steps, to be scaled by the rate."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._steps = 0
        self._mean: Any = np.float32(0.0)
        self._square: Any = np.float32(0.0)

    def step(self, gradient: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Give the step of these weights for a gradient; Adam is algorithm 1 of Kingma and Ba."""
        s = self._schedule
        if s.optimizer == 'sgd':
            return gradient
        if s.optimizer == 'momentum':
            self._mean = np.float32(s.beta1) * self._mean + gradient
            return np.asarray(self._mean)
        self._steps += 1
        self._mean = np.float32(s.beta1) * self._mean + np.float32(1 - s.beta1) * gradient
        self._square = (np.float32(s.beta2) * self._square
                        + np.float32(1 - s.beta2) * gradient * gradient)
        mean = self._mean * np.float32(1 / (1 - s.beta1 ** self._steps))
        square = self._square * np.float32(1 / (1 - s.beta2 ** self._steps))
        return np.asarray(mean / (np.sqrt(square) + np.float32(s.epsilon))
                          + np.float32(s.weight_decay) * weights)


def gradients(layout: FeatureLayout, a: np.ndarray, b: np.ndarray, x: np.ndarray,
              logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """
    Give a batch's mean cross-entropy and its gradients with respect to a (r, D), b (C, K, r).

    x (n, D), logits z0 (n, C), labels (n,). With h_k = A_k x_k, z = z0 + sum_k B_k h_k and
    g = softmax(z) - onehot(y): dB_k = g h_k^T, dA_k = (B_k^T g) x_k^T (InstantFT, section III).
    """
    count = len(labels)
    h = np.add.reduceat(x[:, None] * a, layout.starts, axis=2)  # (n, r, K)
    z = logits + np.einsum('nrk,ckr->nc', h, b)
    z -= z.max(axis=1, keepdims=True)
    exp_z = np.exp(z)
    sums = exp_z.sum(axis=1, keepdims=True)
    rows = np.arange(count)
    loss = float((np.log(sums[:, 0]) - z[rows, labels]).mean())
    g = exp_z / sums
    g[rows, labels] -= 1.0
    g /= count
    grad_b = np.einsum('nc,nrk->ckr', g, h)
    grad_h = np.einsum('nc,ckr->nrk', g, b)
    grad_a = np.einsum('nrd,nd->rd', np.repeat(grad_h, layout.tap_sizes, axis=2), x)
    return loss, grad_a, grad_b
