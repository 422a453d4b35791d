"""The classifier node: images in, predictions out, corrections in, better predictions out."""

from __future__ import annotations

from array import array
import gc
from pathlib import Path
import sys
import time

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CompressedImage, Image
from visualization_msgs.msg import Marker

from instantft_ros import models
from instantft_ros import pipeline as flow
from instantft_ros.adaptation.label_requests import (
    LabelRequestPolicy,
    LabelRequests,
    uncertainty,
)
from instantft_ros.adaptation.versions import AdapterVersion, VersionHistory
from instantft_ros.core import corrections, images, messages
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.backbone import Backbone
from instantft_ros.core.class_list import ClassList
from instantft_ros.core.corrections import Answer, Verdict
from instantft_ros.core.errors import FeatureError, ImageError
from instantft_ros.core.forward_cache import ForwardCache
from instantft_ros.core.frame_ring import FrameId, FrameRing
from instantft_ros.governance.cache_records import CorrectionRecord
from instantft_ros.governance.version_store import Restored
from instantft_ros.msg import Correction, CorrectionAck, LabelRequest, Prediction, Status
from instantft_ros.nodes import conversions, diagnostics, overlay, qos
from instantft_ros.nodes.camera import Camera, declare_cameras, Newest, View
from instantft_ros.nodes.camera_input import CameraInput
from instantft_ros.nodes.classifier_parameters import ClassifierParameters
from instantft_ros.nodes.correction_queue import CorrectionQueue
from instantft_ros.nodes.managed_node import ManagedNode, run
from instantft_ros.nodes.parameters import Parameters
from instantft_ros.nodes.slack import Slack
from instantft_ros.nodes.state_keeper import StateKeeper
from instantft_ros.nodes.update_services import UpdateServices, why_not_allowed
from instantft_ros.nodes.updates import Updates

#: How often triggers and deadlines are looked at, seconds.
TICK_S = 0.02

#: Frames of one correction that the audit log names.
MOST_LOGGED = 20

#: After a drift so many times as many labels are asked for.
MORE_LABELS = 5.0

#: The thread that trains lets go of Python within this time when an image comes, seconds.
SWITCH_S = 0.0005

#: Corrections that wait at the end are handled for so long, seconds.
LAST_CORRECTIONS_S = 1.0

#: Of the rejected corrections one is logged in this time, seconds; each is acknowledged.
REJECTED_EVERY_S = 0.1


