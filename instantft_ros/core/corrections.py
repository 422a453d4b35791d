"""From an operator's correction to labelled samples in the forward cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from instantft_ros.core.class_list import ClassList
from instantft_ros.core.forward_cache import ForwardCache, Outcome
from instantft_ros.core.frame_ring import FrameId, FrameRing

#: How far a frame may be from the stamp that `Selector.NEAREST` names, unless it says so.
NEAREST_TOLERANCE_NS = 100_000_000


class Selector(Enum):
    """How a correction names its frames."""

    STAMP = 'stamp'
    LATEST = 'latest'
    WINDOW = 'window'
    NEAREST = 'nearest'


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
    UNKNOWN_REGION = 'unknown region'
    OVERLOADED = 'overloaded'
    NOT_ALLOWED = 'not allowed'


#: The verdicts after which the operator's wish holds.
SATISFIED = frozenset({Verdict.ACCEPTED, Verdict.DUPLICATE})


@dataclass(frozen=True)
class Correction:
    """
    What an operator said: these frames of this view show that class.

    first_ns is the image's stamp for `Selector.STAMP`, the stamp looked for by `NEAREST` within
    tolerance_ns (0: `NEAREST_TOLERANCE_NS`), and the window's start for `WINDOW`, which ends at
    last_ns. label: a class name or id, or None to retract. issued_ns decides between
    contradictions: the one issued last stands.
    """

    view: str
    selector: Selector
    label: str | int | None
    issued_ns: int
    first_ns: int = 0
    last_ns: int = 0
    tolerance_ns: int = 0


@dataclass(frozen=True)
class Answer:
    """
    The verdict on a correction, its reason in words, and how many frames it labelled.

    changed: those frames, label: the class id that they have now, None when it was withdrawn.
    """

    verdict: Verdict
    reason: str
    frames: int = 0
    changed: tuple[FrameId, ...] = ()
    label: int | None = None
    group: str = ''

    @property
    def satisfied(self) -> bool:
        """Whether what the operator wants is now so."""
        return self.verdict in SATISFIED


def apply_correction(correction: Correction, ring: FrameRing, cache: ForwardCache,
                     classes: ClassList, add_class: Callable[[str], int]) -> Answer:
    """
    Find the frames that a correction names and label them; never raises for bad input.

    add_class: makes a new class and gives its id; called only where `classes` has room for it.
    """
    if correction.view not in ring.views:
        return Answer(Verdict.UNKNOWN_CAMERA, f"camera '{correction.view}' is not known, "
                      f'the cameras are {list(ring.views)}')
    wanted = correction.label
    label = None if wanted is None else classes.index(wanted)
    if wanted is not None and label is None and (reason := classes.why_not(wanted)):
        return Answer(Verdict.UNKNOWN_CLASS, reason)
    if (problem := _problem(correction)):
        return Answer(Verdict.MALFORMED, problem)
    frames = frames_of(correction, ring, cache)
    if not frames:
        return _missing(correction, ring)
    if wanted is not None and label is None:
        label = add_class(str(wanted))
    group = f'{frames[0].view} {frames[0].stamp_ns}'
    outcomes = {frame: cache.retract(frame, correction.issued_ns) if label is None else
                cache.add(frame, ring.get(frame), label, correction.issued_ns, group)
                for frame in frames}
    changed = tuple(frame for frame, outcome in outcomes.items() if outcome in _CHANGES)
    return replace(_summary(list(outcomes.values())), changed=changed, label=label, group=group)


def frames_of(correction: Correction, ring: FrameRing, cache: ForwardCache) -> list[FrameId]:
    """Find the frames in the ring, and those that left it but are still labelled, by stamp."""
    view, first_ns = correction.view, correction.first_ns
    if correction.selector is Selector.LATEST:
        latest = ring.latest(view)
        return [] if latest is None else [latest]
    if correction.selector is Selector.NEAREST:
        nearest = ring.nearest(view, first_ns)
        tolerance_ns = correction.tolerance_ns or NEAREST_TOLERANCE_NS
        return [] if nearest is None or abs(nearest.stamp_ns - first_ns) > tolerance_ns \
            else [nearest]
    if correction.selector is Selector.STAMP:
        frame = FrameId(view, first_ns)
        held = ring.get(frame) is not None or cache.label_of(frame) is not None
        return [frame] if held else []
    interval = (view, first_ns, correction.last_ns)
    return sorted({*ring.window(*interval), *cache.labelled(*interval)})


def _problem(correction: Correction) -> str:
    if correction.selector is Selector.WINDOW and correction.last_ns < correction.first_ns:
        return (f'the time window ends at {correction.last_ns} ns, before its start at '
                f'{correction.first_ns} ns')
    if correction.tolerance_ns < 0:
        return f'tolerance must not be negative, got {correction.tolerance_ns} ns'
    return ''


def _missing(correction: Correction, ring: FrameRing) -> Answer:
    oldest = ring.oldest_stamp_ns(correction.view)
    if oldest is None:
        return Answer(Verdict.UNKNOWN_FRAME,
                      f"no frame of camera '{correction.view}' has been seen yet")
    last_ns = max(correction.first_ns, correction.last_ns)
    if last_ns < oldest:
        return Answer(Verdict.LATE, f'the frame is no longer held: the oldest one is from '
                      f'{oldest} ns, the correction names {last_ns} ns')
    named = {Selector.WINDOW: f'between {correction.first_ns} and {correction.last_ns} ns',
             Selector.NEAREST: f'within {correction.tolerance_ns or NEAREST_TOLERANCE_NS} ns of '
             f'the stamp {correction.first_ns} ns'}
    return Answer(Verdict.UNKNOWN_FRAME, f"camera '{correction.view}' has no frame "
                  + named.get(correction.selector, f'with the stamp {correction.first_ns} ns'))


_VERDICTS = {
    Outcome.ADDED: Verdict.ACCEPTED, Outcome.RELABELLED: Verdict.ACCEPTED,
    Outcome.RETRACTED: Verdict.ACCEPTED, Outcome.DUPLICATE: Verdict.DUPLICATE,
    Outcome.SUPERSEDED: Verdict.SUPERSEDED, Outcome.NOT_KEPT: Verdict.NOT_KEPT,
    Outcome.NOT_LABELLED: Verdict.NOT_LABELLED,
}


_CHANGES = frozenset({Outcome.ADDED, Outcome.RELABELLED, Outcome.RETRACTED})


def _summary(outcomes: list[Outcome]) -> Answer:
    """Make the best that happened to any frame the verdict; the reason counts them all."""
    counts = Counter(outcomes)
    verdicts = {_VERDICTS[outcome] for outcome in counts}
    verdict = next(verdict for verdict in Verdict if verdict in verdicts)
    changed = sum(counts[outcome] for outcome in _CHANGES)
    reason = '; '.join(f'{count} {"frame" if count == 1 else "frames"} {outcome.value}'
                       for outcome, count in counts.items())
    return Answer(verdict, reason, changed)
