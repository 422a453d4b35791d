"""What the classifier keeps of one camera, and its annotated image."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
import re

import numpy as np
from rclpy.lifecycle import LifecyclePublisher
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from instantft_ros.core.backbone import Region
from instantft_ros.core.errors import ParameterError
from instantft_ros.core.views import view_name
from instantft_ros.nodes import overlay
from instantft_ros.nodes.camera_input import CameraInput
from instantft_ros.nodes.classifier_parameters import CameraParameters, RegionParameters
from instantft_ros.nodes.frame_ages import FrameAges
from instantft_ros.nodes.parameters import Parameters
from instantft_ros.pipeline import Prediction

_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]*')


@dataclass(frozen=True)
class View:
    """A part of a camera's image that is classified on its own; region None: all of it."""

    name: str
    region_name: str
    region: Region | None


@dataclass(frozen=True)
class Newest:
    """The last image that was classified, when it came, and what was predicted, by view."""

    message: Image | CompressedImage
    image: np.ndarray
    taken_s: float
    predictions: tuple[Prediction, ...]


@dataclass
class Camera:
    """One camera, its views, and what its images told so far."""

    topic: str
    views: tuple[View, ...]
    annotated: LifecyclePublisher | None = None
    input: CameraInput | None = None
    last_image_s: float = 0.0
    last_annotated_s: float = float('-inf')
    ages: FrameAges = field(default_factory=FrameAges)
    rejection: str = ''
    newest: Newest | None = None

    def annotation_due(self, rate_hz: float, now_s: float) -> bool:
        """Tell whether somebody wants an annotated image now."""
        return (rate_hz > 0 and now_s - self.last_annotated_s >= 1.0 / rate_hz
                and self.annotated is not None and self.annotated.get_subscription_count() > 0)

    def annotate(self, message: Image | CompressedImage, image: np.ndarray,
                 seen: list[overlay.Seen], note: str, now_s: float) -> None:
        """Publish the image with what was seen in it."""
        assert self.annotated is not None
        self.last_annotated_s = now_s
        drawn = overlay.annotate(image, seen, note)
        self.annotated.publish(Image(
            header=message.header, height=drawn.shape[0], width=drawn.shape[1], encoding='bgr8',
            step=3 * drawn.shape[1], data=array('B', drawn.tobytes())))


def declare_cameras(node: Node, names: tuple[str, ...]) -> dict[str, Camera]:
    """Declare the parameters of each camera and its regions; raises `ParameterError`."""
    _check_names('cameras', names)
    return {name: _declare_camera(node, name) for name in names}


def _declare_camera(node: Node, name: str) -> Camera:
    p = Parameters(node, CameraParameters, f'{name}.').value
    if p.regions == ('',):
        return Camera(p.topic, (View(name, '', _region(f'{name}.region', p.region)),))
    _check_names(f'{name}.regions', p.regions)
    if any(p.region):
        raise ParameterError(f'{name}.region is for a camera without named regions, this one '
                             f'has {list(p.regions)}')
    views = []
    for region in p.regions:
        values = Parameters(node, RegionParameters, f'{name}.{region}.').value.region
        views.append(View(view_name(name, region), region,
                          _region(f'{name}.{region}.region', values)))
    return Camera(p.topic, tuple(views))


def _check_names(parameter: str, names: tuple[str, ...]) -> None:
    for name in names:
        if not _NAME.fullmatch(name):
            raise ParameterError(f'{parameter} must be names of letters, digits and underscores '
                                 f"that begin with a letter, got '{name}'")
    if len(set(names)) < len(names):
        raise ParameterError(f'{parameter} must differ, got {list(names)}')


def _region(parameter: str, values: tuple[int, ...]) -> Region | None:
    if len(values) != 4 or (any(values) and (min(values) < 0 or min(values[2:]) < 1)):
        raise ParameterError(f'{parameter} must be x, y, width, height in pixels, got '
                             f'{list(values)}')
    return Region(*values) if any(values) else None
