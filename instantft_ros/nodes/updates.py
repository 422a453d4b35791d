"""When the classifier trains a new adapter, whether it goes live, and the way back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
import time
from typing import Any

import numpy as np
from rclpy.lifecycle import LifecycleNode
from rclpy.subscription import Subscription

from instantft_ros.accelerator.base import Limits
from instantft_ros.accelerator.cpu import CpuBackend
from instantft_ros.adaptation.budget import Budget, BudgetPolicy
from instantft_ros.adaptation.drift import DriftMonitor, DriftPolicy
from instantft_ros.adaptation.gate import Decision, GatePolicy
from instantft_ros.adaptation.paired import Paired
from instantft_ros.adaptation.retries import Retries, RetryPolicy
from instantft_ros.adaptation.trigger import Trigger, TriggerPolicy
from instantft_ros.adaptation.versions import AdapterVersion
from instantft_ros.adaptation.watchdog import Watchdog, WatchdogPolicy
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.errors import AdapterError, InstantFTError
from instantft_ros.core.frame_ring import FrameId
from instantft_ros.governance.package_version import package_version
from instantft_ros.governance.version_manifest import Figures, VersionManifest
from instantft_ros.msg import AcceleratorInfo, Status
from instantft_ros.nodes import conversions, qos
from instantft_ros.nodes.classifier_parameters import ClassifierParameters
from instantft_ros.nodes.fine_tune_client import FineTuneClient
from instantft_ros.nodes.own_trainer import OwnTrainer
from instantft_ros.nodes.parameters import Parameters
from instantft_ros.nodes.slack import Slack
from instantft_ros.nodes.state_keeper import StateKeeper
from instantft_ros.nodes.trainer import Done, Trainer
from instantft_ros.pipeline import Pipeline, Prediction, TrainingPolicy

#: Corrected frames of one turn that the watchdog and the shadow look at, at most.
LOOKED_AT = 64

#: After so many rollbacks of the watchdog in a row it stops training: an operator is needed.
MOST_ROLLBACKS = 3

#: For so long after a drift labels are asked for more often, seconds.
DRIFT_MEMORY_S = 60.0


@dataclass
class Candidate:
    """A trained or imported adapter that is not live yet; taken: corrections that it has seen."""

    adapter: Adapter
    manifest: VersionManifest
    cache_version: int
    decision: Decision
    taken: int
    words: str
    live: Paired = field(default_factory=Paired)
    began_s: float = 0.0


class Updates:
    """
    Takes the pipeline's cache to the accelerator and its adapters back.

    status: the fields that concern it are kept up to date; event: called with what happened, in
    words, and whether that is a warning; swapped: called when another version has become live;
    state: None where nothing is kept on the disk.
    """

    def __init__(self, node: LifecycleNode, settings: Parameters[ClassifierParameters],
                 pipeline: Pipeline, slack: Slack, status: Status,
                 event: Callable[[str, bool], None], swapped: Callable[[], None],
                 state: StateKeeper | None) -> None:
        self._node, self._settings, self._pipeline = node, settings, pipeline
        self._slack, self._status, self._state = slack, status, state
        self._event, self._swapped = event, swapped
        self._trigger, self._retries, self._budget = Trigger(), Retries(), Budget()
        self._watchdog, self._trusted = Watchdog(pipeline.versions.current.number), \
            pipeline.versions.current
        self._drift = DriftMonitor(DriftPolicy(threshold=settings.value.drift_threshold))
        self._drifted_s, self._drift_text = float('-inf'), ''
        self._package_version = package_version()
        self._taken = self._parent = self._rollbacks = 0
        self._was_ready = self.frozen = False
        #: what keeps new adapters from coming, in words; empty: nothing
        self.problem = ''
        self._unfit = self._unwritten = ''
        self.shadow: Candidate | None = None
        self.pending_approval: Candidate | None = None
        self._info: Subscription | None = None
        self._trainer = self._make_trainer(lambda work: slack.do(work, time.monotonic()))

    def _make_trainer(self, defer: Callable[[Callable[[], None]], None]) -> Trainer:
        if self._settings.value.trainer == 'accelerator':
            self._info = self._node.create_subscription(AcceleratorInfo, 'accelerator_info',
                                                        self._on_info, qos.status())
            return FineTuneClient(self._node, 'fine_tune', self._on_trained, defer)
        backend = CpuBackend()
        if backend.notice:
            self._node.get_logger().warning(backend.notice)
        self._look_at_limits(backend.name, backend.limits)
        return OwnTrainer(self._node, backend, self._on_trained, defer)

    @property
    def training(self) -> bool:
        """Whether a fine-tuning is under way."""
        return self._trainer.busy

    @property
    def accelerator_ready(self) -> bool:
        """Whether there is somebody to train."""
        return self._trainer.ready

    @property
    def pending(self) -> int:
        """How many corrections no fine-tuning has seen yet."""
        return self._trigger.pending

    @property
    def trusted_version(self) -> int:
        """The version that the watchdog goes back to."""
        return self._trusted.number

    @property
    def drifted(self) -> bool:
        """Whether a drift was noticed a short while ago."""
        return time.monotonic() - self._drifted_s < DRIFT_MEMORY_S

    def tell(self, text: str) -> None:
        """Announce something that happened."""
        self._event(text, False)

    def trouble_with_the_disk(self) -> str:
        """Say why something could not be written; empty: nothing went wrong lately."""
        if self._state is not None:
            problems = self._state.problems()
            for each in problems:
                self._node.get_logger().error(each, throttle_duration_sec=1.0)
            self._unwritten = problems[-1] if problems else ''
        return self._unwritten

    def trouble(self) -> str:
        """Say what is wrong, for the diagnostics; empty: nothing."""
        self.trouble_with_the_disk()
        why_not = self._budget.why_not(self._budget_policy(), time.monotonic())
        return (self.problem or self._unfit or self._unwritten or (why_not if self.pending else '')
                or (self._drift_text if self.drifted else ''))

    # what the cameras and the operators say

    def seen(self, prediction: Prediction) -> None:
        """Look at a prediction: is it of a drift, and how long is its version live."""
        p = self._settings.value
        self._watchdog.shown(WatchdogPolicy(p.watchdog_frames), prediction.version.number)
        if self._watchdog.trusted != self._trusted.number:
            self._trusted, self._rollbacks = prediction.version, 0
        if p.drift_threshold == 0:
            return
        found = self._drift.update(prediction.frame.view, float(prediction.scores.max()),
                                   prediction.frozen_logits[:self._pipeline.classes.known])
        if found:
            self._drift_alarm(f"view '{prediction.frame.view}' has drifted, its {found} says so",
                              prediction.frame.view, found)

    def _drift_alarm(self, text: str, view: str, signal: str) -> None:
        self._drifted_s, self._drift_text = time.monotonic(), text
        self._status.drift_alarms += 1
        self.log('drift', view=view, signal=signal)
        self._event(text, True)

    def corrected(self, changes: Sequence[FrameId], count: int) -> None:
        """Note `count` corrections that changed the cache, and frames that were labelled."""
        now_s = time.monotonic()
        self._trigger.corrected(now_s, count)
        self._retries.corrected(self._retry_policy())
        self._look_at(changes[-LOOKED_AT:])
        self._slack.do(self.train_when_due, now_s)

    def resume(self, corrections: int) -> None:
        """Take up corrections that no training had seen when the node ended."""
        if corrections:
            self._trigger.corrected(time.monotonic(), corrections)

    def _look_at(self, frames: Sequence[FrameId]) -> None:
        """See what corrected frames say of the version in use, and of one in the shadow."""
        current = self._pipeline.versions.current
        slots = self._pipeline.cache.slots_of(frames)
        if len(slots) == 0:
            return
        labels = self._pipeline.cache.labels(slots)
        right = self._right(current.adapter, slots, labels)
        trusted = self._right(self._trusted.adapter, slots, labels)
        self._watchdog.mistaken(int((~right).sum()), int((~right & trusted).sum()))
        alarms = sum(self._drift.corrected(bool(wrong)) for wrong in ~right)
        if alarms and self._settings.value.drift_threshold:
            self._drift_alarm('more corrections than before are of mistakes', '', 'mistakes')
        if self.shadow is not None:
            self.shadow.live += Paired.of(right, self._right(self.shadow.adapter, slots, labels))
        worse = self._watchdog.worse()
        if worse and self._settings.value.watchdog_frames:
            self._roll_back_by_itself(worse)

    def _right(self, adapter: Adapter, slots: np.ndarray, labels: np.ndarray) -> np.ndarray:
        wide = adapter.with_classes(self._pipeline.cache.layout.classes)
        z = self._pipeline.cache.adapted_logits(wide, slots)
        right: np.ndarray = z.argmax(axis=1) == labels
        return right

    # when

    def tick(self) -> None:
        """Look at deadlines and triggers; call this regularly while the node is active."""
        self._trainer.check_deadline()
        ready, was_ready = self._trainer.ready, self._was_ready
        self._was_ready = ready
        if ready and not was_ready:
            self._retries.succeeded()
        if self.shadow is not None:
            self._judge_shadow(self.shadow)
        if self._slack.empty:
            self.train_when_due()
        if self._state is not None:
            self._state.tick(self._pipeline.cache.frames)

    def train_when_due(self) -> None:
        """Start a fine-tuning when the trigger policy says so and nothing speaks against it."""
        p, now_s = self._settings.value, time.monotonic()
        fewest = 1 if self.drifted else p.min_corrections
        if self.frozen or self._trainer.busy or self.shadow is not None \
                or not self._trigger.due(TriggerPolicy(fewest, p.max_wait_s, p.min_interval_s),
                                         now_s) \
                or not self._retries.allowed(self._retry_policy(), now_s) \
                or self._budget.why_not(self._budget_policy(), now_s) \
                or (self._state is not None and self._state.behind):
            return
        self.train()

    def train(self) -> bool:
        """Send the cache to the accelerator; False when it holds nothing to train on."""
        p = self._settings.value
        job = self._pipeline.job(
            TrainingPolicy(p.optimizer, p.epochs, p.batch_size, p.rate, p.warm_start,
                           p.quarantine_share, p.weight_decay, p.fit_logits,
                           p.logit_adjustment),
            self._trainer.held_version(self._pipeline.cache.session))
        now_s = time.monotonic()
        self._slack.later(self._note_suspects, now_s)  # no training has to wait for it
        self._taken = self._trigger.started(now_s)
        if job is None:
            return False
        self._parent = self._pipeline.versions.current.number
        self._trainer.start(job, p.deadline_s)
        return True

    def _note_suspects(self) -> None:
        self._pipeline.suspects.look_again(self._pipeline.cache)
        slots = self._pipeline.cache.training_order()
        suspects = int(self._pipeline.suspects.among(self._pipeline.cache, slots).sum())
        self._status.suspects = suspects
        quarantine = bool(self._pipeline.quarantined(
            slots, self._settings.value.quarantine_share).any())
        if quarantine and not self._status.quarantine:
            self._event(f'{suspects} of {len(slots)} corrections disagree with everything and '
                        'are set aside; ~/suspects names them', True)
        self._status.quarantine = quarantine

    def suspects(self) -> list[str]:
        """Name the suspect corrections: view, stamp, and the class that was said."""
        cache = self._pipeline.cache
        slots = cache.slots()
        found = cache.frames_in(slots[self._pipeline.suspects.among(cache, slots)])
        names = self._pipeline.classes.names
        return [f'{frame.view} {frame.stamp_ns} {names[label]}' for frame in sorted(found)
                if (label := cache.label_of(frame)) is not None]

    def drop_training(self) -> None:
        """Give up the fine-tuning under way, or its result; its corrections stay due."""
        now_s = time.monotonic()
        if self._trainer.busy:
            self._trainer.drop()
            self._trigger.failed(self._taken, now_s)
        if self.shadow is not None:
            candidate, self.shadow = self.shadow, None
            self._trigger.failed(candidate.taken, now_s)

    def forget_corrections(self) -> None:
        """Begin anew after the cache was cleared."""
        self.drop_training()
        self._trigger = Trigger()
        if self._state is not None:
            self._state.cleared()

    # whether

    def _on_trained(self, done: Done) -> None:
        now_s = time.monotonic()
        if done.result is None:
            self._trigger.failed(self._taken, now_s)
            if not done.resend:
                self._failed(done.problem)
            return
        result, status, pipeline = done.result, self._status, self._pipeline
        self._retries.succeeded()
        self._budget.spent(result.train_ms, result.energy_j, now_s)
        status.backend, status.train_ms = result.backend, result.train_ms
        status.energy_j, status.round_trip_ms = result.energy_j, done.round_trip_ms
        if result.fallback:
            status.fallbacks += 1
            self._node.get_logger().warning(result.fallback, throttle_duration_sec=5.0)
        adapter = result.adapter.with_classes(len(pipeline.classes))  # one may have come meanwhile
        decision = pipeline.judge(adapter, pipeline.trained_on(done.job), self._gate_policy())
        corrected = done.job.order[done.job.order < pipeline.cache.capacity]
        counts = np.bincount(pipeline.cache.labels(corrected), minlength=len(pipeline.classes))
        replayed = len(done.job.order) - len(corrected)
        manifest = self._manifest(
            pipeline.versions.next_number(), self._parent, decision,
            corrections={name: int(count) for name, count in zip(pipeline.classes.names, counts)
                         if count},
            session=done.job.update.session, cache_version=done.job.update.version,
            schedule=asdict(done.job.schedule), backend=result.backend,
            train_ms=result.train_ms)
        self.log('training', version=manifest.number, parent=self._parent,
                 samples=len(corrected), replayed=replayed, backend=result.backend,
                 train_ms=result.train_ms, fallback=result.fallback)
        words = (f'from {len(corrected)} samples'
                 + (f' and {replayed} replayed ones' if replayed else '')
                 + f': {decision.reason}, {done.round_trip_ms:.0f} ms')
        self.problem = result.fallback
        self.consider(Candidate(adapter, manifest, done.job.update.version, decision,
                                self._taken, words, began_s=now_s))

    def consider(self, candidate: Candidate, accepted_by: str = 'gate') -> None:
        """Take a judged adapter as far as the parameters let it go."""
        p, number = self._settings.value, candidate.manifest.number
        decision = candidate.decision
        self.log('decision', version=number, accepted=decision.accepted, reason=decision.reason,
                 loss=decision.loss, holdout_accuracy=decision.holdout_accuracy,
                 guard_accuracy=decision.guard_accuracy)
        if not decision.accepted:
            self._refuse(candidate, decision.reason)
        elif p.shadow_corrections and accepted_by == 'gate':
            self.shadow = candidate
            self._event(f'version {number} is tried on the next {p.shadow_corrections} '
                        'corrections before it may go live', False)
        elif p.approval:
            self._wait_for_approval(candidate)
        else:
            self.go_live(candidate, accepted_by)

    def _judge_shadow(self, candidate: Candidate) -> None:
        p = self._settings.value
        enough = candidate.live.count >= p.shadow_corrections
        if not enough and time.monotonic() - candidate.began_s < p.shadow_s:
            return
        self.shadow = None
        live = candidate.live
        words = (f'on {live.count} live corrections {live.lost} would have become wrong and '
                 f'{live.won} right')
        self.log('shadow', version=candidate.manifest.number, corrections=live.count,
                 lost=live.lost, won=live.won)
        if live.worse(p.accuracy_tolerance):
            self._refuse(candidate, words)
        elif p.approval:
            self._wait_for_approval(candidate)
        else:
            candidate.words += f'; {words}'
            self.go_live(candidate, 'gate')

    def _wait_for_approval(self, candidate: Candidate) -> None:
        before, self.pending_approval = self.pending_approval, candidate
        if before is not None:
            self._decide(before.manifest.number, 'rejected', '',
                         'a newer one waits for approval')
        self._save(candidate.adapter, candidate.manifest, 'pending')
        self._event(f'version {candidate.manifest.number} {candidate.words}; it waits for '
                    'approval', False)

    def _refuse(self, candidate: Candidate, reason: str) -> None:
        self._status.trainings_refused += 1
        self.problem = f'the new adapter was refused: {reason}'
        self._save(candidate.adapter, candidate.manifest, 'rejected', '', reason)
        self._event(self.problem, True)

    def go_live(self, candidate: Candidate, accepted_by: str) -> AdapterVersion:
        """Swap an adapter in."""
        manifest, status = candidate.manifest, self._status
        adapter = candidate.adapter.with_classes(len(self._pipeline.classes))
        version = self._pipeline.versions.adopt(adapter, manifest.parent,
                                                candidate.cache_version, manifest.number)
        self._swapped()
        status.trainings += accepted_by == 'gate'
        status.loss = candidate.decision.loss
        status.holdout_accuracy = candidate.decision.holdout_accuracy
        status.guard_accuracy = candidate.decision.guard_accuracy
        if candidate is self.pending_approval:
            self.pending_approval = None
            self._decide(manifest.number, 'accepted', accepted_by)
        else:
            self._save(candidate.adapter, manifest, 'accepted', accepted_by)
        if self._state is not None and candidate.taken:
            self._state.taken_up(candidate.taken)
        self.log('swap', version=version.number, parent=version.parent, accepted_by=accepted_by,
                 digest=version.digest)
        self._event(f'version {version.number} {candidate.words}', False)
        return version

    def turn_down(self, candidate: Candidate, who: str) -> None:
        """Keep an adapter that waits for approval as rejected."""
        self.pending_approval = None
        self._status.trainings_refused += 1
        self._decide(candidate.manifest.number, 'rejected', '', f'turned down by {who}')
        self._event(f'version {candidate.manifest.number} was turned down by {who}', False)

    # the way back

    def roll_back(self, number: int, who: str) -> AdapterVersion:
        """Make an earlier version live again, a new number; raises `InstantFTError`."""
        versions, left = self._pipeline.versions, self._pipeline.versions.current
        if number not in versions and self._state is not None:
            versions.hold(self._on_the_disk(self._state, number))
        now = self._pipeline.go_back(number)
        self._swapped()
        self.drop_training()
        self._save(now.adapter, self._manifest(now.number, number), 'accepted',
                   f'operator:{who}' if who else 'rollback',
                   f'rolled back from version {left.number}')
        if left.number:
            self._decide(left.number, 'rolled back', '', f'back to version {number}')
        self.log('rollback', version=now.number, to=number, left=left.number, by=who)
        self._status.loss = self._status.holdout_accuracy = float('nan')
        self._status.guard_accuracy = float('nan')
        self._watchdog.trust(now.number)
        self._trusted = now
        self._event(f'rolled back from version {left.number} to {number}, now version '
                    f'{now.number}', False)
        return now

    def _on_the_disk(self, state: StateKeeper, number: int) -> AdapterVersion:
        manifest, adapter = state.versions.load(number)
        if manifest.state not in ('accepted', 'rolled back'):
            raise AdapterError(f'version {number} was never live, it is {manifest.state}')
        adapter.check_backbone(adapter.layout, self._pipeline.backbone.digest)
        return AdapterVersion(number, manifest.parent, 0, adapter, manifest.digest)

    def _roll_back_by_itself(self, reason: str) -> None:
        self._rollbacks += 1
        self._status.rollbacks += 1
        try:
            self.roll_back(self._trusted.number, '')
        except InstantFTError as error:
            self.problem = f'the watchdog cannot go back: {error}'
        else:
            self.problem = f'the watchdog went back: {reason}'
        if self._rollbacks >= MOST_ROLLBACKS:
            self.frozen = True
            self.problem += (f'; after {self._rollbacks} times in a row it is frozen: look at the '
                             'corrections (~/suspects), then unfreeze')
        self._event(self.problem, True)

    def widened(self, name: str) -> None:
        """Keep the version that got an output for a new class."""
        version = self._pipeline.versions.current
        self._save(version.adapter, self._manifest(version.number, version.parent), 'accepted',
                   'gate', f"an output for the new class '{name}'")
        self.log('new class', name=name, version=version.number)
        self._event(f"version {version.number} has an output for the new class '{name}'", False)

    # the record

    def log(self, kind: str, **fields: object) -> None:
        """Write to the audit log, where there is one."""
        if self._state is not None:
            self._state.log(kind, **fields)

    def _manifest(self, number: int, parent: int, decision: Decision | None = None,
                  **known: Any) -> VersionManifest:
        """Begin the record of a version; what becomes of it is decided when it is saved."""
        figures = Figures() if decision is None else Figures(
            decision.loss, decision.holdout_accuracy, decision.guard_accuracy)
        return VersionManifest(number, parent, 'rejected', figures=figures,
                               class_names=self._pipeline.classes.names,
                               robot=self._node.get_fully_qualified_name(),
                               package_version=self._package_version, **known)

    def judge_foreign(self, adapter: Adapter) -> Decision:
        """Send an adapter from elsewhere through the same gate."""
        slots = self._pipeline.cache.training_order()
        return self._pipeline.judge(adapter, slots, self._gate_policy(), foreign=True)

    def imported(self, adapter: Adapter, origin: str, decision: Decision) -> Candidate:
        """Make a candidate of an adapter from elsewhere."""
        versions = self._pipeline.versions
        manifest = self._manifest(versions.next_number(), versions.current.number, decision,
                                  origin=origin)
        return Candidate(adapter, manifest, 0, decision, 0, f'imported: {origin}')

    def _save(self, adapter: Adapter, manifest: VersionManifest, state: str,
              accepted_by: str = '', reason: str = '') -> None:
        if self._state is not None:
            p = self._settings.value
            self._state.save(adapter, manifest.decided(state, accepted_by, reason),
                             state == 'accepted', p.keep_versions, p.keep_days)

    def _decide(self, number: int, state: str, accepted_by: str = '', reason: str = '') -> None:
        if self._state is not None:
            self._state.decide(number, state, accepted_by, reason, in_use=state == 'accepted')

    def close(self) -> None:
        """Destroy what was made."""
        self._trainer.close()
        if self._info is not None:
            self._node.destroy_subscription(self._info)

    # parameters

    def _failed(self, reason: str) -> None:
        policy, now_s = self._retry_policy(), time.monotonic()
        self._status.trainings_failed += 1
        self._retries.failed(policy, now_s)
        self.problem = f'the fine-tuning failed: {reason}'
        if self._retries.exhausted(policy):
            self.problem += (f'; after {self._retries.failures} failures in a row the next '
                             'correction, the return of the accelerator or ~/retrain starts '
                             'the next one')
        self._event(self.problem, True)

    def _gate_policy(self) -> GatePolicy:
        p = self._settings.value
        return GatePolicy(p.loss_tolerance, p.accuracy_tolerance, p.guard_tolerance)

    def _retry_policy(self) -> RetryPolicy:
        p = self._settings.value
        return RetryPolicy(p.retry_s, p.max_retries)

    def _budget_policy(self) -> BudgetPolicy:
        p = self._settings.value
        return BudgetPolicy(p.trainings_per_hour, p.train_seconds_per_hour, p.joules_per_hour)

    def _on_info(self, message: AcceleratorInfo) -> None:
        """Learn what the accelerator can do, and say at once what is beyond it."""
        self._look_at_limits(message.backend, conversions.limits(message))

    def _look_at_limits(self, backend: str, limits: Limits) -> None:
        self._pipeline.classes.accelerator_limit = limits.classes
        reason = _beyond(limits, self._pipeline, self._settings.value)
        self._unfit = (f"the accelerator's backend '{backend}' can do {reason}"
                       if reason else '')
        if reason:
            self._node.get_logger().error(self._unfit)


def _beyond(limits: Limits, pipeline: Pipeline, p: ClassifierParameters) -> str:
    """Say what a job of these parameters would ask beyond the limits; empty: nothing."""
    beyond = limits.exceeded(pipeline.cache.capacity + len(pipeline.replay),
                             pipeline.cache.layout, pipeline.initial.rank)
    if beyond is not None:
        what, value, most = beyond
        if what == 'samples':
            what = 'slots (cache_capacity and replay samples)'
        return f'{what} up to {most}, asked are {value}'
    if p.optimizer not in limits.optimizers:
        return f"the optimizers {list(limits.optimizers)}, asked is '{p.optimizer}'"
    if limits.batch_sizes is not None and p.batch_size not in limits.batch_sizes:
        return f'the batch sizes {list(limits.batch_sizes)}, asked is {p.batch_size}'
    return ''
