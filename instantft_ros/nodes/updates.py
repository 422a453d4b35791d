"""When the classifier trains a new adapter, whether it goes live, and the way back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
import time

from rclpy.lifecycle import LifecycleNode
from std_srvs.srv import SetBool
from std_srvs.srv import Trigger as TriggerSrv

from instantft_ros.accelerator.base import Limits
from instantft_ros.adaptation.gate import GatePolicy
from instantft_ros.adaptation.retries import Retries, RetryPolicy
from instantft_ros.adaptation.trigger import Trigger, TriggerPolicy
from instantft_ros.core.errors import AdapterError
from instantft_ros.core.files import write_atomically
from instantft_ros.msg import AcceleratorInfo, Status
from instantft_ros.nodes import conversions, qos
from instantft_ros.nodes.classifier_parameters import ClassifierParameters
from instantft_ros.nodes.fine_tune_client import Done, FineTuneClient
from instantft_ros.nodes.parameters import Parameters
from instantft_ros.nodes.slack import Slack
from instantft_ros.pipeline import Pipeline, TrainingPolicy
from instantft_ros.srv import Rollback


class Updates:
    """
    Takes the pipeline's cache to the accelerator and its adapters back, and serves the operator.

    status: the fields that concern it are kept up to date; event: called with what happened, in
    words, and whether that is a warning.
    """

    def __init__(self, node: LifecycleNode, settings: Parameters[ClassifierParameters],
                 pipeline: Pipeline, slack: Slack, status: Status,
                 event: Callable[[str, bool], None]) -> None:
        self._node, self._settings, self._pipeline = node, settings, pipeline
        self._slack, self._status, self._event = slack, status, event
        self._trigger, self._retries = Trigger(), Retries()
        self._taken = self._parent = 0
        self._was_ready = False
        self.frozen = False
        #: what keeps new adapters from coming, in words; empty: nothing
        self.problem = ''
        self._unfit = ''
        self._client = FineTuneClient(node, 'fine_tune', self._on_trained,
                                      lambda work: slack.do(work, time.monotonic()))
        self._info = node.create_subscription(AcceleratorInfo, 'accelerator_info', self._on_info,
                                              qos.status())
        self._services = [
            node.create_service(TriggerSrv, '~/retrain', self._on_retrain),
            node.create_service(TriggerSrv, '~/clear', self._on_clear),
            node.create_service(TriggerSrv, '~/save', self._on_save),
            node.create_service(SetBool, '~/freeze', self._on_freeze),
            node.create_service(Rollback, '~/rollback', self._on_rollback)]

    @property
    def training(self) -> bool:
        """Whether a fine-tuning is under way."""
        return self._client.busy

    @property
    def accelerator_ready(self) -> bool:
        """Whether an accelerator node offers the action."""
        return self._client.ready

    @property
    def pending(self) -> int:
        """How many corrections no fine-tuning has seen yet."""
        return self._trigger.pending

    @property
    def trouble(self) -> str:
        """What is wrong, for the diagnostics; empty: nothing."""
        return self.problem or self._unfit

    def corrected(self, count: int) -> None:
        """Note corrections that changed the cache."""
        now_s = time.monotonic()
        self._trigger.corrected(now_s, count)
        self._retries.corrected(self._retry_policy())
        self._slack.do(self.train_when_due, now_s)

    def tick(self) -> None:
        """Look at deadlines and triggers; call this regularly while the node is active."""
        self._client.check_deadline()
        ready, was_ready = self._client.ready, self._was_ready
        self._was_ready = ready
        if ready and not was_ready:
            self._retries.succeeded()
        if self._slack.empty:
            self.train_when_due()

    def train_when_due(self) -> None:
        """Start a fine-tuning when the trigger policy says so and nothing speaks against it."""
        p, now_s = self._settings.value, time.monotonic()
        policy = TriggerPolicy(p.min_corrections, p.max_wait_s, p.min_interval_s)
        if not self.frozen and not self._client.busy \
                and self._retries.allowed(self._retry_policy(), now_s) \
                and self._trigger.due(policy, now_s):
            self._train()

    def drop_training(self) -> None:
        """Give up the fine-tuning under way; its corrections stay due."""
        if self._client.busy:
            self._client.drop()
            self._trigger.failed(self._taken, time.monotonic())

    def close(self) -> None:
        """Destroy what was made."""
        self._client.close()
        self._node.destroy_subscription(self._info)
        for service in self._services:
            self._node.destroy_service(service)

    def save_version(self) -> None:
        """Write the version in use where the parameters ask for that."""
        if self._settings.value.save_versions:
            try:
                self._write_version()
            except (OSError, AdapterError) as error:
                self.problem = f'the adapter was not saved: {error}'
                self._node.get_logger().error(self.problem)

    # forward cache -> job -> adapter

    def _train(self) -> bool:
        """Send the cache to the accelerator; False when it holds nothing to train on."""
        p = self._settings.value
        job = self._pipeline.job(
            TrainingPolicy(p.optimizer, p.epochs, p.batch_size, p.rate, p.warm_start),
            self._client.held_version(self._pipeline.cache.session))
        self._taken = self._trigger.started(time.monotonic())
        if job is None:
            return False
        self._parent = self._pipeline.versions.current.number
        self._client.start(job, p.deadline_s)
        return True

    def _on_trained(self, done: Done) -> None:
        if done.result is None:
            self._trigger.failed(self._taken, time.monotonic())
            if not done.resend:
                self._failed(done.problem)
            return
        p, status = self._settings.value, self._status
        self._retries.succeeded()
        decision, version = self._pipeline.adopt(
            done.result, done.job, self._parent,
            GatePolicy(p.loss_tolerance, p.accuracy_tolerance))
        status.backend, status.train_ms = done.result.backend, done.result.train_ms
        status.energy_j, status.round_trip_ms = done.result.energy_j, done.round_trip_ms
        if done.result.fallback:
            status.fallbacks += 1
            self._node.get_logger().warning(done.result.fallback, throttle_duration_sec=5.0)
        if not decision.accepted:
            status.trainings_refused += 1
            self.problem = f'the new adapter was refused: {decision.reason}'
            self._event(self.problem, True)
            return
        status.trainings += 1
        status.loss, status.holdout_accuracy = decision.loss, decision.holdout_accuracy
        self.problem = done.result.fallback
        self.save_version()  # first: what is announced is on the disk
        corrected = int((done.job.order < self._pipeline.cache.capacity).sum())
        replayed = len(done.job.order) - corrected
        self._event(f'version {version.number} from {corrected} samples'
                    + (f' and {replayed} replayed ones' if replayed else '')
                    + f': {decision.reason}, {done.round_trip_ms:.0f} ms', False)

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

    def _retry_policy(self) -> RetryPolicy:
        p = self._settings.value
        return RetryPolicy(p.retry_s, p.max_retries)

    def _on_info(self, message: AcceleratorInfo) -> None:
        """Learn what the accelerator can do, and say at once what is beyond it."""
        limits = conversions.limits(message)
        classes = self._pipeline.classes
        classes.accelerator_limit = limits.classes
        reason = _beyond(limits, self._pipeline, self._settings.value)
        self._unfit = (f"the accelerator's backend '{message.backend}' can do {reason}"
                       if reason else '')
        if reason:
            self._node.get_logger().error(self._unfit)

    # services

    def _on_retrain(self, request: TriggerSrv.Request,
                    response: TriggerSrv.Response) -> TriggerSrv.Response:
        problem = ('the node is not active' if self._status.state == Status.INACTIVE else
                   'the adapter is frozen' if self.frozen else
                   'a fine-tuning is under way' if self._client.busy else
                   '' if self._train() else 'the cache holds no sample to train on')
        response.success, response.message = not problem, problem or 'started'
        return response

    def _on_clear(self, request: TriggerSrv.Request,
                  response: TriggerSrv.Response) -> TriggerSrv.Response:
        self.drop_training()
        samples = len(self._pipeline.cache)
        self._pipeline.cache.clear()
        self._trigger = Trigger()
        self._event(f'cache cleared, {samples} samples forgotten', False)
        response.success, response.message = True, f'{samples} samples forgotten'
        return response

    def _on_save(self, request: TriggerSrv.Request,
                 response: TriggerSrv.Response) -> TriggerSrv.Response:
        try:
            response.success, response.message = True, f'wrote {self._write_version()}'
        except (OSError, AdapterError) as error:
            response.success, response.message = False, f'not saved: {error}'
        return response

    def _on_freeze(self, request: SetBool.Request,
                   response: SetBool.Response) -> SetBool.Response:
        self.frozen = request.data
        if self.frozen:
            self.drop_training()
        self._event('frozen' if self.frozen else 'unfrozen', False)
        response.success, response.message = True, self._status.last_event
        return response

    def _on_rollback(self, request: Rollback.Request,
                     response: Rollback.Response) -> Rollback.Response:
        left = self._pipeline.versions.current
        wanted = left.parent if request.to_parent else request.version
        try:
            now = self._pipeline.go_back(wanted)
        except AdapterError as error:
            response.message, response.adapter_version = str(error), left.number
            return response
        self.drop_training()
        self._status.loss = self._status.holdout_accuracy = float('nan')
        self.save_version()
        self._event(f'rolled back from version {left.number} to {wanted}, now version '
                    f'{now.number}', False)
        response.success, response.adapter_version = True, now.number
        return response

    def _write_version(self) -> Path:
        folder, version = self._settings.value.state_directory, self._pipeline.versions.current
        if not folder:
            raise AdapterError('the parameter state_directory is empty')
        path = Path(folder) / f'adapter-{version.number:06d}.npz'
        write_atomically(path, version.adapter.to_bytes())
        return path


def last_saved(folder: str) -> int:
    """Give the highest number of an adapter file, so that none is ever written over."""
    if not folder:
        return 0
    names = (path.stem.removeprefix('adapter-') for path in Path(folder).glob('adapter-*.npz'))
    return max((int(name) for name in names if name.isdigit()), default=0)


def _beyond(limits: Limits, pipeline: Pipeline, p: ClassifierParameters) -> str:
    """Say what a job of these parameters would ask beyond the limits; empty: nothing."""
    layout = pipeline.cache.layout
    for what, value, most in (
            ('slots (cache_capacity and replay samples)',
             pipeline.cache.capacity + len(pipeline.replay), limits.samples),
            ('features', layout.dim, limits.dim), ('taps', len(layout.tap_sizes), limits.taps),
            ('classes', layout.classes, limits.classes),
            ('rank', pipeline.initial.rank, limits.rank)):
        if value > most:
            return f'{what} up to {most}, asked are {value}'
    if p.optimizer not in limits.optimizers:
        return f"the optimizers {list(limits.optimizers)}, asked is '{p.optimizer}'"
    if limits.batch_sizes is not None and p.batch_size not in limits.batch_sizes:
        return f'the batch sizes {list(limits.batch_sizes)}, asked is {p.batch_size}'
    return ''
