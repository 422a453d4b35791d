"""The replay: every image and correction of a source through the pipeline, in its order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from instantft_ros.accelerator.base import Accelerator
from instantft_ros.adaptation.gate import GatePolicy
from instantft_ros.core.backbone import Region
from instantft_ros.core.corrections import Correction, frames_of, Verdict
from instantft_ros.core.errors import AcceleratorError, FeatureError, ImageError
from instantft_ros.core.frame_ring import FrameId
from instantft_ros.evaluate.simulated_operator import SimulatedOperator
from instantft_ros.evaluate.source import (
    Corrected,
    Event,
    Frame,
    Truth,
    Unreadable,
)
from instantft_ros.pipeline import Pipeline, TrainingPolicy


@dataclass(frozen=True)
class Seen:
    """
    The first prediction of a frame: the class with the adapter, and the frozen network's.

    version, cache_version: of the adapter, which knows the corrections up to that version of the
    cache and no later one.
    """

    frame: FrameId
    position: float
    adapted: int
    frozen: int
    version: int
    cache_version: int


@dataclass
class Log:
    """
    What happened.

    corrected: when the standing correction of a frame was issued, and its class, -1 if retracted.
    """

    seen: dict[FrameId, Seen] = field(default_factory=dict)
    frames: int = 0
    repeated: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    truths: dict[FrameId, int] = field(default_factory=dict)
    unusable_truths: Counter[str] = field(default_factory=Counter)
    corrected: dict[FrameId, tuple[int, int]] = field(default_factory=dict)
    corrections: int = 0
    corrections_at: list[float] = field(default_factory=list)
    refused_corrections: Counter[str] = field(default_factory=Counter)
    swaps_at: list[float] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    train_ms: list[float] = field(default_factory=list)


class Replay:
    """
    Does with each event what the classifier node does, as fast as it can.

    After each correction that changes the cache an adapter is trained, and it predicts from the
    next image on: the time that training takes is not simulated. A frame is judged by its first
    prediction, which no correction of that frame can have preceded.
    """

    def __init__(self, pipeline: Pipeline, accelerator: Accelerator, policy: TrainingPolicy,
                 region: Region | None = None,
                 operator: SimulatedOperator | None = None) -> None:
        self.log = Log()
        self._pipeline, self._accelerator, self._policy = pipeline, accelerator, policy
        self._region, self._operator = region, operator
        self._held = 0

    def take(self, event: Event) -> None:
        """Handle the next event; raises `JobError` for a job that the backend cannot do."""
        if isinstance(event, Frame):
            self._classify(event)
        elif isinstance(event, Truth):
            self._learn_truth(event)
        elif isinstance(event, Corrected):
            self._correct(event.correction, event.position)
        else:
            self._reject(event)

    def _classify(self, event: Frame) -> None:
        log, frame, pipeline = self.log, event.frame, self._pipeline
        if self._operator is not None:
            for correction in self._operator.due(log.frames):
                self._correct(correction, event.position)
        number = log.frames
        log.frames += 1
        try:
            prediction = pipeline.classify(frame, event.image, self._region)
        except (ImageError, FeatureError) as error:
            log.rejected[str(error)] += 1
            return
        if frame in log.seen:
            log.repeated += 1
            return
        record = pipeline.ring.get(frame)
        assert record is not None
        seen = Seen(frame, event.position, int(prediction.scores.argmax()),
                    int(record.logits.argmax()), prediction.version.number,
                    prediction.version.cache_version)
        log.seen[frame] = seen
        if self._operator is not None:
            self._operator.saw(number, frame, seen.adapted, log.truths[frame])

    def _learn_truth(self, event: Truth) -> None:
        label = self._pipeline.classes.index(event.label)
        if label is None:
            self.log.unusable_truths[f'class {event.label!r} is not known'] += 1
        else:
            self.log.truths[event.frame] = label

    def _reject(self, event: Unreadable) -> None:
        log = self.log
        if event.what == 'image':
            log.frames += 1
            log.rejected[event.reason] += 1
        elif event.what == 'correction':
            log.corrections += 1
            log.refused_corrections[event.reason] += 1
        else:
            log.unusable_truths[event.reason] += 1

    def _correct(self, correction: Correction, position: float) -> None:
        log = self.log
        log.corrections += 1
        answer = self._pipeline.correct(correction)
        if not answer.satisfied:
            log.refused_corrections[f'{answer.verdict.value}: {answer.reason}'] += 1
        else:
            log.corrections_at.append(position)
        if answer.satisfied or answer.verdict is Verdict.NOT_KEPT:
            self._note_labels(correction)
        if answer.frames:
            self._train(position)

    def _note_labels(self, correction: Correction) -> None:
        """Keep what was said of which frame, also where the cache has no room for it."""
        label = -1 if correction.label is None else self._pipeline.classes.index(correction.label)
        assert label is not None
        held = frames_of(correction, self._pipeline.ring, self._pipeline.cache)
        earlier = [frame for frame in self.log.corrected if frame.view == correction.view
                   and correction.first_ns <= frame.stamp_ns <= correction.last_ns]
        for frame in {*held, *earlier}:
            said = (correction.issued_ns, label)
            self.log.corrected[frame] = max(said, self.log.corrected.get(frame, said))

    def _train(self, position: float) -> None:
        log, pipeline = self.log, self._pipeline
        job = pipeline.job(self._policy, self._held)
        pipeline.suspects.look_again(pipeline.cache)
        if job is None:
            return
        try:
            result = self._accelerator.fine_tune(job)
        except AcceleratorError as error:
            self._held = 0
            log.failed[str(error)] += 1
            return
        self._held = job.update.version
        log.train_ms.append(result.train_ms)
        decision, _ = pipeline.adopt(result, job, pipeline.versions.current.number, GatePolicy())
        if decision.accepted:
            log.swaps_at.append(position)
        else:
            log.refused[decision.reason] += 1
