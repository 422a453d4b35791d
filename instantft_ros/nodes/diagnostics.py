"""The classifier's /diagnostics: what is wrong, in words, once a second."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from instantft_ros.msg import Status
from instantft_ros.nodes.camera_input import CameraInput
from instantft_ros.nodes.frame_ages import AgeSummary

#: A camera without an image for this long is reported, seconds.
CAMERA_SILENT_S = 3.0


def camera(node: str, name: str, source: CameraInput, silent_s: float, rejection: str,
           ages: AgeSummary) -> DiagnosticStatus:
    """Report one camera; silent_s: since the last image; rejection: why the last one was."""
    if silent_s > CAMERA_SILENT_S:
        level = DiagnosticStatus.WARN
        message = f'no image on {source.topic} for {silent_s:.0f} s: {source.why_silent()}'
    elif rejection:
        level, message = DiagnosticStatus.WARN, f'the last image was rejected: {rejection}'
    else:
        level, message = DiagnosticStatus.OK, f'images arrive on {source.topic}'
    return DiagnosticStatus(level=level, name=f'{node}: camera {name}', message=message,
                            hardware_id='instantft_ros',
                            values=[KeyValue(key=key, value=value) for key, value in (
                                ('topic', source.topic),
                                ('reliability', source.reliability),
                                ('rate_hz', f'{ages.rate_hz:.1f}'),
                                ('age_p50_ms', f'{ages.p50_ms:.1f}'),
                                ('age_max_ms', f'{ages.max_ms:.1f}'))])


def adaptation(node: str, status: Status, problem: str) -> DiagnosticStatus:
    """Report the adapter, the cache and the accelerator; problem: of the last training."""
    level, message = DiagnosticStatus.OK, status.last_event
    if problem:
        level, message = DiagnosticStatus.WARN, problem
    elif not status.accelerator_ready:
        level, message = DiagnosticStatus.WARN, 'no accelerator node offers the action fine_tune'
    shown = ('adapter_version', 'cache_samples', 'cache_capacity', 'corrections_pending',
             'backend', 'fallbacks', 'train_ms', 'trainings', 'trainings_failed',
             'trainings_refused', 'images_received', 'images_superseded', 'images_stale',
             'images_rejected')
    return DiagnosticStatus(
        level=level, name=f'{node}: adaptation', message=message, hardware_id='instantft_ros',
        values=[KeyValue(key=key, value=str(getattr(status, key))) for key in shown])


def array(stamp: object, statuses: list[DiagnosticStatus]) -> DiagnosticArray:
    """Put reports into one message."""
    message = DiagnosticArray(status=statuses)
    message.header.stamp = stamp
    return message
