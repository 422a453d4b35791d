"""
After a swap: whether the new adapter makes more mistakes than the one before, and the way back.

Operators correct mistakes, so a corrected frame says that the adapter in use was wrong, and frames
that nobody corrects say nothing alone. What is compared is therefore the rate of mistakes per
frame shown, before and after; and whether the adapter before would have been right where the new
one was wrong. Both must speak against it: a rising rate alone may be a new drift.
"""

from __future__ import annotations

from dataclasses import dataclass

#: A rate is higher when it is by this many standard deviations.
SIGMAS = 2.5

#: Mistakes below which nothing is concluded.
FEWEST = 5


@dataclass(frozen=True)
class WatchdogPolicy:
    """frames: after so many without a verdict against it an adapter is trusted; 0: no watch."""

    frames: int = 300


@dataclass
class _Rate:
    frames: int = 0
    mistakes: int = 0


class Watchdog:
    """
    Compares the adapter in use with the last one that was trusted.

    trusted: that version's number. Count each frame with `shown` and each corrected frame that
    had been predicted wrongly with `mistaken`.
    """

    def __init__(self, trusted: int = 0) -> None:
        self.trust(trusted)
        self._before = _Rate()

    def trust(self, version: int) -> None:
        """Begin anew with a version that is trusted."""
        self.trusted = self._current = version
        self._after, self._saved = _Rate(), 0
        self._before = _Rate()

    def shown(self, policy: WatchdogPolicy, version: int) -> None:
        """Count a frame that this version predicted; after enough of them it is trusted."""
        if version == self.trusted and self._current == self.trusted:
            self._before.frames += 1
            if self._before.frames >= 4 * max(policy.frames, 1):  # forget half: keep it recent
                self._before.frames //= 2
                self._before.mistakes //= 2
            return
        self._current = version
        self._after.frames += 1
        if self._after.frames >= policy.frames:
            before = self._after
            self.trust(version)
            self._before = before

    def mistaken(self, mistakes: int, trusted_right: int) -> None:
        """Count corrected frames that the version in use had wrong, and the trusted one right."""
        if self._current == self.trusted:
            self._before.mistakes += mistakes
        else:
            self._after.mistakes += mistakes
            self._saved += trusted_right

    def worse(self) -> str:
        """Say why the version in use should be given up; empty: nothing speaks against it."""
        before, after = self._before, self._after
        if after.mistakes < FEWEST or before.frames < FEWEST \
                or 2 * self._saved <= after.mistakes:
            return ''
        frames = before.frames + after.frames
        share = (before.mistakes + after.mistakes) / frames
        spread = (share * (1 - min(share, 1.0)) * (1 / before.frames + 1 / after.frames)) ** 0.5
        rise = after.mistakes / after.frames - before.mistakes / before.frames
        if rise <= SIGMAS * spread:
            return ''
        return (f'{after.mistakes} mistakes in {after.frames} frames, before the swap '
                f'{before.mistakes} in {before.frames}; version {self.trusted} would have been '
                f'right in {self._saved} of them')
