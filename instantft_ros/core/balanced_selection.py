"""Which of many candidates a bounded cache keeps: balanced over the classes, best scores first."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
import heapq
from typing import Any, Generic, TypeVar

K = TypeVar('K', bound=Hashable)

#: A heap is rebuilt when fewer than half of its items count, beyond this size.
_SMALL = 64


@dataclass
class _Candidate:
    label: int
    score: float
    kept: bool


class BalancedSelection(Generic[K]):
    """
    Keeps `capacity` candidates, as many of each class as there are, filled up like water.

    A candidate's rank is the number of candidates of its class with a higher score; those of the
    lowest ranks are kept, of equal ranks those of the higher class. So what is kept follows from
    the set of candidates alone, in whatever order they came and went. One change costs
    O(C + log N): each class has a heap of what it keeps, lowest score first, and one of what
    waits, highest first; items that no longer count are skipped.
    """

    def __init__(self, capacity: int, classes: int) -> None:
        self._capacity = capacity
        self._candidates: dict[K, _Candidate] = {}
        self._kept: list[list[tuple[float, K]]] = [[] for _ in range(classes)]
        self._waiting: list[list[tuple[float, K]]] = [[] for _ in range(classes)]
        self._counts = [0] * classes
        self._total = 0
        self._touched: dict[K, bool] = {}
        self._dirty: set[int] = set()

    def grow(self, classes: int) -> None:
        """Make room for further classes."""
        for _ in range(classes - len(self._counts)):
            self._kept.append([])
            self._waiting.append([])
            self._counts.append(0)

    def put(self, key: K, label: int, score: float) -> None:
        """Add a candidate, or give one another class or score; `settle` afterwards."""
        self.discard(key)
        self._candidates[key] = _Candidate(label, score, False)
        self._touched.setdefault(key, False)
        self._push(self._waiting[label], (-score, key), label, kept=False)
        self._dirty.add(label)

    def discard(self, key: K) -> None:
        """Take a candidate away, if it is one; `settle` afterwards."""
        candidate = self._candidates.pop(key, None)
        if candidate is None:
            return
        self._touched.setdefault(key, candidate.kept)
        if candidate.kept:
            self._counts[candidate.label] -= 1
            self._total -= 1

    def settle(self) -> tuple[list[K], list[K]]:
        """Choose anew; gives the keys that are kept now and were not, and the reverse."""
        for label in self._dirty:
            while (best := self._best_waiting(label)) and (worst := self._worst_kept(label)) \
                    and -best[0] > worst[0]:
                self._move(label, keep=False)
                self._move(label, keep=True)
        self._dirty.clear()
        while (entering := self._lowest_waiting()) is not None:
            if self._total >= self._capacity:
                leaving = self._highest_kept()
                if leaving == entering or (self._counts[entering], -entering) \
                        >= (self._counts[leaving] - 1, -leaving):
                    break
                self._move(leaving, keep=False)
            self._move(entering, keep=True)
        touched, self._touched = self._touched, {}
        now = {key: (candidate := self._candidates.get(key)) is not None and candidate.kept
               for key in touched}
        return ([key for key, before in touched.items() if now[key] and not before],
                [key for key, before in touched.items() if before and not now[key]])

    def _lowest_waiting(self) -> int | None:
        """Give the class whose best waiting candidate has the lowest rank."""
        return min((label for label in range(len(self._counts)) if self._best_waiting(label)),
                   key=lambda label: (self._counts[label], -label), default=None)

    def _highest_kept(self) -> int:
        """Give the class whose worst kept candidate has the highest rank."""
        return max(range(len(self._counts)), key=lambda label: (self._counts[label], -label))

    def _move(self, label: int, keep: bool) -> None:
        """Keep a class's best waiting candidate, or let its worst kept one wait."""
        found = self._best_waiting(label) if keep else self._worst_kept(label)
        assert found is not None
        score, key = heapq.heappop((self._waiting if keep else self._kept)[label])
        candidate = self._candidates[key]
        self._touched.setdefault(key, candidate.kept)
        candidate.kept = keep
        self._counts[label] += 1 if keep else -1
        self._total += 1 if keep else -1
        self._push((self._kept if keep else self._waiting)[label], (-score, key), label, keep)

    def _best_waiting(self, label: int) -> tuple[float, K] | None:
        return self._top(self._waiting[label], label, kept=False)

    def _worst_kept(self, label: int) -> tuple[float, K] | None:
        return self._top(self._kept[label], label, kept=True)

    def _top(self, heap: list[tuple[float, K]], label: int,
             kept: bool) -> tuple[float, K] | None:
        while heap and not self._counts_still(heap[0], label, kept):
            heapq.heappop(heap)
        return heap[0] if heap else None

    def _counts_still(self, item: tuple[float, Any], label: int, kept: bool) -> bool:
        score, key = item
        candidate = self._candidates.get(key)
        return (candidate is not None and candidate.kept == kept and candidate.label == label
                and candidate.score == (score if kept else -score))

    def _push(self, heap: list[tuple[float, K]], item: tuple[float, K], label: int,
              kept: bool) -> None:
        if len(heap) > _SMALL and len(heap) > 2 * len(self._candidates):
            heap[:] = {each for each in heap if self._counts_still(each, label, kept)}
            heapq.heapify(heap)
        heapq.heappush(heap, item)
