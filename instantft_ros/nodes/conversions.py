"""Between messages and the types of the core; nothing else knows both."""

from __future__ import annotations

from array import array
from dataclasses import replace

from builtin_interfaces.msg import Time
import numpy as np

from instantft_ros.accelerator.base import Accelerator, Limits
from instantft_ros.accelerator.job import FineTuneJob, FineTuneResult, Schedule
from instantft_ros.action import FineTune
from instantft_ros.core import corrections, messages, nf4
from instantft_ros.core import views as view_names
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.corrections import Answer, Verdict
from instantft_ros.core.errors import AdapterError, CacheError, JobError
from instantft_ros.core.features import FeatureLayout
from instantft_ros.core.forward_cache import CacheUpdate
from instantft_ros.msg import AcceleratorInfo, Correction, CorrectionAck

_ACK_VERDICTS = {
    Verdict.ACCEPTED: CorrectionAck.ACCEPTED,
    Verdict.DUPLICATE: CorrectionAck.DUPLICATE,
    Verdict.SUPERSEDED: CorrectionAck.SUPERSEDED,
    Verdict.UNKNOWN_CAMERA: CorrectionAck.UNKNOWN_CAMERA,
    Verdict.UNKNOWN_CLASS: CorrectionAck.UNKNOWN_CLASS,
    Verdict.UNKNOWN_FRAME: CorrectionAck.UNKNOWN_FRAME,
    Verdict.LATE: CorrectionAck.LATE,
    Verdict.NOT_LABELLED: CorrectionAck.NOT_LABELLED,
    Verdict.NOT_KEPT: CorrectionAck.NOT_KEPT,
    Verdict.MALFORMED: CorrectionAck.MALFORMED,
    Verdict.UNKNOWN_REGION: CorrectionAck.UNKNOWN_REGION,
    Verdict.OVERLOADED: CorrectionAck.OVERLOADED,
    Verdict.NOT_ALLOWED: CorrectionAck.NOT_ALLOWED,
}