class ClassifierNode(ManagedNode):
    """Wires messages to the pipeline; see doc/classifier.md for the interface."""

    def __init__(self) -> None:
        super().__init__('classifier')
        self._settings = Parameters(self, ClassifierParameters)
        self._cameras = declare_cameras(self, self._settings.value.cameras)
        self._updates: Updates | None = None
        self._state: StateKeeper | None = None
        self._queue: CorrectionQueue | None = None
        self._slack = Slack()
        self._rejected_told_s = -REJECTED_EVERY_S
        if self._settings.value.autostart:
            self.start()

    # lifecycle

    def configure(self) -> None:
        """Load the network and make everything but the camera subscriptions."""
        p = self._settings.value
        backbone = Backbone(Path(p.manifest) if p.manifest else models.DEFAULT_MANIFEST)
        initial = (Adapter.load(Path(p.initial_adapter)) if p.initial_adapter else
                   Adapter.initial(backbone.layout, backbone.digest, p.rank, p.seed))
        self._state = StateKeeper.open(p.state_directory, backbone, p.cache_capacity,
                                       self.get_logger().error)
        earlier = self._state.restore_version(backbone) if self._state else Restored(None, None)
        for notice in earlier.notices:
            self.get_logger().error(notice)
        classes = _classes(backbone, p, earlier)
        cache = ForwardCache(backbone.layout, p.cache_capacity, p.holdout_share, p.recency_s)
        cache.grow(len(classes))
        versions = VersionHistory(initial.with_classes(len(classes)), next_number=(
            self._state.versions.next_number if self._state else None))
        samples = still_open = 0
        if self._state is not None:
            samples, still_open = self._state.restore_cache(cache, time.monotonic())
            self._state.keep_first(versions.current, classes.names)
        if earlier.manifest is not None and earlier.adapter is not None:
            cache.version = max(cache.version, earlier.manifest.cache_version) + 1
            versions.resume(AdapterVersion(
                earlier.manifest.number, earlier.manifest.parent, earlier.manifest.cache_version,
                earlier.adapter.with_classes(len(classes)), earlier.manifest.digest))
        views = [view.name for camera in self._cameras.values() for view in camera.views]
        self._pipeline = flow.Pipeline(
            backbone, FrameRing(views, p.ring_frames), cache, versions, classes,
            *flow.replay_and_guard(backbone, p.replay_per_class))
        self._reader = images.ImageReader(images.cv_bridge())
        self._requests: LabelRequests[tuple[FrameId, LabelRequest]] = LabelRequests()
        self._corrected = 0
        self._labelled: list[FrameId] = []
        started = (f'went on with version {versions.current.number} and {samples} labelled samples'
                   if samples or versions.current.number else
                   f'started with {p.initial_adapter or "the frozen network"}')
        self._status = Status(backbone=backbone.digest, holdout_accuracy=float('nan'),
                              guard_accuracy=float('nan'), loss=float('nan'),
                              train_ms=float('nan'), round_trip_ms=float('nan'),
                              energy_j=float('nan'), last_event=started)

        publisher = self.create_lifecycle_publisher
        self._predictions = publisher(Prediction, 'predictions', qos.predictions())
        self._renewed = publisher(Prediction, 'renewed_predictions', qos.predictions())
        self._acks = publisher(CorrectionAck, 'correction_acks', qos.acknowledgements())
        self._label_requests = publisher(LabelRequest, 'label_requests', qos.predictions())
        self._statuses = publisher(Status, 'status', qos.status())
        self._markers = publisher(Marker, 'status_marker', qos.status())
        self._diagnostics = publisher(DiagnosticArray, '/diagnostics', 10)
        for name, camera in self._cameras.items():
            camera.annotated = publisher(Image, f'annotated/{name}', qos.images('reliable', 1))
        self._updates = Updates(self, self._settings, self._pipeline, self._slack, self._status,
                                self._event, self._renew, self._state)
        self._updates.resume(still_open)
        self._updates.log('start', version=versions.current.number, samples=samples,
                          backbone=backbone.digest, classes=classes.names)
        self._service_desk = UpdateServices(self, self._settings, self._pipeline, self._updates,
                                        self._status, self._state)
        self._timer_handles = [self.create_timer(TICK_S, self._tick),
                               self.create_timer(1.0, self._report)]
        self.get_logger().info(
            f"network '{backbone.manifest.name}', {backbone.layout.dim} features in "
            f'{len(backbone.layout.tap_sizes)} taps, {len(classes)} classes; images '
            + ('through cv_bridge' if self._reader.uses_bridge else 'through own conversion'))

    def activate(self) -> None:
        """Subscribe to the cameras and to corrections."""
        p = self._settings.value
        for name, camera in self._cameras.items():
            camera.last_image_s = time.monotonic()
            camera.input = CameraInput(self, name, camera.topic, p.image_reliability,
                                       p.image_depth, self._on_image)
            self.get_logger().info(f"camera '{name}' on {camera.input.topic}")
        self._queue = CorrectionQueue(self, 'corrections', self._on_correction,
                                      self._corrections_done)
        gc.freeze()  # what is here stays: no collection has to walk through it between images
        self._status.state = Status.WATCHING
        self._publish_status()

    def deactivate(self) -> None:
        """Leave the cameras and drop a training that is under way; its corrections stay due."""
        gc.unfreeze()
        for camera in self._cameras.values():
            if camera.input is not None:
                camera.input.close()
                camera.input = camera.newest = None
        if self._queue is not None:
            self._queue.close(LAST_CORRECTIONS_S)
            self._corrections_done()
            self._tell_dropped()
            self._queue = None
        self._slack.clear()
        if self._updates is not None:
            self._updates.drop_training()
        self._status.state = Status.INACTIVE
        self._statuses.publish(self._status)

    def cleanup(self) -> None:
        """Destroy what `configure` made."""
        if self._updates is None:
            return
        self._service_desk.close()
        self._updates.log('stop', version=self._pipeline.versions.current.number)
        self._updates.close()
        self._updates = None
        if self._state is not None:
            self._state.close()
            self._state = None
        for timer in self._timer_handles:
            self.destroy_timer(timer)
        for publisher in (self._predictions, self._renewed, self._acks, self._label_requests,
                          self._statuses, self._markers, self._diagnostics,
                          *(camera.annotated for camera in self._cameras.values())):
            self.destroy_lifecycle_publisher(publisher)
        del self._pipeline
        gc.collect()  # what was frozen while the node was active is old: nothing else looks there

    # images -> predictions

    def _on_image(self, name: str, message: Image | CompressedImage, superseded: int) -> None:
        taken_s = time.monotonic()
        camera = self._cameras[name]
        camera.last_image_s = taken_s
        self._status.images_received += 1 + superseded
        self._status.images_superseded += superseded
        stamp_ns = messages.nanoseconds(message.header.stamp)
        age_ms = (self.get_clock().now().nanoseconds - stamp_ns) / 1e6
        camera.ages.add(age_ms, taken_s)
        if 0 < self._settings.value.max_age_ms < age_ms:
            self._status.images_stale += 1
            return
        predictions, seen = [], []
        try:
            image = self._reader.read(message)
            for view in camera.views:
                prediction = self._pipeline.classify(FrameId(view.name, stamp_ns), image,
                                                     view.region, taken_s)
                predictions.append(prediction)
                seen.append(self._predicted(name, view, message, prediction, taken_s))
        except (ImageError, FeatureError) as error:
            self._status.images_rejected += 1
            camera.rejection = str(error)
            self.get_logger().warning(f"image of camera '{name}' rejected: {error}",
                                      throttle_duration_sec=5.0)
            return
        camera.rejection = ''
        camera.newest = Newest(message, image, taken_s, tuple(predictions))
        self._annotate(camera, seen)
        self._slack.image_done(name, taken_s)

    def _annotate(self, camera: Camera, seen: list[overlay.Seen]) -> None:
        now_s = time.monotonic()
        if camera.annotation_due(self._settings.value.annotated_rate_hz, now_s):
            assert self._updates is not None and camera.newest is not None
            note = (f'adapter {self._pipeline.versions.current.number}'
                    + (', training' if self._updates.training else ''))
            camera.annotate(camera.newest.message, camera.newest.image, seen, note, now_s)

    def _renew(self) -> None:
        """Say what another adapter makes of each camera's newest image: its features are here."""
        for name, camera in self._cameras.items():
            if (newest := camera.newest) is None:
                continue
            seen = []
            for view, before in zip(camera.views, newest.predictions):
                said = self._message(name, view, newest.message, self._pipeline.renew(before),
                                     newest.taken_s)
                self._renewed.publish(said)
                seen.append(_seen(view, said))
            self._annotate(camera, seen)

    def _message(self, camera: str, view: View, image: Image | CompressedImage,
                 prediction: flow.Prediction, taken_s: float) -> Prediction:
        scores, version = prediction.scores, prediction.version
        class_id = int(scores.argmax())
        now_ns = self.get_clock().now().nanoseconds
        return Prediction(
            header=image.header, camera=camera, region=view.region_name, class_id=class_id,
            class_name=self._pipeline.classes.names[class_id], confidence=float(scores[class_id]),
            scores=array('f', scores.tobytes()), adapter_version=version.number,
            adapter_cache_version=version.cache_version,
            latency_ms=1e3 * (time.monotonic() - taken_s),
            age_ms=(now_ns - prediction.frame.stamp_ns) / 1e6)

    def _predicted(self, camera: str, view: View, message: Image | CompressedImage,
                   prediction: flow.Prediction, taken_s: float) -> overlay.Seen:
        """Publish one prediction, and consider asking for the frame's label."""
        said = self._message(camera, view, message, prediction, taken_s)
        self._predictions.publish(said)
        self._status.predictions += 1
        assert self._updates is not None
        self._updates.seen(prediction)
        policy = self._label_request_policy()
        if policy.per_minute > 0:
            frozen = flow.softmax(prediction.frozen_logits)
            uncertain = uncertainty(policy.measure, prediction.scores, frozen)
            if uncertain >= policy.threshold:
                runner_up = int(prediction.scores.argsort()[-2])
                self._requests.offer(policy, uncertain, (prediction.frame, LabelRequest(
                    header=message.header, camera=camera, region=view.region_name,
                    measure=policy.measure, uncertainty=uncertain, class_id=said.class_id,
                    class_name=said.class_name, confidence=said.confidence,
                    runner_up_id=runner_up,
                    runner_up_name=self._pipeline.classes.names[runner_up])))
        return _seen(view, said)

    def _label_request_policy(self) -> LabelRequestPolicy:
        p = self._settings.value
        often = MORE_LABELS if self._updates is not None and self._updates.drifted else 1.0
        return LabelRequestPolicy(p.label_request_measure, p.label_request_threshold,
                                  often * p.label_requests_per_minute)

    # corrections -> forward cache

    def _on_correction(self, message: Correction | None) -> None:
        now_ns = self.get_clock().now().nanoseconds
        classes = len(self._pipeline.classes)
        read: corrections.Correction | Answer
        if message is None:
            message, read = Correction(), Answer(Verdict.MALFORMED, 'the message is torn')
        elif (reason := why_not_allowed(self._settings.value.operators, message.operator_id)):
            read = Answer(Verdict.NOT_ALLOWED, reason)
        else:
            read = conversions.correction(message, self._pipeline.ring.views, now_ns)
        answer = read if isinstance(read, Answer) else self._pipeline.correct(read)
        self._keep(message, read, answer)  # before it is acknowledged
        if answer.satisfied:
            self._status.corrections_accepted += 1
        else:
            self._status.corrections_rejected += 1
            self._tell_rejected(f"correction '{message.id}' {answer.verdict.value}: "
                                f'{answer.reason}')
        self._acks.publish(conversions.acknowledgement(
            message, answer, self._pipeline.cache.version, now_ns))
        self._corrected += answer.frames > 0
        if answer.label is not None:
            self._labelled += answer.changed
        if len(self._pipeline.classes) > classes:
            assert self._updates is not None
            self._updates.widened(self._pipeline.classes.names[-1])

    def _tell_rejected(self, text: str) -> None:
        """Log it, unless one was a moment ago: a throttled call of rclpy costs 0.4 ms too."""
        now_s = time.monotonic()
        if now_s - self._rejected_told_s >= REJECTED_EVERY_S:
            self._rejected_told_s = now_s
            self.get_logger().info(text)

    def _keep(self, message: Correction, read: corrections.Correction | Answer,
              answer: Answer) -> None:
        """Write a correction, and what it changed, where a restart finds it."""
        if self._state is None:
            return
        if answer.changed and not isinstance(read, Answer):
            ring, cache = self._pipeline.ring, self._pipeline.cache
            self._state.labelled([
                *(CorrectionRecord(frame, answer.label, read.issued_ns, answer.group,
                                   ring.get(frame)) for frame in answer.changed),
                *(CorrectionRecord(frame, label, issued_ns, group, ring.get(frame))
                  for frame, label, issued_ns, group in cache.let_in()
                  if frame not in answer.changed)])
        said = '' if isinstance(read, Answer) else str(read.label)
        self._state.log('correction', id=message.id, operator=message.operator_id,
                        view='' if isinstance(read, Answer) else read.view, said=said,
                        verdict=answer.verdict.value,
                        frames=[frame.stamp_ns for frame in answer.changed[:MOST_LOGGED]],
                        changed=answer.frames)

    def _corrections_done(self) -> None:
        """Let what the last turn of corrections changed be trained."""
        if self._corrected and self._updates is not None:
            count, self._corrected = self._corrected, 0
            labelled, self._labelled = self._labelled, []
            self._updates.corrected(labelled, count)

    def _tell_dropped(self) -> None:
        """Say how many corrections came in vain: one acknowledgement for all of a second."""
        if self._queue is None or (dropped := self._queue.take_dropped()) == 0:
            return
        self._status.corrections_dropped += dropped
        reason = f'{dropped} corrections were dropped unread: more came than can be handled'
        self.get_logger().warning(reason)
        self._acks.publish(conversions.acknowledgement(
            Correction(), Answer(Verdict.OVERLOADED, reason), self._pipeline.cache.version,
            self.get_clock().now().nanoseconds))

    def _tick(self) -> None:
        if self._updates is None or not self.active:
            return
        now_s = time.monotonic()
        self._slack.look(now_s)
        self._updates.tick()
        asked = self._requests.due(
            self._label_request_policy(),
            lambda each: self._pipeline.cache.label_of(each[0]) is not None, now_s)
        if asked is not None:
            self._status.labels_requested += 1
            self._label_requests.publish(asked[1])

    # what is told

    def _event(self, text: str, warn: bool) -> None:
        if warn:
            self.get_logger().warning(text)
        else:
            self.get_logger().info(text)
        self._status.last_event = text
        self._slack.later(self._publish_status, time.monotonic())

    def _report(self) -> None:
        if not self.active:
            return
        self._tell_dropped()
        self._publish_status()
        for each in self._cameras.values():
            if each.input is not None:
                each.input.follow_publishers()
        now_s, name = time.monotonic(), self.get_fully_qualified_name()
        reports = [diagnostics.camera(name, camera, each.input, now_s - each.last_image_s,
                                      each.rejection, each.ages.summary(now_s))
                   for camera, each in self._cameras.items() if each.input is not None]
        assert self._updates is not None
        reports.append(diagnostics.adaptation(name, self._status, self._updates.trouble()))
        self._diagnostics.publish(diagnostics.array(self.get_clock().now().to_msg(), reports))

    def _publish_status(self) -> None:
        status, version = self._status, self._pipeline.versions.current
        cache, updates = self._pipeline.cache, self._updates
        if updates is None:
            return
        status.header.stamp = self.get_clock().now().to_msg()
        if status.state != Status.INACTIVE:
            status.state = (Status.FROZEN if updates.frozen else
                            Status.TRAINING if updates.training else Status.WATCHING)
        status.class_names = list(self._pipeline.classes.names)
        status.adapter_version, status.adapter_parent = version.number, version.parent
        status.adapter_cache_version = version.cache_version
        status.adapter_digest = version.digest
        status.cache_samples, status.cache_capacity = len(cache), cache.capacity
        status.cache_per_class = array('I', cache.counts().tolist())
        status.cache_version = cache.version
        status.pending_version = (0 if updates.pending_approval is None else
                                  updates.pending_approval.manifest.number)
        status.shadow_version = 0 if updates.shadow is None else updates.shadow.manifest.number
        status.trusted_version = updates.trusted_version
        status.corrections_pending = updates.pending
        status.corrections_queued = 0 if self._queue is None else len(self._queue)
        status.accelerator_ready = updates.accelerator_ready
        self._statuses.publish(status)
        self._markers.publish(overlay.status_marker(status))


def _seen(view: View, said: Prediction) -> overlay.Seen:
    return overlay.Seen(view.region, view.region_name, said.class_name, said.confidence)


def _classes(backbone: Backbone, p: ClassifierParameters, earlier: Restored) -> ClassList:
    """Give the classes: as named, or the network's and those that operators added before."""
    names, known = backbone.manifest.classes, backbone.layout.classes
    if p.class_names != ('',):
        names = p.class_names
    elif earlier.manifest is not None and earlier.manifest.class_names[:known] == names:
        names = earlier.manifest.class_names
    return ClassList(names, known, max(p.max_classes, len(names) if earlier.manifest else 0))


def main() -> int:
    """Run the node."""
    cv2.setNumThreads(1)  # the network is small: threads would cost more than they save
    sys.setswitchinterval(SWITCH_S)
    return run(ClassifierNode)
