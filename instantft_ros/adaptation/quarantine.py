"""
Corrections whose label disagrees with everything: suspects, and when they are set aside.

A sample is suspect when the frozen network says otherwise, and of its nearest neighbours among the
corrected samples none has its label and most agree on another one (an edited nearest neighbour
rule, Wilson 1972). Honest corrections meet that too, now and then; so suspects are always shown,
but set aside only where they are more than honest operators make (doc/governance.md has the
figures).
"""

from __future__ import annotations

import numpy as np

from instantft_ros.core.forward_cache import ForwardCache

#: Neighbours that vote, and how many must agree on another class.
NEIGHBOURS, AGREEING = 5, 3

#: The taps nearest to the logits tell classes apart best, and are short.
TAPS = 2

#: Samples that are looked at in one go: 2 ms with a cache of 1,024.
AT_ONCE = 128


class Suspects:
    """Keeps for each slot of a cache whether its label is suspect, brought up to date in parts."""

    def __init__(self, capacity: int) -> None:
        self._suspect = np.zeros(capacity, bool)
        self._looked_at = np.full(capacity, -1, np.int64)

    def look(self, cache: ForwardCache) -> None:
        """Look at samples that changed, or at those that were looked at longest ago."""
        slots = np.concatenate([cache.training_order(), cache.holdout_order()])
        if len(slots) <= NEIGHBOURS:
            return
        fresh = cache.written_at(slots) > self._looked_at[slots]
        order = np.lexsort((self._looked_at[slots], ~fresh))
        chosen = slots[order[:AT_ONCE]]
        self._suspect[chosen] = suspect(cache, chosen, slots)
        self._looked_at[chosen] = cache.version

    def among(self, cache: ForwardCache, slots: np.ndarray) -> np.ndarray:
        """Tell which of some slots (N,) are suspect; those that nobody looked at are not."""
        seen = cache.written_at(slots) <= self._looked_at[slots]
        suspected: np.ndarray = self._suspect[slots] & seen
        return suspected


def suspect(cache: ForwardCache, slots: np.ndarray, voters: np.ndarray) -> np.ndarray:
    """Tell which samples (N,) disagree with the frozen network and with their neighbours."""
    labels = cache.labels(slots)
    similarity = _embedding(cache, slots) @ _embedding(cache, voters).T
    similarity[slots[:, None] == voters[None]] = -np.inf
    nearest = np.argpartition(-similarity, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
    votes = np.zeros((len(slots), cache.layout.classes), np.int64)
    np.add.at(votes, (np.arange(len(slots))[:, None], cache.labels(voters)[nearest]), 1)
    own = votes[np.arange(len(slots)), labels]
    disagrees: np.ndarray = ((own == 0) & (votes.max(axis=1) >= AGREEING)
                             & (cache.frozen_logits(slots).argmax(axis=1) != labels))
    return disagrees


def _embedding(cache: ForwardCache, slots: np.ndarray) -> np.ndarray:
    x = cache.last_taps(slots, TAPS)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)
    return x
