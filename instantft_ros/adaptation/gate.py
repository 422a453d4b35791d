"""Whether a new adapter may go live."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from instantft_ros.core.adapter import Adapter
from instantft_ros.core.forward_cache import ForwardCache

#: Samples on which two adapters are compared, at most: enough to tell garbage, cheap enough
#: to do between two frames.
SAMPLES = 256


@dataclass(frozen=True)
class GatePolicy:
    """
    A candidate's mean loss may exceed that of the adapter in use by `loss_tolerance` nats.

    Its holdout accuracy may fall by `accuracy_tolerance`, in [0, 1].
    """

    loss_tolerance: float = 0.1
    accuracy_tolerance: float = 0.1


@dataclass(frozen=True)
class Decision:
    """The gate's decision, its reason, and the figures it rests on (NaN: no such samples)."""

    accepted: bool
    reason: str
    loss: float = float('nan')
    holdout_accuracy: float = float('nan')


def judge(candidate: Adapter, current: Adapter, cache: ForwardCache,
          policy: GatePolicy) -> Decision:
    """Compare a candidate with the adapter in use on trained and on held-out samples."""
    loss, before = (_score(adapter, cache, cache.training_order())[0]
                    for adapter in (candidate, current))
    accuracy, accuracy_before = (_score(adapter, cache, cache.holdout_order())[1]
                                 for adapter in (candidate, current))
    if np.isnan(before):
        return Decision(False, 'no sample is left to judge by')
    if not loss <= before + policy.loss_tolerance:  # NaN, from weights out of all bounds, too
        return Decision(False, f'the loss on the cached samples rose from {before:.3f} to '
                        f'{loss:.3f}, {policy.loss_tolerance:.3f} more are tolerated', loss,
                        accuracy)
    if accuracy < accuracy_before - policy.accuracy_tolerance:
        return Decision(False, f'the holdout accuracy fell from {accuracy_before:.1%} to '
                        f'{accuracy:.1%}, {policy.accuracy_tolerance:.1%} are tolerated', loss,
                        accuracy)
    return Decision(True, f'loss {before:.3f} -> {loss:.3f}', loss, accuracy)


def _score(adapter: Adapter, cache: ForwardCache, order: np.ndarray) -> tuple[float, float]:
    """Give mean cross-entropy and accuracy on up to `SAMPLES` slots, NaN for none."""
    if len(order) == 0:
        return float('nan'), float('nan')
    x, logits, labels = cache.samples(order[:SAMPLES])
    with np.errstate(over='ignore', invalid='ignore'):
        return _loss_and_accuracy(adapter(x, logits), labels)


def _loss_and_accuracy(z: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    z = z - z.max(axis=1, keepdims=True)
    losses = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(labels)), labels]
    return float(losses.mean()), float((z.argmax(axis=1) == labels).mean())
