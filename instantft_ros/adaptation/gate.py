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

#: Adapters whose answers are remembered: of one judgement and the next.
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


class Gate:
    """
    Compares a candidate with the adapter in use on trained, on held-out and on guard samples.

    guard: samples from before the drift, which nothing is trained on; first: the first adapter. A
    judgement asks for the answers of three adapters, and the next one for two of them again: so
    those of the last `KNOWN` are remembered, and a cached sample is asked for again when it has
    changed.
    """

    def __init__(self, cache: ForwardCache, guard: ReplaySet, first: Adapter) -> None:
        self._cache, self.guard, self._first = cache, guard, first
        self._known: list[_Answers] = []

    def judge(self, candidate: Adapter, current: Adapter, trained: np.ndarray,
              held_out: np.ndarray, policy: GatePolicy, samples_needed: bool = True) -> Decision:
        """
        Decide about a candidate.

        trained, held_out (N,) int64: slots that the candidate was trained on and that still hold
        the same, and slots that nothing was trained on. A correction that came later says nothing
        about the training; the next one takes it up. samples_needed: False lets an adapter pass
        that was trained elsewhere, on the guard samples alone where there are no others.
        """
        trained, held_out = trained[:SAMPLES], held_out[:SAMPLES]
        first, old, new = (self._answers(each) for each in (self._first, current, candidate))
        before, right_before = old.score(self._cache, trained, held_out)
        loss, right = new.score(self._cache, trained, held_out)
        labels = self._cache.labels(held_out)
        figures: dict[str, Any] = {
            'loss': loss, 'holdout_accuracy': _mean(right),
            'guard_accuracy': _mean(new.on_guard),
            'holdout_by_class': _by_class(right, labels, self._cache.layout.classes)}
        if np.isnan(before) and (samples_needed or len(self.guard) == 0):
            return Decision(False, 'no sample is left to judge by', **figures)
        # NaN, from weights out of all bounds, is no fall either
        if len(trained) and not loss <= before + policy.loss_tolerance:
            return Decision(False, f'the loss on the cached samples rose from {before:.3f} to '
                            f'{loss:.3f}, {policy.loss_tolerance:.3f} more are tolerated',
                            **figures)
        held = Paired.of(right_before, right)
        if held.worse(policy.accuracy_tolerance):
            return Decision(False, _lost('held-out samples', held, policy.accuracy_tolerance),
                            **figures)
        for other in (old, first):
            guarded = Paired.of(other.on_guard, new.on_guard)
            if guarded.worse(policy.guard_tolerance):
                return Decision(False, _lost('guard samples from before the drift', guarded,
                                             policy.guard_tolerance), **figures)
        for label in np.unique(labels):
            of_class = Paired.of(right_before[labels == label], right[labels == label])
            if of_class.worse(policy.accuracy_tolerance, CLASS_SIGMAS):
                return Decision(False, _lost(f'held-out samples of class {label}', of_class,
                                             policy.accuracy_tolerance, CLASS_SIGMAS), **figures)
        return Decision(True, f'loss {before:.3f} -> {loss:.3f}', **figures)

    def _answers(self, adapter: Adapter) -> _Answers:
        found = next((each for each in self._known if each.adapter is adapter), None)
        if found is None:
            found = _Answers(adapter, self.guard, self._cache.capacity)
        self._known = [*(each for each in self._known if each is not found), found][-KNOWN:]
        return found


class _Answers:
    """What one adapter says of guard samples, and of cached ones as far as anybody asked."""

    def __init__(self, adapter: Adapter, guard: ReplaySet, capacity: int) -> None:
        self.adapter, self.on_guard = adapter, guard.right(adapter)
        self._losses, self._right = np.zeros(capacity), np.zeros(capacity, bool)
        self._asked_at = np.full(capacity, -1)

    def score(self, cache: ForwardCache, trained: np.ndarray,
              held_out: np.ndarray) -> tuple[float, np.ndarray]:
        """Give the mean cross-entropy on some slots (NaN for none), which of others are right."""
        slots = np.concatenate([trained, held_out])
        self._ask(cache, slots[cache.written_at(slots) > self._asked_at[slots]])
        return _mean(self._losses[trained]), self._right[held_out]

    def _ask(self, cache: ForwardCache, slots: np.ndarray) -> None:
        z, labels = cache.adapted_logits(self.adapter, slots), cache.labels(slots)
        self._right[slots] = z.argmax(axis=1) == labels
        with np.errstate(over='ignore', invalid='ignore'):
            self._losses[slots] = cross_entropy(z, labels)
        self._asked_at[slots] = cache.version


def _lost(what: str, paired: Paired, tolerance: float, *sigmas: float) -> str:
    return (f'of {paired.count} {what} {paired.lost} became wrong and {paired.won} right, a loss '
            f'of {paired.tolerated(tolerance, *sigmas):.1f} is tolerated')


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float('nan')


def _by_class(right: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    with np.errstate(invalid='ignore'):
        share: np.ndarray = (np.bincount(labels, right, classes)
                             / np.bincount(labels, minlength=classes))
    return share
