"""From an operator's correction to labelled samples in the forward cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from instantft_ros.core.forward_cache import ForwardCache, Outcome
from instantft_ros.core.frame_ring import FrameId, FrameRing


class Selector(Enum):
    """How a correction names its frames."""

    STAMP = 'stamp'
    LATEST = 'latest'
    WINDOW = 'window'


class Verdict(Enum):
    """What the operator is told."""

    ACCEPTED = 'accepted'
    DUPLICATE = 'duplicate'
    SUPERSEDED = 'superseded'
    UNKNOWN_CAMERA = 'unknown camera'
    UNKNOWN_CLASS = 'unknown class'
    UNKNOWN_FRAME = 'unknown frame'
    LATE = 'late'
    NOT_LABELLED = 'not labelled'
    NOT_KEPT = 'not kept'
    MALFORMED = 'malformed'


#: The verdicts after which the operator's wish holds.
SATISFIED = frozenset({Verdict.ACCEPTED, Verdict.DUPLICATE})


@dataclass(frozen=True)
class Correction:
    """
    What an operator said: these frames of this camera show that class.

    first_ns is the image's stamp for `Selector.STAMP`, the window's start for `WINDOW`, which
    ends at last_ns. label: a class name, or None to retract. issued_ns decides between
    contradictions: the one issued last stands.
    """

    camera: str
    selector: Selector
    label: str | int | None
    issued_ns: int
    first_ns: int = 0
    last_ns: int = 0


@dataclass(frozen=True)
class Answer:
    """The verdict on a correction, its reason in words, and how many frames it labelled."""

    verdict: Verdict
    reason: str
    frames: int = 0

    @property
    def satisfied(self) -> bool:
        """Whether what the operator wants is now so."""
        return self.verdict in SATISFIED


def apply_correction(correction: Correction, ring: FrameRing, cache: ForwardCache,
                     classes: Sequence[str]) -> Answer:
    """Find the frames that a correction names and label them; never raises for bad input."""
    if correction.camera not in ring.cameras:
        return Answer(Verdict.UNKNOWN_CAMERA, f"camera '{correction.camera}' is not known, "
                      f'the cameras are {list(ring.cameras)}')
    label = _class_id(correction.label, classes)
    if label is None and correction.label is not None:
        return Answer(Verdict.UNKNOWN_CLASS,
                      f'class {correction.label!r} is not known, the classes are '
                      f'{list(classes)}')
    if correction.selector is Selector.WINDOW and correction.last_ns < correction.first_ns:
        return Answer(Verdict.MALFORMED, f'the time window ends at {correction.last_ns} ns, '
                      f'before its start at {correction.first_ns} ns')
    frames = _frames_of(correction, ring, cache)
    if not frames:
        return _missing(correction, ring)
    if label is None:
        outcomes = [cache.retract(frame, correction.issued_ns) for frame in frames]
    else:
        group = f'{frames[0].camera} {frames[0].stamp_ns}'
        outcomes = [cache.add(frame, ring.get(frame), label, correction.issued_ns, group)
                    for frame in frames]
    return _summary(outcomes)


def _class_id(label: str | int | None, classes: Sequence[str]) -> int | None:
    if isinstance(label, str):
        return classes.index(label) if label in classes else None
    return label if label is not None and 0 <= label < len(classes) else None


def _frames_of(correction: Correction, ring: FrameRing, cache: ForwardCache) -> list[FrameId]:
    """Find the frames in the ring, and those that left it but are still labelled."""
    if correction.selector is Selector.LATEST:
        latest = ring.latest(correction.camera)
        return [] if latest is None else [latest]
    window = correction.selector is Selector.WINDOW
    interval = (correction.first_ns, correction.last_ns if window else correction.first_ns)
    frames = (ring.window(correction.camera, *interval)
              + cache.labelled(correction.camera, *interval))
    return sorted(set(frames))


def _missing(correction: Correction, ring: FrameRing) -> Answer:
    oldest = ring.oldest_stamp_ns(correction.camera)
    if oldest is None:
        return Answer(Verdict.UNKNOWN_FRAME,
                      f"no frame of camera '{correction.camera}' has been seen yet")
    last_ns = max(correction.first_ns, correction.last_ns)
    if last_ns < oldest:
        return Answer(Verdict.LATE, f'the frame is no longer held: the oldest one is from '
                      f'{oldest} ns, the correction names {last_ns} ns')
    return Answer(Verdict.UNKNOWN_FRAME, f"camera '{correction.camera}' has no frame "
                  + (f'between {correction.first_ns} and {correction.last_ns} ns'
                     if correction.selector is Selector.WINDOW
                     else f'with the stamp {correction.first_ns} ns'))


_VERDICTS = {
    Outcome.ADDED: Verdict.ACCEPTED, Outcome.RELABELLED: Verdict.ACCEPTED,
    Outcome.RETRACTED: Verdict.ACCEPTED, Outcome.DUPLICATE: Verdict.DUPLICATE,
    Outcome.SUPERSEDED: Verdict.SUPERSEDED, Outcome.NOT_KEPT: Verdict.NOT_KEPT,
    Outcome.NOT_LABELLED: Verdict.NOT_LABELLED,
}


def _summary(outcomes: list[Outcome]) -> Answer:
    """Make the best that happened to any frame the verdict; the reason counts them all."""
    counts = Counter(outcomes)
    verdicts = {_VERDICTS[outcome] for outcome in counts}
    verdict = next(verdict for verdict in Verdict if verdict in verdicts)
    changed = sum(counts[outcome] for outcome in (Outcome.ADDED, Outcome.RELABELLED,
                                                  Outcome.RETRACTED))
    reason = '; '.join(f'{count} {"frame" if count == 1 else "frames"} {outcome.value}'
                       for outcome, count in counts.items())
    return Answer(verdict, reason, changed)
