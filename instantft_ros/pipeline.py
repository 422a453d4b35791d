"""
The whole flow on one page: frame -> features -> forward cache -> job -> adapter -> prediction.

No ROS here; the classifier node feeds this with messages and sends the jobs to an accelerator.
"""

from __future__ import annotations

from dataclasses import dataclass, field, InitVar, replace

import numpy as np

from instantft_ros.accelerator.job import FineTuneJob, FineTuneResult, Schedule
from instantft_ros.adaptation.gate import Decision, Gate, GatePolicy
from instantft_ros.adaptation.quarantine import Suspects
from instantft_ros.adaptation.versions import AdapterVersion, VersionHistory
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.backbone import Backbone, Region
from instantft_ros.core.calibration import fit_logit_scale
from instantft_ros.core.class_list import ClassList
from instantft_ros.core.corrections import Answer, apply_correction, Correction
from instantft_ros.core.errors import AdapterError
from instantft_ros.core.features import FeatureRecord, Features, pad_logits
from instantft_ros.core.forward_cache import ForwardCache
from instantft_ros.core.frame_ring import FrameId, FrameRing
from instantft_ros.core.replay import ReplaySet

#: A chain of warm trainings lets the weights grow. Beyond these magnitudes of A and B, the most
#: that the accelerator's numbers hold, a training starts from the first adapter again.
WARM_LIMITS = (1.9, 3.9)

#: Rank of an adapter.
RANK = 8

#: Relative learning rates that suit each optimizer.
RATES = {'sgd': 6.0, 'momentum': 0.6, 'adam': 0.5}

#: Guard samples of each class: images from before the drift that nothing is trained on.
GUARD_PER_CLASS = 8

#: Samples that a fine-tuning visits, and its fewest and most epochs.
VISITS, EPOCHS = 10_240, (10, 60)


@dataclass(frozen=True)
class TrainingPolicy:
    """
    How to train.

    rate is relative to the features: the first step is rate / mean(||x||^2) over the cached
    samples for SGD and momentum, rate / sqrt(mean(||x||^2)) for Adam, whose steps do not grow
    with the gradient. So one value fits networks whose features differ in size; 0: `RATES`.
    epochs 0: as many as make `VISITS` samples, within `EPOCHS` (doc/method.md). Suspect samples
    are set aside when they are more than `quarantine_share` of all (adaptation/quarantine.py).
    weight_decay: of Adam; with N samples the first step takes weight_decay / sqrt(N) of each
    weight. fit_logits: scale the frozen logits as the samples ask (core/calibration.py).
    logit_adjustment: how far to learn no class frequencies, see `Schedule.class_offsets`.
    """

    optimizer: str = 'adam'
    epochs: int = 0
    batch_size: int = 32
    rate: float = 0.0
    warm_start: bool = False
    quarantine_share: float = 0.1
    weight_decay: float = 0.1
    fit_logits: bool = True
    logit_adjustment: float = 1.0

    def schedule(self, samples: int, mean_square_norm: float) -> Schedule:
        """Give the schedule for so many samples of this mean ||x||^2."""
        norm = max(mean_square_norm, 1e-6)
        rate = (self.rate or RATES[self.optimizer]) / (
            norm ** 0.5 if self.optimizer == 'adam' else norm)
        epochs = self.epochs or min(max(round(VISITS / samples), EPOCHS[0]), EPOCHS[1])
        decay = self.weight_decay / (rate * samples ** 0.5) if self.optimizer == 'adam' else 0.0
        return Schedule(epochs, min(self.batch_size, samples), rate, optimizer=self.optimizer,
                        weight_decay=decay, logit_adjustment=self.logit_adjustment)

    def calibrated(self, start: Adapter, logits: np.ndarray, labels: np.ndarray) -> Adapter:
        """Scale the frozen logits of where to start as these samples, (N, C) and (N,), ask."""
        if not self.fit_logits:
            return start
        return replace(start, logit_scale=fit_logit_scale(logits, labels))


@dataclass(frozen=True)
class Prediction:
    """
    Softmax scores (C,) of one frame, from exactly this version; z0: the frozen logits (C,).

    features: what the network computed, from which another version can predict too.
    """

    frame: FrameId
    scores: np.ndarray
    version: AdapterVersion
    frozen_logits: np.ndarray
    features: Features


