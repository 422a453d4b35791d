"""Whether a new adapter may go live."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from instantft_ros.core.adapter import Adapter, cross_entropy
from instantft_ros.core.forward_cache import ForwardCache

#: Samples on which two adapters are compared, at most: enough to tell garbage, cheap enough
#: to do between two frames.
SAMPLES = 256


#: A fall of the holdout accuracy counts when it is beyond the tolerance by this many standard
#: deviations of the difference of two paired classifiers (McNemar).
SIGNIFICANT_SIGMAS = 2.0


@dataclass(frozen=True)
class GatePolicy:
    """
    A candidate's mean loss may exceed that of the adapter in use by `loss_tolerance` nats.

    Its holdout accuracy may fall by `accuracy_tolerance`, in [0, 1], and by what chance explains
    on a holdout of this size.
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


def judge(candidate: Adapter, current: Adapter, cache: ForwardCache, trained: np.ndarray,
          policy: GatePolicy) -> Decision:
    """
    Compare a candidate with the adapter in use on trained and on held-out samples.

    trained (N,) int64: the slots that the candidate was trained on and that still hold the same.
    A correction that came later says nothing about the training; the next one takes it up.
    """
    trained, held_out = trained[:SAMPLES], cache.holdout_order()[:SAMPLES]
    before, right_before = _score(current, cache, trained, held_out)
    loss, right = _score(candidate, cache, trained, held_out)
    accuracy = float(right.mean()) if len(right) else float('nan')
    if np.isnan(before):
        return Decision(False, 'no sample is left to judge by')
    if not loss <= before + policy.loss_tolerance:  # NaN, from weights out of all bounds, too
        return Decision(False, f'the loss on the cached samples rose from {before:.3f} to '
                        f'{loss:.3f}, {policy.loss_tolerance:.3f} more are tolerated', loss,
                        accuracy)
    lost, won = int((right_before & ~right).sum()), int((~right_before & right).sum())
    tolerated = (policy.accuracy_tolerance * len(right)
                 + SIGNIFICANT_SIGMAS * (lost + won) ** 0.5)
    if lost - won > tolerated:
        return Decision(False, f'of {len(right)} held-out samples {lost} became wrong and {won} '
                        f'right, a loss of {tolerated:.1f} is tolerated', loss, accuracy)
    return Decision(True, f'loss {before:.3f} -> {loss:.3f}', loss, accuracy)


def _score(adapter: Adapter, cache: ForwardCache, trained: np.ndarray,
           held_out: np.ndarray) -> tuple[float, np.ndarray]:
    """Give the mean cross-entropy on some slots (NaN for none), and which of others are right."""
    slots = np.concatenate([trained, held_out])
    z, labels = cache.adapted_logits(adapter, slots), cache.labels(slots)
    right = z.argmax(axis=1) == labels
    count = len(trained)
    if count == 0:
        return float('nan'), right
    with np.errstate(over='ignore', invalid='ignore'):
        loss = float(cross_entropy(z[:count], labels[:count]).mean())
    return loss, right[count:]
