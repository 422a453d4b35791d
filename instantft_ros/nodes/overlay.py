"""What a person sees: the prediction drawn on the image, and a line of status for rviz."""

from __future__ import annotations

import cv2
import numpy as np
from visualization_msgs.msg import Marker

from instantft_ros.msg import Status

_GREEN, _AMBER, _WHITE, _GREY = (80, 200, 80), (40, 160, 240), (255, 255, 255), (70, 70, 70)

#: Below this confidence the frame is drawn in amber instead of green.
UNSURE = 0.6


def annotate(image: np.ndarray, region: tuple[int, int, int, int], class_name: str,
             confidence: float, version: int, training: bool) -> np.ndarray:
    """
    Draw region, class, confidence bar and adapter version on a copy.

    image: (H, W) mono or (H, W, 3) BGR; region: x, y, width, height in pixels. Returns
    (H, W, 3) BGR. Sizes follow the image's height.
    """
    canvas = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image.copy()
    height, width = canvas.shape[:2]
    scale = max(height / 480.0, 0.3)
    line = max(1, round(2 * scale))
    colour = _GREEN if confidence >= UNSURE else _AMBER
    x, y, w, h = region
    cv2.rectangle(canvas, (x, y), (x + w - 1, y + h - 1), colour, line)
    band = round(44 * scale)
    canvas[height - band:] //= 4
    text = f'{class_name} {confidence:.0%}'
    _text(canvas, text, (round(10 * scale), height - round(16 * scale)), 0.8 * scale, colour)
    note = f'adapter {version}' + (', training' if training else '')
    size, _ = cv2.getTextSize(note, cv2.FONT_HERSHEY_SIMPLEX, 0.6 * scale, line)
    _text(canvas, note, (width - size[0] - round(10 * scale), height - round(16 * scale)),
          0.6 * scale, _WHITE)
    bar = round(6 * scale)
    canvas[height - bar:] = _GREY
    canvas[height - bar:, :round(width * float(np.clip(confidence, 0, 1)))] = colour
    return canvas


def status_marker(status: Status) -> Marker:
    """Write the status as a text marker, at the origin of the frame `instantft`."""
    states = {Status.INACTIVE: 'inactive', Status.WATCHING: 'watching',
              Status.TRAINING: 'training', Status.FROZEN: 'frozen'}
    text = (f'adapter {status.adapter_version}: {states[status.state]}\n'
            f'{status.cache_samples} of {status.cache_capacity} samples, '
            f'{status.corrections_pending} corrections pending\n{status.last_event}')
    marker = Marker(ns='instantft', type=Marker.TEXT_VIEW_FACING, action=Marker.ADD, text=text)
    marker.header.frame_id, marker.header.stamp = 'instantft', status.header.stamp
    marker.pose.orientation.w = 1.0
    marker.scale.z = 0.3
    marker.color.r = marker.color.g = marker.color.b = marker.color.a = 1.0
    return marker


def _text(canvas: np.ndarray, text: str, at: tuple[int, int], scale: float,
          colour: tuple[int, int, int]) -> None:
    cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, colour,
                max(1, round(2 * scale)), cv2.LINE_AA)
