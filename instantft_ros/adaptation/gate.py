"""Whether a new adapter may go live."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from instantft_ros.adaptation.paired import Paired
from instantft_ros.core.adapter import Adapter, cross_entropy
from instantft_ros.core.forward_cache import ForwardCache
from instantft_ros.core.replay import ReplaySet

#: Samples on which two adapters are compared, at most: enough to tell garbage, cheap enough
#: to do between two frames.
SAMPLES = 256

#: Adapters whose answers on the guard samples are remembered: of one judgement and the next.
KNOWN = 4

#: One class of many falls below by chance more often than all together: three deviations.
CLASS_SIGMAS = 3.0


@dataclass(frozen=True)
class GatePolicy:
    """
    What a candidate may be worse by than the adapter in use.

    Its mean loss on the samples that it was trained on may be higher by `loss_tolerance` nats.
    Its accuracy, in [0, 1], may be lower by `accuracy_tolerance` on held-out corrections, all and
    of each class, and by `guard_tolerance` on the guard set of images from before the drift; each
    time also by what chance explains on so few samples. On the guard set it is held against the
    first adapter too: no chain of small steps leads further down.
    """

    loss_tolerance: float = 0.1
    accuracy_tolerance: float = 0.1
    guard_tolerance: float = 0.2


@dataclass(frozen=True, eq=False)
class Guard:
    """
    Samples from before the drift, which nothing is trained on, and the first adapter.

    A judgement asks for the answers of three adapters, and the next one for two of them again: so
    those of the last `KNOWN` are remembered.
    """

    samples: ReplaySet
    first: Adapter
    _known: list[tuple[Adapter, np.ndarray]] = field(default_factory=list, init=False, repr=False)

    def right(self, adapter: Adapter) -> np.ndarray:
        """Tell which samples (R,) an adapter has right."""
        found = next((each for each in self._known if each[0] is adapter), None)
        if found is None:
            found = adapter, self.samples.right(adapter)
        self._known[:] = [*(each for each in self._known if each is not found), found][-KNOWN:]
        return found[1]


@dataclass(frozen=True)
class Decision:
    """
    The gate's decision, its reason, and the figures it rests on (NaN: no such samples).

    holdout_by_class: accuracy (C,) on held-out corrections of each class.
    """

    accepted: bool
    reason: str
    loss: float = float('nan')
    holdout_accuracy: float = float('nan')
    guard_accuracy: float = float('nan')
    holdout_by_class: np.ndarray = field(default_factory=lambda: np.zeros(0))


def judge(candidate: Adapter, current: Adapter, cache: ForwardCache, trained: np.ndarray,
          held_out: np.ndarray, policy: GatePolicy, guard: Guard,
          samples_needed: bool = True) -> Decision:
    """
    Compare a candidate with the adapter in use on trained, on held-out and on guard samples.

    trained, held_out (N,) int64: slots that the candidate was trained on and that still hold the
    same, and slots that nothing was trained on. A correction that came later says nothing about
    the training; the next one takes it up. samples_needed: False lets an adapter pass that was
    trained elsewhere, on the guard samples alone where there are no others.
    """
    trained, held_out = trained[:SAMPLES], held_out[:SAMPLES]
    before, right_before = _score(current, cache, trained, held_out)
    loss, right = _score(candidate, cache, trained, held_out)
    guard_after = guard.right(candidate)
    figures: dict[str, Any] = {'loss': loss, 'holdout_accuracy': _mean(right),
               'guard_accuracy': _mean(guard_after),
               'holdout_by_class': _by_class(right, cache.labels(held_out),
                                             cache.layout.classes)}
    if np.isnan(before) and (samples_needed or len(guard_after) == 0):
        return Decision(False, 'no sample is left to judge by', **figures)
    # NaN, from weights out of all bounds, is no fall either
    if len(trained) and not loss <= before + policy.loss_tolerance:
        return Decision(False, f'the loss on the cached samples rose from {before:.3f} to '
                        f'{loss:.3f}, {policy.loss_tolerance:.3f} more are tolerated', **figures)
    held = Paired.of(right_before, right)
    if held.worse(policy.accuracy_tolerance):
        return Decision(False, _lost('held-out samples', held, policy.accuracy_tolerance),
                        **figures)
    for other in (current, guard.first):
        guarded = Paired.of(guard.right(other), guard_after)
        if guarded.worse(policy.guard_tolerance):
            return Decision(False, _lost('guard samples from before the drift', guarded,
                                         policy.guard_tolerance), **figures)
    labels = cache.labels(held_out)
    for label in np.unique(labels):
        of_class = Paired.of(right_before[labels == label], right[labels == label])
        if of_class.worse(policy.accuracy_tolerance, CLASS_SIGMAS):
            return Decision(False, _lost(f'held-out samples of class {label}', of_class,
                                         policy.accuracy_tolerance, CLASS_SIGMAS), **figures)
    return Decision(True, f'loss {before:.3f} -> {loss:.3f}', **figures)


def _lost(what: str, paired: Paired, tolerance: float, *sigmas: float) -> str:
    return (f'of {paired.count} {what} {paired.lost} became wrong and {paired.won} right, a loss '
            f'of {paired.tolerated(tolerance, *sigmas):.1f} is tolerated')


def _mean(right: np.ndarray) -> float:
    return float(right.mean()) if len(right) else float('nan')


def _by_class(right: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    with np.errstate(invalid='ignore'):
        share: np.ndarray = (np.bincount(labels, right, classes)
                             / np.bincount(labels, minlength=classes))
    return share


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
