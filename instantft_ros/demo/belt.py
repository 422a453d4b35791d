"""
The demo's world: garments on a stop-and-go belt under a camera, and how that world drifts.

Every frame is a function of the seed and its number alone, so that whoever knows the seed can
render it again. The garments are real images of Fashion-MNIST's test set.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 640, 480

#: The square of the camera image that holds the garment: x, y, width, height in pixels.
STATION = (96, 16, 448, 448)

GARMENTS_FILE = Path(__file__).parent.parent / 'data' / 'fashion_mnist_subset.npz'


@dataclass(frozen=True)
class Drift:
    """
    How the world changes: nothing until `start_s`, then linearly to the full values at `end_s`.

    tilt_deg: rotation of the garments; gain: factor on the brightness; noise: standard deviation
    in grey levels of the added sensor noise.
    """

    start_s: float = 12.0
    end_s: float = 24.0
    tilt_deg: float = 75.0
    gain: float = 0.75
    noise: float = 12.0

    def progress(self, time_s: float) -> float:
        """Give how far the drift has come, from 0 to 1."""
        if self.end_s <= self.start_s:
            return float(time_s >= self.start_s)
        return float(np.clip((time_s - self.start_s) / (self.end_s - self.start_s), 0.0, 1.0))


class Belt:
    """Renders the camera's frames; `rate_hz` frames a second, `dwell` frames to a garment."""

    def __init__(self, seed: int, drift: Drift, rate_hz: float = 30.0, dwell: int = 5) -> None:
        self.seed, self.drift, self.rate_hz, self.dwell = seed, drift, rate_hz, dwell
        with np.load(GARMENTS_FILE, allow_pickle=False) as data:
            images, labels = data['images'], data['labels']
        shuffled = np.random.default_rng(seed).permutation(len(images))
        self._images, self._labels = images[shuffled], labels[shuffled]
        rng = np.random.default_rng(seed + 1)
        self._noise = rng.normal(size=(2 * HEIGHT, 2 * WIDTH)).astype(np.float32)
        self._belt = _texture(rng)

    def label(self, index: int) -> int:
        """Give the class of the garment in frame `index`."""
        return int(self._labels[self._garment(index)])

    def frame(self, index: int) -> np.ndarray:
        """Render frame `index`: (480, 640, 3) uint8, BGR."""
        rng = np.random.default_rng((self.seed, index))
        progress = self.drift.progress(index / self.rate_hz)
        jitter_px, wobble_deg = rng.uniform(-6, 6, 2), rng.uniform(-3, 3)
        garment = cv2.resize(self._images[self._garment(index)], STATION[2:],
                             interpolation=cv2.INTER_CUBIC)
        turn = cv2.getRotationMatrix2D((STATION[2] / 2, STATION[3] / 2),
                                       self.drift.tilt_deg * progress + wobble_deg, 1.0)
        turn[:, 2] = turn[:, 2] + STATION[:2] + jitter_px
        garment = cv2.warpAffine(garment, turn, (WIDTH, HEIGHT))
        belt = np.roll(self._belt, (index // self.dwell) * 160, axis=1)
        gain = 1.0 + (self.drift.gain - 1.0) * progress
        y, x = rng.integers(0, HEIGHT), rng.integers(0, WIDTH)
        noise = self._noise[y:y + HEIGHT, x:x + WIDTH] * (2.0 + self.drift.noise * progress)
        grey = np.maximum(garment, belt) * np.float32(gain) + noise
        grey = np.clip(grey, 0, 255).astype(np.uint8)
        return cv2.merge([grey, cv2.convertScaleAbs(grey, alpha=0.96), grey])

    def _garment(self, index: int) -> int:
        return (index // self.dwell) % len(self._images)


def _texture(rng: np.random.Generator) -> np.ndarray:
    """Draw a dark rubber belt with a seam every 160 pixels, (480, 640) float32."""
    grain = cv2.GaussianBlur(rng.normal(0, 12, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 2)
    belt = 10 + grain
    belt[:, ::160] += 12
    return np.clip(belt, 0, 40)
