"""
From image messages to arrays: through cv_bridge where ROS has it, else by a small table.

The messages are known by their fields alone, so those that rosbags reads will do as well as ROS's.
"""

from __future__ import annotations

from importlib import metadata
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np

from instantft_ros.core.errors import ImageError
from instantft_ros.core.image_header import check_size

#: No side of an image may be longer, in pixels.
MAX_SIDE = 16_384

#: encoding -> (bytes per channel, channels, OpenCV's conversion to BGR or mono, None: as it is).
ENCODINGS: dict[str, tuple[int, int, int | None]] = {
    'mono8': (1, 1, None), '8UC1': (1, 1, None),
    'mono16': (2, 1, None), '16UC1': (2, 1, None),
    'bgr8': (1, 3, None), '8UC3': (1, 3, None), 'rgb8': (1, 3, cv2.COLOR_RGB2BGR),
    'bgra8': (1, 4, cv2.COLOR_BGRA2BGR), 'rgba8': (1, 4, cv2.COLOR_RGBA2BGR),
    # OpenCV names a Bayer pattern after its second row and column
    'bayer_rggb8': (1, 1, cv2.COLOR_BayerBG2BGR), 'bayer_bggr8': (1, 1, cv2.COLOR_BayerRG2BGR),
    'bayer_gbrg8': (1, 1, cv2.COLOR_BayerGR2BGR), 'bayer_grbg8': (1, 1, cv2.COLOR_BayerGB2BGR),
    'bayer_rggb16': (2, 1, cv2.COLOR_BayerBG2BGR), 'bayer_bggr16': (2, 1, cv2.COLOR_BayerRG2BGR),
    'bayer_gbrg16': (2, 1, cv2.COLOR_BayerGR2BGR), 'bayer_grbg16': (2, 1, cv2.COLOR_BayerGB2BGR),
    # a plane of luma, below it one of interleaved chroma with half as many rows
    'nv12': (1, 1, cv2.COLOR_YUV2BGR_NV12), 'nv21': (1, 1, cv2.COLOR_YUV2BGR_NV21),
    'yuv422': (1, 2, cv2.COLOR_YUV2BGR_UYVY), 'uyvy': (1, 2, cv2.COLOR_YUV2BGR_UYVY),
    'yuv422_yuy2': (1, 2, cv2.COLOR_YUV2BGR_YUY2), 'yuyv': (1, 2, cv2.COLOR_YUV2BGR_YUY2),
}

#: Encodings that cv_bridge does not know, or reads otherwise than the table says.
OWN = frozenset({'16UC1', 'uyvy', 'yuyv', 'nv12', 'nv21', 'bayer_rggb16', 'bayer_bggr16',
                 'bayer_gbrg16', 'bayer_grbg16'})


@runtime_checkable
class Image(Protocol):
    """The fields of sensor_msgs/Image that matter here; data: bytes, or uint8 in any array."""

    encoding: str
    width: int
    height: int
    step: int
    is_bigendian: int
    data: Any


class CompressedImage(Protocol):
    """The fields of sensor_msgs/CompressedImage that matter here."""

    format: str
    data: Any


def cv_bridge() -> Any | None:
    """
    Give a CvBridge of ROS 2, None where there is none.

    PyPI's cv-bridge 1.x is the ROS 1 build; it gives wrong pixels for padded rows, so it does
    not count.
    """
    try:
        if int(metadata.version('cv_bridge').split('.')[0]) < 3:
            return None
        from cv_bridge import CvBridge
        return CvBridge()
    except (ImportError, metadata.PackageNotFoundError):
        return None


class ImageReader:
    """Reads images of any known encoding as (H, W) mono or (H, W, 3) BGR, uint8."""

    def __init__(self, bridge: Any | None) -> None:
        self._bridge = bridge

    @property
    def uses_bridge(self) -> bool:
        """Whether cv_bridge does the work."""
        return self._bridge is not None

    def read(self, message: Image | CompressedImage) -> np.ndarray:
        """Convert a message; raises `ImageError` that says what came and what was wanted."""
        if not isinstance(message, Image):
            return decode(message.data, message.format)
        check(message)
        if self._bridge is None or message.encoding in OWN:
            return convert(message)
        _, channels, conversion = ENCODINGS[message.encoding]
        mono = channels == 1 and conversion is None
        try:
            image: np.ndarray = self._bridge.imgmsg_to_cv2(message, 'mono8' if mono else 'bgr8')
        except Exception as error:  # cv_bridge raises CvBridgeError, cv2.error and others
            raise ImageError(f'cv_bridge cannot read a {message.encoding} image: {error}'
                             ) from error
        return image


def check(message: Image) -> None:
    """Raise `ImageError` unless encoding, size, row length and data fit together."""
    if message.encoding not in ENCODINGS:
        raise ImageError(f"encoding '{message.encoding}' is not known, known are "
                         f'{sorted(ENCODINGS)}')
    if not (1 <= message.width <= MAX_SIDE and 1 <= message.height <= MAX_SIDE):
        raise ImageError(f'width and height must be in [1, {MAX_SIDE}], got {message.width} x '
                         f'{message.height}')
    depth, channels, _ = ENCODINGS[message.encoding]
    row = message.width * channels * depth
    if message.step < row:
        raise ImageError(f'a row of {message.width} pixels {message.encoding} takes {row} bytes, '
                         f'step says {message.step}')
    if message.encoding in ('nv12', 'nv21') and (message.width % 2 or message.height % 2):
        raise ImageError(f'a {message.encoding} image has even width and height, got '
                         f'{message.width} x {message.height}')
    rows = _rows(message)
    if len(message.data) < message.step * rows:
        raise ImageError(f'{rows} rows of {message.step} bytes need '
                         f'{message.step * rows}, data has {len(message.data)}')


def _rows(message: Image) -> int:
    height = int(message.height)
    return height * 3 // 2 if message.encoding in ('nv12', 'nv21') else height


def convert(message: Image) -> np.ndarray:
    """Convert a checked image without cv_bridge; 16 bit become 8 by dropping the low byte."""
    depth, channels, conversion = ENCODINGS[message.encoding]
    height = _rows(message)
    rows = np.frombuffer(message.data, np.uint8, message.step * height)
    rows = rows.reshape(height, message.step)[:, :message.width * channels * depth]
    if depth == 2:
        rows = rows[:, (0 if message.is_bigendian else 1)::2]
    pixels = rows.reshape(height, message.width, channels)
    if channels == 1:
        pixels = pixels[..., 0]
    if conversion is None:
        return np.ascontiguousarray(pixels)
    try:
        return cv2.cvtColor(np.ascontiguousarray(pixels), conversion)
    except cv2.error as error:
        raise ImageError(f'a {message.encoding} image of {message.width} x {message.height} '
                         f'cannot be converted: {error.err}') from error


def decode(encoded: Any, kind: str) -> np.ndarray:
    """Decode a JPEG or PNG file, once its header's size has been found bearable."""
    check_size(bytes(encoded))
    data = np.frombuffer(encoded, np.uint8)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"a compressed image '{kind}' of {len(data)} bytes cannot be "
                         f'decoded: {error.err}') from error
    if image is None:
        raise ImageError(f"a compressed image '{kind}' of {len(data)} bytes is not an "
                         'image that OpenCV can decode')
    return image
