"""The frozen network: an ONNX file whose outputs are the logits and every layer's input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from instantft_ros.core.errors import BackboneError, FeatureError, ImageError, ManifestError
from instantft_ros.core.features import FeatureLayout, Features
from instantft_ros.core.manifest import COLOURS, Manifest, sha256_of


@dataclass(frozen=True)
class Region:
    """A rectangle of an image, in pixels."""

    x: int
    y: int
    width: int
    height: int


class Backbone:
    """
    Runs the network on images, with OpenCV's DNN module on the CPU.

    Built from a manifest file; the network file lies beside it. Raises `ManifestError` when the
    manifest is malformed or the network file is not the one it was written for, `BackboneError`
    when the network does not load or does not give what the manifest says.
    """

    def __init__(self, manifest_file: Path) -> None:
        self.manifest = Manifest.load(manifest_file)
        self.layout = FeatureLayout.of(self.manifest)
        self._outputs = [self.manifest.logits, *(tap.name for tap in self.manifest.taps)]
        self._mean = np.array(self.manifest.mean, np.float32)
        self._gain = 1.0 / np.array(self.manifest.std, np.float32)
        network_file = manifest_file.parent / self.manifest.network
        replay = self.manifest.replay
        #: images from before the drift, see core/replay.py
        self.replay_file = manifest_file.parent / replay if replay else None
        try:
            found = sha256_of(network_file)
        except OSError as error:
            raise ManifestError(f'cannot read the network {network_file}: '
                                f'{error.strerror}') from error
        if found != self.manifest.sha256:
            raise ManifestError(f'{network_file} has SHA-256 {found}, its manifest wants '
                                f'{self.manifest.sha256}: it is not the network that the '
                                'manifest was written for')
        try:
            self._network = cv2.dnn.readNetFromONNX(str(network_file))
        except cv2.error as error:
            raise BackboneError(f'OpenCV cannot load {network_file}: {error.err}') from error
        self._check_outputs(network_file)

    @property
    def digest(self) -> str:
        """The SHA-256 of the network file; adapters are bound to it."""
        return self.manifest.sha256

    def preprocess(self, image: np.ndarray, region: Region | None = None) -> np.ndarray:
        """
        Make the network's input from an image.

        image: (H, W) mono or (H, W, 3) BGR, uint8. Returns (1, channels, height, width) float32:
        the region (default: all of it), resized, in the network's colour, normalised. Raises
        `ImageError` for another shape or type, or a region that is not inside the image.
        """
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or \
                (image.ndim == 3 and image.shape[2] != 3) or image.size == 0:
            raise ImageError(f'an image must be uint8 of shape (H, W) or (H, W, 3), got '
                             f'{image.dtype} of shape {image.shape}')
        if region is not None:
            image = _crop(image, region)
        size = (self.manifest.width, self.manifest.height)
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        small = _recolour(small, self.manifest.colour)
        planes = (small.astype(np.float32) - self._mean) * self._gain
        return np.ascontiguousarray(planes.transpose(2, 0, 1))[None]

    def features(self, network_input: np.ndarray) -> Features:
        """
        Run the network on one preprocessed image (1, channels, height, width) float32.

        Raises `FeatureError` when the network gives NaN or infinity.
        """
        self._network.setInput(network_input)
        logits, *taps = self._network.forward(self._outputs)
        x = np.concatenate([tap.reshape(-1) for tap in taps])
        if not np.isfinite(logits).all():
            raise FeatureError('the network gave NaN or infinite logits')
        return Features(x, logits.reshape(-1).copy())

    def _check_outputs(self, network_file: Path) -> None:
        manifest = self.manifest
        shape = (1, COLOURS[manifest.colour], manifest.height, manifest.width)
        self._network.setInput(np.zeros(shape, np.float32))
        try:
            outputs = self._network.forward(self._outputs)
        except cv2.error as error:
            raise BackboneError(f'{network_file} does not run on an input {shape} with outputs '
                                f'{self._outputs}: {error.err}') from error
        wanted = [len(manifest.classes), *manifest.tap_sizes]
        for name, output, size in zip(self._outputs, outputs, wanted):
            if output.size != size:
                raise BackboneError(f"{network_file}: output '{name}' has {output.size} values, "
                                    f'its manifest says {size}')


def _crop(image: np.ndarray, region: Region) -> np.ndarray:
    height, width = image.shape[:2]
    right, bottom = region.x + region.width, region.y + region.height
    if min(region.x, region.y) < 0 or min(region.width, region.height) < 1 \
            or right > width or bottom > height:
        raise ImageError(f'{region} does not lie inside an image of {width} x {height}')
    return image[region.y:bottom, region.x:right]


def _recolour(image: np.ndarray, colour: str) -> np.ndarray:
    """Give (h, w, 1) or (h, w, 3) in the wanted colour from mono or BGR."""
    if colour == 'mono':
        mono = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        return mono[..., None]
    if image.ndim == 2:
        return np.repeat(image[..., None], 3, axis=2)
    return image if colour == 'bgr' else image[..., ::-1]