@dataclass
class Pipeline:
    """
    One backbone, its views, its forward cache and the versions of its adapter.

    replay, guard: images from before the drift, to train on and to judge by. initial: the first
    adapter, which trainings start from.
    """

    backbone: Backbone
    ring: FrameRing
    cache: ForwardCache
    versions: VersionHistory
    classes: ClassList
    replay: ReplaySet
    guard: InitVar[ReplaySet]
    initial: Adapter = field(init=False)
    suspects: Suspects = field(init=False)
    _gate: Gate = field(init=False)

    def __post_init__(self, guard: ReplaySet) -> None:
        self.suspects = Suspects(self.cache.capacity)
        self.initial = self.versions.first.adapter
        self._gate = Gate(self.cache, guard, self.initial)
        self.initial.check_backbone(self.backbone.layout.with_classes(len(self.classes)),
                                    self.backbone.digest)
        self._fit_classes()

    def classify(self, frame: FrameId, image: np.ndarray, region: Region | None = None,
                 time_s: float | None = None) -> Prediction:
        """
        Classify an image and remember its features; raises `ImageError`, `FeatureError`.

        time_s: when the image came, see `FeatureRecord`.
        """
        features = self.backbone.features(self.backbone.preprocess(image, region))
        gone = self.ring.put(frame, FeatureRecord.of(features, self.backbone.layout, time_s))
        if gone is not None:
            self.cache.forget(gone)
        return self._predict(frame, features)

    def renew(self, before: Prediction) -> Prediction:
        """Predict the same frame by the adapter in use, without the network."""
        return self._predict(before.frame, before.features)

    def _predict(self, frame: FrameId, features: Features) -> Prediction:
        version = self.versions.current
        logits = pad_logits(features.logits, version.adapter.layout.classes)
        scores = softmax(version.adapter(features.x, logits))
        return Prediction(frame, scores, version, logits, features)

    def correct(self, correction: Correction) -> Answer:
        """Take an operator's correction; never raises for bad input."""
        return apply_correction(correction, self.ring, self.cache, self.classes, self._add_class)

    def go_back(self, number: int) -> AdapterVersion:
        """Make an earlier version current again; raises `AdapterError` when it is not held."""
        return self.versions.go_back(number, len(self.classes))

    def _add_class(self, name: str) -> int:
        """Give the adapter an output for a new class: a version that predicts as before."""
        label = self.classes.add(name)
        now = self.versions.current
        self.initial = self.initial.with_classes(len(self.classes))
        self.versions.adopt(now.adapter.with_classes(len(self.classes)), now.number,
                            now.cache_version)
        self._fit_classes()
        return label

    def _fit_classes(self) -> None:
        self.replay = self.replay.with_classes(len(self.classes))
        if self.cache.layout.classes < len(self.classes):
            self.cache.grow(len(self.classes))
        self._gate = Gate(self.cache, self._gate.guard.with_classes(len(self.classes)),
                          self.initial)

    def job(self, policy: TrainingPolicy, accelerator_version: int) -> FineTuneJob | None:
        """
        Ask for a fine-tuning; None when there is no sample to train on.

        While it is under way `suspects.look_again` has time to look at older samples.
        """
        self.suspects.look(self.cache)
        order = self.cache.training_order()
        order = order[~self.quarantined(order, policy.quarantine_share)]
        if len(order) == 0:
            return None
        start = self.versions.current.adapter if policy.warm_start else self.initial
        if np.abs(start.a).max() > WARM_LIMITS[0] or np.abs(start.b).max() > WARM_LIMITS[1]:
            start = self.initial
        logits, labels = self.cache.frozen_logits(order), self.cache.labels(order)
        start = policy.calibrated(start, np.concatenate([logits, self.replay.logits]),
                                  np.concatenate([labels, self.replay.labels]))
        norm = self.cache.mean_square_norm(order)
        order = self.replay.mix_in(order, self.cache.capacity)
        return FineTuneJob(self.replay.extend(self.cache.update_since(accelerator_version)), start,
                           order, policy.schedule(len(order), norm))

    def quarantined(self, slots: np.ndarray, share: float) -> np.ndarray:
        """Tell which slots (N,) are set aside: the suspects, when they are more than a share."""
        suspects = self.suspects.among(self.cache, slots)
        return suspects if suspects.sum() > share * len(slots) else np.zeros(len(slots), bool)

    def judge(self, adapter: Adapter, trained: np.ndarray, gate: GatePolicy,
              foreign: bool = False) -> Decision:
        """
        Judge an adapter against the one in use; it need not fit this network.

        trained (N,) int64: the slots that it was trained on and that still hold the same; of a
        foreign one, which knew none of them, any labelled ones, or none at all.
        """
        try:
            adapter.check_backbone(self.cache.layout, self.backbone.digest)
        except AdapterError as error:
            return Decision(False, str(error))
        held_out = self.cache.holdout_order()
        held_out = held_out[~self.suspects.among(self.cache, held_out)]
        return self._gate.judge(adapter, self.versions.current.adapter, trained, held_out, gate,
                                samples_needed=not foreign)

    def trained_on(self, job: FineTuneJob) -> np.ndarray:
        """Give the slots (N,) of a job that still hold what it trained on."""
        return self.cache.unchanged(job.order, job.update.version)

    def adopt(self, result: FineTuneResult, job: FineTuneJob, parent: int,
              gate: GatePolicy) -> tuple[Decision, AdapterVersion]:
        """Judge a trained adapter and, when it is accepted, swap it in."""
        adapter = result.adapter.with_classes(len(self.classes))  # one may have come meanwhile
        decision = self.judge(adapter, self.trained_on(job), gate)
        if decision.accepted:
            self.versions.adopt(adapter, parent, job.update.version)
        return decision, self.versions.current


def replay_and_guard(backbone: Backbone, per_class: int) -> tuple[ReplaySet, ReplaySet]:
    """
    Load the images from before the drift that are trained on, and those that guard.

    Without replay what was known is forgotten on purpose, so there is no guard either. Raises
    `ManifestError`.
    """
    return (ReplaySet.load(backbone, per_class),
            ReplaySet.load(backbone, GUARD_PER_CLASS if per_class else 0, skip=per_class))


def softmax(z: np.ndarray) -> np.ndarray:
    """Give softmax over the last axis, float32."""
    exp_z: np.ndarray = np.exp(z - z.max(axis=-1, keepdims=True))
    exp_z /= exp_z.sum(axis=-1, keepdims=True)
    return exp_z
