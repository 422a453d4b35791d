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

#: Changed samples that are looked at in one go at most, and old ones; fewer in a cache that is
#: larger than this, so that no image has to wait.
CHANGED, OLD, CACHE = 128, 32, 1024


class Suspects:
    """Keeps for each slot of a cache whether its label is suspect, brought up to date in parts."""

    def __init__(self, capacity: int) -> None:
        self._suspect = np.zeros(capacity, bool)
        self._looked_at = np.full(capacity, -1, np.int64)
        self._embedded_at = np.full(capacity, -1, np.int64)
        self._embeddings = np.zeros((capacity, 0), np.float32)

    def look(self, cache: ForwardCache) -> None:
        """Look at samples that changed, before they are trained on."""
        slots = cache.slots()
        changed = slots[cache.written_at(slots) > self._looked_at[slots]]
        self._look_at(cache, slots, changed, max(OLD, int(_share(slots) * CHANGED)))

    def look_again(self, cache: ForwardCache) -> None:
        """Look at some that were looked at before: what stands around them has changed."""
        slots = cache.slots()
        self._look_at(cache, slots, slots, int(np.ceil(_share(slots) * OLD)))

    def _look_at(self, cache: ForwardCache, slots: np.ndarray, chosen: np.ndarray,
                 most: int) -> None:
        """Look at those among the chosen that were looked at longest ago."""
        if len(slots) <= NEIGHBOURS or len(chosen) == 0:
            return
        self._embed(cache, slots)
        chosen = chosen[np.argsort(self._looked_at[chosen], kind='stable')[:most]]
        self._suspect[chosen] = suspect(cache, chosen, slots, self._embeddings)
        self._looked_at[chosen] = cache.version

    def _embed(self, cache: ForwardCache, slots: np.ndarray) -> None:
        """Keep the last taps of the samples, as directions."""
        if self._embeddings.size == 0:
            size = sum(cache.layout.tap_sizes[-TAPS:])
            self._embeddings = np.zeros((len(self._suspect), size), np.float32)
        stale = slots[cache.written_at(slots) > self._embedded_at[slots]]
        x = cache.last_taps(stale, TAPS)
        self._embeddings[stale] = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-9)
        self._embedded_at[stale] = cache.version

    def among(self, cache: ForwardCache, slots: np.ndarray) -> np.ndarray:
        """Tell which of some slots (N,) are suspect; those that nobody looked at are not."""
        seen = cache.written_at(slots) <= self._looked_at[slots]
        suspected: np.ndarray = self._suspect[slots] & seen
        return suspected


def _share(slots: np.ndarray) -> float:
    return min(CACHE / max(len(slots), 1), 1.0)


def suspect(cache: ForwardCache, slots: np.ndarray, voters: np.ndarray,
            embeddings: np.ndarray) -> np.ndarray:
    """
    Tell which samples (N,) disagree with the frozen network and with their neighbours.

    embeddings (capacity, E): of each slot a vector of length 1.
    """
    rows, labels = np.arange(len(slots)), cache.labels(slots)
    width = int(voters.max()) + 1
    similarity = embeddings[slots] @ embeddings[:width].T  # of all slots: a choice would be a copy
    no_voter = np.ones(width, bool)
    no_voter[voters] = False
    similarity[:, no_voter] = similarity[rows, slots] = -np.inf
    votes = np.zeros((len(slots), cache.layout.classes), np.int64)
    for _ in range(NEIGHBOURS):  # five times the maximum is faster than any sorting
        nearest = similarity.argmax(axis=1)
        votes[rows, cache.labels(nearest)] += 1
        similarity[rows, nearest] = -np.inf
    own = votes[rows, labels]
    disagrees: np.ndarray = ((own == 0) & (votes.max(axis=1) >= AGREEING)
                             & (cache.frozen_logits(slots).argmax(axis=1) != labels))
    return disagrees
