"""The classifier node: images in, predictions out, corrections in, better predictions out."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
import gc
from pathlib import Path
import time

import cv2
from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
from rclpy.lifecycle import LifecyclePublisher
from sensor_msgs.msg import CompressedImage, Image
from std_srvs.srv import SetBool
from std_srvs.srv import Trigger as TriggerSrv
from visualization_msgs.msg import Marker

from instantft_ros import models
from instantft_ros import pipeline as flow
from instantft_ros.adaptation.gate import GatePolicy
from instantft_ros.adaptation.trigger import Trigger, TriggerPolicy
from instantft_ros.adaptation.versions import VersionHistory
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.backbone import Backbone, Region
from instantft_ros.core.corrections import Answer
from instantft_ros.core.errors import (
    AdapterError,
    FeatureError,
    ImageError,
    InstantFTError,
    ManifestError,
)
from instantft_ros.core.files import write_atomically
from instantft_ros.core.forward_cache import ForwardCache
from instantft_ros.core.frame_ring import FrameId, FrameRing
from instantft_ros.core.replay import ReplaySet
from instantft_ros.msg import Correction, CorrectionAck, Prediction, Status
from instantft_ros.nodes import conversions, diagnostics, images, overlay, qos
from instantft_ros.nodes.camera_input import CameraInput
from instantft_ros.nodes.classifier_parameters import CameraParameters, ClassifierParameters
from instantft_ros.nodes.fine_tune_client import Done, FineTuneClient
from instantft_ros.nodes.frame_ages import FrameAges
from instantft_ros.nodes.managed_node import ManagedNode, run
from instantft_ros.nodes.parameters import Parameters
from instantft_ros.nodes.slack import Slack
from instantft_ros.srv import Rollback

#: How often triggers and deadlines are looked at, seconds.
TICK_S = 0.02


@dataclass
class Camera:
    """What the node keeps of one camera."""

    parameters: CameraParameters
    region: Region | None
    annotated: LifecyclePublisher
    input: CameraInput | None = None
    last_image_s: float = 0.0
    last_annotated_s: float = float('-inf')
    ages: FrameAges = field(default_factory=FrameAges)
    rejection: str = ''


class ClassifierNode(ManagedNode):
    """Wires messages to the pipeline; see doc/classifier.md for the interface."""

    def __init__(self) -> None:
        super().__init__('classifier')
        self._settings = Parameters(self, ClassifierParameters)
        self._camera_settings = {
            name: Parameters(self, CameraParameters, f'{name}.')
            for name in self._settings.value.cameras}
        self._cameras: dict[str, Camera] = {}
        self._client: FineTuneClient | None = None
        self._slack = Slack()
        if self._settings.value.autostart:
            self.start()

    # lifecycle

    def configure(self) -> None:
        """Load the network and make everything but the camera subscriptions."""
        p = self._settings.value
        backbone = Backbone(Path(p.manifest) if p.manifest else models.DEFAULT_MANIFEST)
        self._class_names = (backbone.manifest.classes if p.class_names == ('',) else
                             p.class_names)
        if len(self._class_names) != backbone.layout.classes:
            raise ManifestError(f'class_names must have {backbone.layout.classes} names, as many '
                                f'as the network has classes, got {len(self._class_names)}')
        initial = (Adapter.load(Path(p.initial_adapter)) if p.initial_adapter else
                   Adapter.initial(backbone.layout, backbone.digest, p.rank, p.seed))
        self._pipeline = flow.Pipeline(
            backbone, FrameRing(p.cameras, p.ring_frames),
            ForwardCache(backbone.layout, p.cache_capacity, p.holdout_share, p.recency_s),
            VersionHistory(initial, last_number=_last_saved(p.state_directory)),
            self._class_names, ReplaySet.load(backbone, p.replay_per_class))
        self._reader = images.ImageReader(images.cv_bridge())
        self._trigger = Trigger()
        self._taken = 0
        self._frozen = False
        self._retry_at_s = float('-inf')
        self._problem = ''
        self._status = Status(backbone=backbone.digest, class_names=list(self._class_names),
                              holdout_accuracy=float('nan'), loss=float('nan'),
                              train_ms=float('nan'), round_trip_ms=float('nan'),
                              energy_j=float('nan'),
                              last_event='started with '
                              + (p.initial_adapter or 'the frozen network'))

        publisher = self.create_lifecycle_publisher
        self._predictions = publisher(Prediction, 'predictions', qos.predictions())
        self._acks = publisher(CorrectionAck, 'correction_acks', qos.corrections())
        self._statuses = publisher(Status, 'status', qos.status())
        self._markers = publisher(Marker, 'status_marker', qos.status())
        self._diagnostics = publisher(DiagnosticArray, '/diagnostics', 10)
        self._cameras = {
            name: Camera(each.value, _region(name, each.value.region), publisher(
                Image, f'annotated/{name}', qos.images('reliable', 1)))
            for name, each in self._camera_settings.items()}
        self._corrections = self.create_subscription(
            Correction, 'corrections', self._on_correction, qos.corrections())
        self._service_handles = [
            self.create_service(TriggerSrv, '~/retrain', self._on_retrain),
            self.create_service(TriggerSrv, '~/clear', self._on_clear),
            self.create_service(TriggerSrv, '~/save', self._on_save),
            self.create_service(SetBool, '~/freeze', self._on_freeze),
            self.create_service(Rollback, '~/rollback', self._on_rollback)]
        self._client = FineTuneClient(self, 'fine_tune', self._on_trained,
                                      lambda work: self._slack.do(work, time.monotonic()))
        self._timer_handles = [self.create_timer(TICK_S, self._tick),
                               self.create_timer(1.0, self._report)]
        self.get_logger().info(
            f"network '{backbone.manifest.name}', {backbone.layout.dim} features in "
            f'{len(backbone.layout.tap_sizes)} taps, {len(self._class_names)} classes; images '
            + ('through cv_bridge' if self._reader.uses_bridge else 'through own conversion'))

    def activate(self) -> None:
        """Subscribe to the cameras."""
        p = self._settings.value
        for name, camera in self._cameras.items():
            camera.last_image_s = time.monotonic()
            camera.input = CameraInput(self, name, camera.parameters.topic,
                                       p.image_reliability, p.image_depth,
                                       self._on_image)
            self.get_logger().info(f"camera '{name}' on {camera.input.topic}")
        gc.freeze()  # what is here stays: no collection has to walk through it between images
        self._publish_status()

    def deactivate(self) -> None:
        """Leave the cameras and drop a training that is under way; its corrections stay due."""
        gc.unfreeze()
        self._slack.clear()
        self._drop_training()
        self._status.state = Status.INACTIVE
        self._statuses.publish(self._status)
        for camera in self._cameras.values():
            if camera.input is not None:
                camera.input.close()
                camera.input = None

    def cleanup(self) -> None:
        """Destroy what `configure` made."""
        if self._client is None:
            return
        self._client.close()
        self._client = None
        for timer in self._timer_handles:
            self.destroy_timer(timer)
        for service in self._service_handles:
            self.destroy_service(service)
        self.destroy_subscription(self._corrections)
        for publisher in (self._predictions, self._acks, self._statuses, self._markers,
                          self._diagnostics, *(c.annotated for c in self._cameras.values())):
            self.destroy_lifecycle_publisher(publisher)
        self._cameras = {}

    # images -> predictions

    def _on_image(self, name: str, message: Image | CompressedImage, superseded: int) -> None:
        taken_s = time.monotonic()
        camera = self._cameras[name]
        camera.last_image_s = taken_s
        self._status.images_received += 1 + superseded
        self._status.images_superseded += superseded
        stamp_ns = conversions.nanoseconds(message.header.stamp)
        age_ms = (self.get_clock().now().nanoseconds - stamp_ns) / 1e6
        camera.ages.add(age_ms, taken_s)
        if 0 < self._settings.value.max_age_ms < age_ms:
            self._status.images_stale += 1
            return
        try:
            image = self._reader.read(message)
            frame = FrameId(name, stamp_ns)
            prediction = self._pipeline.classify(frame, image, camera.region)
        except (ImageError, FeatureError) as error:
            self._status.images_rejected += 1
            camera.rejection = str(error)
            self.get_logger().warning(f"image of camera '{name}' rejected: {error}",
                                      throttle_duration_sec=5.0)
            return
        camera.rejection = ''
        class_id = int(prediction.scores.argmax())
        now_ns = self.get_clock().now().nanoseconds
        self._predictions.publish(Prediction(
            header=message.header, camera=name, class_id=class_id,
            class_name=self._class_names[class_id],
            confidence=float(prediction.scores[class_id]),
            scores=array('f', prediction.scores.tobytes()),
            adapter_version=prediction.version.number,
            adapter_cache_version=prediction.version.cache_version,
            latency_ms=1e3 * (time.monotonic() - taken_s),
            age_ms=(now_ns - frame.stamp_ns) / 1e6))
        self._status.predictions += 1
        self._annotate(camera, message, image, prediction)
        self._slack.image_done(name, taken_s)

    def _annotate(self, camera: Camera, message: Image | CompressedImage, image: np.ndarray,
                  prediction: flow.Prediction) -> None:
        rate_hz, now_s = self._settings.value.annotated_rate_hz, time.monotonic()
        if rate_hz == 0 or now_s - camera.last_annotated_s < 1.0 / rate_hz \
                or camera.annotated.get_subscription_count() == 0:
            return
        camera.last_annotated_s = now_s
        region = camera.region or Region(0, 0, image.shape[1], image.shape[0])
        class_id = int(prediction.scores.argmax())
        assert self._client is not None
        drawn = overlay.annotate(image, (region.x, region.y, region.width, region.height),
                                 self._class_names[class_id], float(prediction.scores[class_id]),
                                 prediction.version.number, self._client.busy)
        camera.annotated.publish(Image(
            header=message.header, height=drawn.shape[0], width=drawn.shape[1], encoding='bgr8',
            step=3 * drawn.shape[1], data=array('B', drawn.tobytes())))

    # corrections -> forward cache

    def _on_correction(self, message: Correction) -> None:
        if not self.active:
            return
        now_ns = self.get_clock().now().nanoseconds
        read = conversions.correction(message, self._pipeline.ring.cameras, now_ns)
        answer = read if isinstance(read, Answer) else self._pipeline.correct(read)
        if answer.satisfied:
            self._status.corrections_accepted += 1
        else:
            self._status.corrections_rejected += 1
            self.get_logger().info(f"correction '{message.id}' {answer.verdict.value}: "
                                   f'{answer.reason}')
        self._acks.publish(conversions.acknowledgement(
            message, answer, self._pipeline.cache.version, now_ns))
        if answer.frames:
            now_s = time.monotonic()
            self._trigger.corrected(now_s)
            self._slack.do(self._train_when_due, now_s)

    # forward cache -> job -> adapter

    def _tick(self) -> None:
        if self._client is not None and self.active:
            self._client.check_deadline()
            self._slack.look(time.monotonic())
            if self._slack.empty:
                self._train_when_due()

    def _train_when_due(self) -> None:
        p, now_s = self._settings.value, time.monotonic()
        policy = TriggerPolicy(p.min_corrections, p.max_wait_s, p.min_interval_s)
        assert self._client is not None
        if not self._frozen and not self._client.busy and now_s >= self._retry_at_s \
                and self._trigger.due(policy, now_s):
            self._train()

    def _train(self) -> bool:
        """Send the cache to the accelerator; False when it holds nothing to train on."""
        p, client = self._settings.value, self._client
        assert client is not None
        job = self._pipeline.job(
            flow.TrainingPolicy(p.optimizer, p.epochs, p.batch_size, p.rate, p.warm_start),
            client.held_version(self._pipeline.cache.session))
        self._taken = self._trigger.started(time.monotonic())
        if job is None:
            return False
        self._parent = self._pipeline.versions.current.number
        client.start(job, p.deadline_s)
        return True

    def _on_trained(self, done: Done) -> None:
        status, now_s = self._status, time.monotonic()
        if done.result is None:
            self._trigger.failed(self._taken, now_s)
            if not done.resend:
                status.trainings_failed += 1
                self._retry_at_s = now_s + self._settings.value.retry_s
                self._problem = f'the fine-tuning failed: {done.problem}'
                self._event(self._problem, warn=True)
            return
        p = self._settings.value
        decision, version = self._pipeline.adopt(
            done.result, done.job, self._parent,
            GatePolicy(p.loss_tolerance, p.accuracy_tolerance))
        status.backend, status.train_ms = done.result.backend, done.result.train_ms
        status.energy_j, status.round_trip_ms = done.result.energy_j, done.round_trip_ms
        if done.result.fallback:
            status.fallbacks += 1
            self.get_logger().warning(done.result.fallback, throttle_duration_sec=5.0)
        if not decision.accepted:
            status.trainings_refused += 1
            self._problem = f'the new adapter was refused: {decision.reason}'
            self._event(self._problem, warn=True)
            return
        status.trainings += 1
        status.loss, status.holdout_accuracy = decision.loss, decision.holdout_accuracy
        self._problem = done.result.fallback
        self._save_version()  # first: what is announced is on the disk
        corrected = int((done.job.order < self._pipeline.cache.capacity).sum())
        replayed = len(done.job.order) - corrected
        self._event(f'version {version.number} from {corrected} samples'
                    + (f' and {replayed} replayed ones' if replayed else '')
                    + f': {decision.reason}, {done.round_trip_ms:.0f} ms')

    def _drop_training(self) -> None:
        if self._client is not None and self._client.busy:
            self._client.drop()
            self._trigger.failed(self._taken, time.monotonic())

    # services

    def _on_retrain(self, request: TriggerSrv.Request,
                    response: TriggerSrv.Response) -> TriggerSrv.Response:
        assert self._client is not None
        problem = ('the node is not active' if not self.active else
                   'the adapter is frozen' if self._frozen else
                   'a fine-tuning is under way' if self._client.busy else
                   '' if self._train() else 'the cache holds no sample to train on')
        response.success, response.message = not problem, problem or 'started'
        return response

    def _on_clear(self, request: TriggerSrv.Request,
                  response: TriggerSrv.Response) -> TriggerSrv.Response:
        self._drop_training()
        samples = len(self._pipeline.cache)
        self._pipeline.cache.clear()
        self._trigger = Trigger()
        self._event(f'cache cleared, {samples} samples forgotten')
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
        self._frozen = request.data
        if self._frozen:
            self._drop_training()
        self._event('frozen' if self._frozen else 'unfrozen')
        response.success, response.message = True, self._status.last_event
        return response

    def _on_rollback(self, request: Rollback.Request,
                     response: Rollback.Response) -> Rollback.Response:
        versions = self._pipeline.versions
        left = versions.current.number
        wanted = versions.current.parent if request.to_parent else request.version
        try:
            now = versions.go_back(wanted)
        except AdapterError as error:
            response.message, response.adapter_version = str(error), left
            return response
        self._drop_training()
        self._status.loss = self._status.holdout_accuracy = float('nan')
        self._save_version()
        self._event(f'rolled back from version {left} to {wanted}, now version {now.number}')
        response.success, response.adapter_version = True, now.number
        return response

    # what is told and kept

    def _event(self, text: str, warn: bool = False) -> None:
        if warn:
            self.get_logger().warning(text)
        else:
            self.get_logger().info(text)
        self._status.last_event = text
        self._publish_status()

    def _save_version(self) -> None:
        if self._settings.value.save_versions:
            try:
                self._write_version()
            except (OSError, AdapterError) as error:
                self._problem = f'the adapter was not saved: {error}'
                self.get_logger().error(self._problem)

    def _write_version(self) -> Path:
        folder, version = self._settings.value.state_directory, self._pipeline.versions.current
        if not folder:
            raise AdapterError('the parameter state_directory is empty')
        path = Path(folder) / f'adapter-{version.number:06d}.npz'
        write_atomically(path, version.adapter.to_bytes())
        return path

    def _report(self) -> None:
        if self.active:
            self._publish_status()
            for each in self._cameras.values():
                if each.input is not None:
                    each.input.follow_publishers()
            now_s, name = time.monotonic(), self.get_fully_qualified_name()
            reports = [diagnostics.camera(name, camera, each.input, now_s - each.last_image_s,
                                          each.rejection, each.ages.summary(now_s))
                       for camera, each in self._cameras.items() if each.input is not None]
            reports.append(diagnostics.adaptation(name, self._status, self._problem))
            self._diagnostics.publish(
                diagnostics.array(self.get_clock().now().to_msg(), reports))

    def _publish_status(self) -> None:
        status, version = self._status, self._pipeline.versions.current
        cache = self._pipeline.cache
        assert self._client is not None
        status.header.stamp = self.get_clock().now().to_msg()
        status.state = (Status.FROZEN if self._frozen else
                        Status.TRAINING if self._client.busy else Status.WATCHING)
        status.adapter_version, status.adapter_parent = version.number, version.parent
        status.adapter_cache_version = version.cache_version
        status.adapter_digest = version.digest
        status.cache_samples, status.cache_capacity = len(cache), cache.capacity
        status.cache_per_class = array('I', cache.counts().tolist())
        status.cache_version = cache.version
        status.corrections_pending = self._trigger.pending
        status.accelerator_ready = self._client.ready
        self._statuses.publish(status)
        self._markers.publish(overlay.status_marker(status))


def _last_saved(folder: str) -> int:
    """Give the highest number of an adapter file, so that none is ever written over."""
    if not folder:
        return 0
    names = (path.stem.removeprefix('adapter-') for path in Path(folder).glob('adapter-*.npz'))
    return max((int(name) for name in names if name.isdigit()), default=0)


def _region(camera: str, values: tuple[int, ...]) -> Region | None:
    if len(values) != 4:
        raise InstantFTError(f'{camera}.region must be x, y, width, height, got {list(values)}')
    return Region(*values) if any(values) else None


def main() -> int:
    """Run the node."""
    cv2.setNumThreads(1)  # the network is small: threads would cost more than they save
    return run(ClassifierNode)