def stamp(time_ns: int) -> Time:
    """Give nanoseconds as a stamp."""
    return Time(sec=time_ns // 1_000_000_000, nanosec=time_ns % 1_000_000_000)


def correction(message: Correction, views: tuple[str, ...],
               now_ns: int) -> corrections.Correction | Answer:
    """Read a correction, or answer what is malformed in it or which view it cannot mean."""
    camera, cameras = message.camera, view_names.cameras_of(views)
    if not camera:
        if len(cameras) != 1:
            return Answer(Verdict.UNKNOWN_CAMERA, 'camera may be empty only where there is one, '
                          f'the cameras are {cameras}')
        camera = cameras[0]
    regions = [region for each, region in map(view_names.split, views) if each == camera]
    if not regions:
        return Answer(Verdict.UNKNOWN_CAMERA, f"camera '{camera}' is not known, the cameras are "
                      f'{cameras}')
    region = message.region or (regions[0] if len(regions) == 1 else '')
    if region not in regions:
        return Answer(Verdict.UNKNOWN_REGION, f"camera '{camera}' has no region '{region}', its "
                      f'regions are {regions}')
    return messages.correction(message, view_names.view_name(camera, region), now_ns)


def acknowledgement(message: Correction, answer: Answer, cache_version: int,
                    now_ns: int) -> CorrectionAck:
    """Write the answer to a correction."""
    ack = CorrectionAck(correction_id=message.id, operator_id=message.operator_id,
                        camera=message.camera, region=message.region, accepted=answer.satisfied,
                        verdict=_ACK_VERDICTS[answer.verdict], reason=answer.reason,
                        frames=answer.frames, cache_version=cache_version)
    ack.header.stamp = stamp(now_ns)
    return ack


def accelerator_info(backend: Accelerator, fallback: str) -> AcceleratorInfo:
    """Write what an accelerator can do."""
    limits = backend.limits
    return AcceleratorInfo(
        backend=backend.name, fallback=fallback, max_samples=limits.samples,
        max_features=limits.dim, max_taps=limits.taps, max_classes=limits.classes,
        max_rank=limits.rank, optimizers=list(limits.optimizers),
        batch_sizes=array('I', limits.batch_sizes or ()))


def limits(message: AcceleratorInfo) -> Limits:
    """Read what an accelerator can do."""
    return Limits(message.max_samples, message.max_features, message.max_taps,
                  message.max_classes, message.max_rank, tuple(message.batch_sizes) or None,
                  tuple(message.optimizers))


def goal(job: FineTuneJob) -> FineTune.Goal:
    """Write a job as the goal of the action."""
    update, start, schedule = job.update, job.start, job.schedule
    return FineTune.Goal(
        session=update.session, base_version=update.base_version, cache_version=update.version,
        capacity=update.capacity, tap_sizes=array('I', start.layout.tap_sizes),
        classes=start.layout.classes, slots=_uint32(update.slots), codes=_uint8(update.codes),
        scales=_float32(update.scales), logits=_float32(update.logits),
        labels=_uint32(update.labels), order=_uint32(job.order), rank=start.rank,
        a=_float32(start.a), b=_float32(start.b), logit_scale=start.logit_scale,
        backbone=start.backbone,
        epochs=schedule.epochs, batch_size=schedule.batch_size,
        learning_rate=float(schedule.learning_rate), decay=schedule.decay,
        optimizer=schedule.optimizer, weight_decay=float(schedule.weight_decay),
        logit_adjustment=float(schedule.logit_adjustment))


def job(message: FineTune.Goal) -> FineTuneJob:
    """Read a job; raises `JobError` when its arrays do not fit together."""
    layout = FeatureLayout(tuple(message.tap_sizes), message.classes)
    if not layout.tap_sizes or min(layout.tap_sizes) < 1 or layout.classes < 1:
        raise JobError(f'tap_sizes and classes must be positive, got {layout}')
    count, taps, rank = len(message.slots), len(layout.tap_sizes), message.rank
    try:
        update = CacheUpdate(
            message.session, message.base_version, message.cache_version, message.capacity,
            _int64(message.slots),
            _shaped('codes', np.asarray(message.codes), (count, nf4.packed_size(layout.dim))),
            _shaped('scales', np.asarray(message.scales), (count, taps)),
            _shaped('logits', np.asarray(message.logits), (count, layout.classes)),
            _int64(message.labels))
        start = Adapter(layout, _shaped('a', np.asarray(message.a), (rank, layout.dim)),
                        _shaped('b', np.asarray(message.b), (layout.classes, taps, rank)),
                        message.backbone, message.logit_scale)
    except (AdapterError, CacheError) as error:
        raise JobError(str(error)) from error
    schedule = Schedule(message.epochs, message.batch_size, message.learning_rate, message.decay,
                        message.optimizer, weight_decay=message.weight_decay,
                        logit_adjustment=message.logit_adjustment)
    return FineTuneJob(update, start, _int64(message.order), schedule)


def result(done: FineTuneResult) -> FineTune.Result:
    """Write what an accelerator gave."""
    return FineTune.Result(
        status=FineTune.Result.OK, backend=done.backend, a=_float32(done.adapter.a),
        b=_float32(done.adapter.b), losses=array('f', done.losses), train_ms=done.train_ms,
        energy_j=done.energy_j, cycles=done.cycles, fallback=done.fallback)


def fine_tune_result(message: FineTune.Result, asked: FineTuneJob) -> FineTuneResult:
    """Read what an accelerator gave; raises `JobError`, `AdapterError` when it is unusable."""
    a = _shaped('a', np.asarray(message.a), asked.start.a.shape)
    b = _shaped('b', np.asarray(message.b), asked.start.b.shape)
    adapter = replace(asked.start, a=a, b=b)
    return FineTuneResult(adapter, tuple(message.losses), message.backend, message.train_ms,
                          message.energy_j, message.cycles, message.fallback)


def _shaped(name: str, values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if values.size != int(np.prod(shape)):
        raise JobError(f'{name} must have {int(np.prod(shape))} values {shape}, got '
                       f'{values.size}')
    return values.reshape(shape)


def _int64(values: array[int]) -> np.ndarray:
    return np.asarray(values).astype(np.int64)


def _uint8(values: np.ndarray) -> array[int]:
    return array('B', values.tobytes())


def _uint32(values: np.ndarray) -> array[int]:
    return array('I', values.astype(np.uint32).tobytes())


def _float32(values: np.ndarray) -> array[float]:
    return array('f', values.astype(np.float32).tobytes())
