"""What a person sees: the prediction drawn on the image, and a line of status for rviz."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from visualization_msgs.msg import Marker

from instantft_ros.core.backbone import Region
from instantft_ros.msg import Status

_GREEN, _AMBER, _WHITE, _GREY = (80, 200, 80), (40, 160, 240), (255, 255, 255), (70, 70, 70)
_DARK = (20, 20, 20)

#: Below this confidence the frame is drawn in amber instead of green.
UNSURE = 0.6


@dataclass(frozen=True)
class Seen:
    """One prediction to draw: its place (None: the whole image), class and confidence."""

    region: Region | None
    name: str
    class_name: str
    confidence: float


def annotate(image: np.ndarray, seen: list[Seen], note: str) -> np.ndarray:
    """
    Draw regions, classes, confidence bars and a note on a copy.

    image: (H, W) mono or (H, W, 3) BGR; note: drawn at the bottom right. One prediction is
    written at the bottom left, several each into their own region. Returns (H, W, 3) BGR. Sizes
    follow the image's height.
    """
    canvas = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR) if image.ndim == 2 else image.copy()
    height, width = canvas.shape[:2]
    scale = max(height / 480.0, 0.3)
    colours = [_GREEN if each.confidence >= UNSURE else _AMBER for each in seen]
    regions = [each.region or Region(0, 0, width, height) for each in seen]
    for region, colour in zip(regions, colours):
        cv2.rectangle(canvas, (region.x, region.y),
                      (region.x + region.width - 1, region.y + region.height - 1), colour,
                      max(1, round(2 * scale)))
    band = round(44 * scale)
    canvas[height - band:] //= 4
    for each, region, colour in zip(seen, regions, colours):
        text = f'{each.class_name} {each.confidence:.0%}'
        if len(seen) == 1:
            at = round(10 * scale), height - round(16 * scale)
            _bar(canvas, Region(0, 0, width, height), round(6 * scale), each.confidence, colour)
        else:
            at = region.x + round(6 * scale), region.y + round(22 * scale)
            _text(canvas, each.name, at, 0.6 * scale, _WHITE)
            at = at[0], at[1] + round(24 * scale)
            _bar(canvas, region, round(5 * scale), each.confidence, colour)
        _text(canvas, text, at, 0.7 * scale, colour)
    size, _ = cv2.getTextSize(note, cv2.FONT_HERSHEY_SIMPLEX, 0.6 * scale,
                              max(1, round(1.2 * scale)))
    _text(canvas, note, (width - size[0] - round(10 * scale), height - round(16 * scale)),
          0.6 * scale, _WHITE)
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


def _bar(canvas: np.ndarray, region: Region, height: int, confidence: float,
         colour: tuple[int, int, int]) -> None:
    """Draw a confidence bar at the bottom of a region."""
    bottom = region.y + region.height
    full = round(region.width * float(np.clip(confidence, 0, 1)))
    canvas[bottom - height:bottom, region.x:region.x + region.width] = _GREY
    canvas[bottom - height:bottom, region.x:region.x + full] = colour


def _text(canvas: np.ndarray, text: str, at: tuple[int, int], scale: float,
          colour: tuple[int, int, int]) -> None:
    """Write with a dark edge, so that it can be read on any image."""
    line = max(1, round(2 * scale))
    for ink, width in ((_DARK, line + 2), (colour, line)):
        cv2.putText(canvas, text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, ink, width, cv2.LINE_AA)
