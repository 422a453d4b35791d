"""What an accelerator is asked to do, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from instantft_ros.core.adapter import Adapter
from instantft_ros.core.errors import JobError
from instantft_ros.core.forward_cache import CacheUpdate

DECAYS = ('linear', 'constant')
OPTIMIZERS = ('sgd', 'momentum', 'adam')

#: Class offsets are multiples of this: a cache that grows by a sample mostly keeps them, and an
#: accelerator that holds adjusted logits need not write them again.
OFFSET_STEP = 1 / 8


@dataclass(frozen=True)
class Schedule:
    """
    How to descend.

    Step t of T = epochs * ceil(N / batch_size) uses learning_rate * (1 - t / T) with decay
    'linear', and learning_rate with 'constant'. A step's gradient is the mean over its batch.
    optimizer 'momentum' keeps beta1 of the last step; 'adam' is algorithm 1 of Kingma and Ba 2015,
    with decoupled weight decay (Loshchilov and Hutter 2019): each step, of rate t, also takes
    t * weight_decay of every weight. logit_adjustment: see `class_offsets`; 0: none.
    """

    epochs: int = 10
    batch_size: int = 1
    learning_rate: float = 0.02
    decay: str = 'linear'
    optimizer: str = 'sgd'
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    logit_adjustment: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.epochs <= 10_000:
            raise JobError(f'epochs must be in [1, 10000], got {self.epochs}')
        if not 1 <= self.batch_size <= 1 << 20:
            raise JobError(f'batch_size must be in [1, {1 << 20}], got {self.batch_size}')
        if not 0.0 < self.learning_rate < 1e6:
            raise JobError(f'learning_rate must be in (0, 1e6), got {self.learning_rate}')
        if self.decay not in DECAYS:
            raise JobError(f"decay must be one of {DECAYS}, got '{self.decay}'")
        if self.optimizer not in OPTIMIZERS:
            raise JobError(f"optimizer must be one of {OPTIMIZERS}, got '{self.optimizer}'")
        if not (0.0 <= self.beta1 < 1.0 and 0.0 <= self.beta2 < 1.0 and self.epsilon > 0.0):
            raise JobError('beta1 and beta2 must be in [0, 1) and epsilon positive, got '
                           f'{self.beta1}, {self.beta2} and {self.epsilon}')
        if not 0.0 <= self.weight_decay * self.learning_rate < 1.0:
            raise JobError('weight_decay must be in [0, 1 / learning_rate), got '
                           f'{self.weight_decay} at a rate of {self.learning_rate}')
        if self.weight_decay and self.optimizer != 'adam':
            raise JobError(f"weight_decay is for 'adam', got '{self.optimizer}'")
        if not 0.0 <= self.logit_adjustment <= 4.0:
            raise JobError(f'logit_adjustment must be in [0, 4], got {self.logit_adjustment}')

    def rates(self, samples: int) -> np.ndarray:
        """Give the learning rate of each step, (T,) float32, for this many samples."""
        steps = self.epochs * -(-samples // self.batch_size)
        falling = 1.0 - np.arange(steps) / steps if self.decay == 'linear' else np.ones(steps)
        return (self.learning_rate * falling).astype(np.float32)

    def class_offsets(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """
        Give what is added to each class's logit while training on these labels, (C,) float32.

        logit_adjustment * log((n_c + 1) / mean(n + 1)), rounded: the logit adjustment of Menon et
        al. 2021 (arXiv 2007.07314). What many samples of a class say about its frequency is
        answered by the offset, so the adapter, which predicts without it, need not learn it.
        """
        counts = np.bincount(labels, minlength=classes) + 1.0
        offsets = self.logit_adjustment * np.log(counts / counts.mean())
        return np.asarray(np.round(offsets / OFFSET_STEP) * OFFSET_STEP, np.float32)


@dataclass(frozen=True)
class FineTuneJob:
    """
    One fine-tuning: bring the cache up to date, then train from `start` on the slots in `order`.

    order (N,) int64: the slots to train on, visited in this order in every epoch.
    """

    update: CacheUpdate
    start: Adapter
    order: np.ndarray
    schedule: Schedule


@dataclass(frozen=True)
class FineTuneResult:
    """
    The trained adapter and how it went.

    losses (epochs,): mean cross-entropy of each epoch, taken during training, in nats.
    train_ms: the backend's own time; energy_j: NaN where it cannot be measured.
    cycles: clock cycles of the accelerator, 0 where it has no such counter.
    fallback: why another backend than the chosen one did the work; empty: it did not.
    """

    adapter: Adapter
    losses: tuple[float, ...]
    backend: str
    train_ms: float
    energy_j: float = float('nan')
    cycles: int = 0
    fallback: str = ''
