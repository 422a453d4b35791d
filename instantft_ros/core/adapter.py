"""The low-rank adapter: the only weights that are ever trained."""

from __future__ import annotations

from dataclasses import dataclass, replace
import hashlib
import io
from pathlib import Path

import numpy as np

from instantft_ros.core.array_file import read_arrays
from instantft_ros.core.errors import AdapterError
from instantft_ros.core.features import FeatureLayout

#: Format 1 had no logit_scale; its adapters have 1.
FORMAT = 2

#: Frozen logits are not trusted more than this.
MAX_LOGIT_SCALE = 2.0

#: No adapter file may claim more than this when unpacked.
MAX_FILE_BYTES = 256 << 20

#: No network has more layers that are tapped.
MAX_TAPS = 10_000

#: The name of a backbone is a SHA-256 in hexadecimal.
MAX_NAME_BYTES = 64


def cross_entropy(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Give each sample's cross-entropy (N,) in nats from logits z (N, C) and labels (N,)."""
    z = z - z.max(axis=1, keepdims=True)
    losses: np.ndarray = np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(labels)), labels]
    return losses


@dataclass(frozen=True)
class Adapter:
    """
    Low-rank maps from every tap straight to the logits (InstantFT, arXiv 2506.06505).

    a (r, D): A_k is `a[:, tap k]`. b (C, K, r): B_k is `b[:, k]`. Both float32 and read-only, so
    a swap is the rebinding of one reference. `backbone` is the SHA-256 of the network file that
    the taps come from. logit_scale: what the frozen logits are multiplied by, see
    core/calibration.py.
    """

    layout: FeatureLayout
    a: np.ndarray
    b: np.ndarray
    backbone: str
    logit_scale: float = 1.0

    def __post_init__(self) -> None:
        rank = self.a.shape[0] if self.a.ndim == 2 else 0
        wanted_a = (rank, self.layout.dim)
        wanted_b = (self.layout.classes, len(self.layout.tap_sizes), rank)
        if rank == 0 or self.a.shape != wanted_a or self.b.shape != wanted_b:
            raise AdapterError(
                f'a and b must have shapes (r, {self.layout.dim}) and ({self.layout.classes}, '
                f'{len(self.layout.tap_sizes)}, r), got {self.a.shape} and {self.b.shape}')
        if not 0.0 <= self.logit_scale <= MAX_LOGIT_SCALE:
            raise AdapterError(f'logit_scale must be in [0, {MAX_LOGIT_SCALE:g}], got '
                               f'{self.logit_scale}')
        for name, weights in (('a', self.a), ('b', self.b)):
            if not np.isfinite(weights).all():
                raise AdapterError(f'weights {name} hold NaN or infinity')
            own = np.array(weights, np.float32, order='C')  # native code reads it as it lies
            own.setflags(write=False)
            object.__setattr__(self, name, own)

    @staticmethod
    def initial(layout: FeatureLayout, backbone: str, rank: int = 4, seed: int = 0) -> Adapter:
        """
        Start weights: A_k normal with variance 1 / D_k, B_k zero.

        With B zero the logits are the frozen network's, exactly.
        """
        rng = np.random.default_rng(seed)
        a = [rng.normal(0.0, size ** -0.5, (rank, size)) for size in layout.tap_sizes]
        b = np.zeros((layout.classes, len(layout.tap_sizes), rank), np.float32)
        return Adapter(layout, np.concatenate(a, axis=1).astype(np.float32), b, backbone)

    @property
    def rank(self) -> int:
        """The rank r."""
        return int(self.a.shape[0])

    def with_classes(self, classes: int) -> Adapter:
        """Give the adapter with outputs for further classes; its weights for them are zero."""
        lacking = classes - self.layout.classes
        if lacking <= 0:
            return self
        b = np.concatenate([self.b, np.zeros((lacking, *self.b.shape[1:]), np.float32)])
        return replace(self, layout=self.layout.with_classes(classes), b=b)

    def __call__(self, x: np.ndarray, logits: np.ndarray) -> np.ndarray:
        """
        Give the adapted logits z = s z0 + sum_k B_k A_k x_k, with s = logit_scale.

        x (..., D), logits z0 (..., C); returns (..., C) float32.
        """
        z: np.ndarray = np.float32(self.logit_scale) * np.asarray(logits, np.float32)
        for k, tap in enumerate(self.layout.slices):
            z += (x[..., tap] @ self.a[:, tap].T) @ self.b[:, k].T
        return z

    def digest(self) -> str:
        """Hash the weights and what they are for: equal digests mean equal adapters."""
        state = hashlib.sha256(f'{self.backbone} {self.layout}'.encode())
        state.update(self.a.tobytes())
        state.update(self.b.tobytes())
        if self.logit_scale != 1.0:  # else the digest of format 1
            state.update(np.float64(self.logit_scale).tobytes())
        return state.hexdigest()

    def check_backbone(self, layout: FeatureLayout, backbone: str) -> None:
        """Raise `AdapterError` unless the adapter was made for this network."""
        if self.backbone != backbone:
            raise AdapterError(f'the adapter was made for backbone {self.backbone[:12]}..., '
                               f'this one is {backbone[:12]}...')
        if self.layout != layout:
            raise AdapterError(f'the adapter was made for {self.layout}, wanted {layout}')

    def to_bytes(self) -> bytes:
        """Serialize as an uncompressed .npz: arrays only, no pickle (doc/formats.md)."""
        stream = io.BytesIO()
        np.savez(stream, format=np.int64(FORMAT), a=self.a, b=self.b,
                 tap_sizes=np.array(self.layout.tap_sizes, np.int64),
                 backbone=np.frombuffer(self.backbone.encode(), np.uint8),
                 logit_scale=np.float64(self.logit_scale))
        return stream.getvalue()

    @staticmethod
    def from_bytes(data: bytes) -> Adapter:
        """Read what `to_bytes` wrote; raises `AdapterError` for anything else."""
        try:
            version, a, b, sizes, backbone = read_arrays(
                io.BytesIO(data), ('format', 'a', 'b', 'tap_sizes', 'backbone'), MAX_FILE_BYTES)
            if version.shape or version.dtype.kind not in 'iu' or not 1 <= version <= FORMAT:
                raise AdapterError(
                    f'adapter format {version.tolist() if version.size == 1 else "?"} is not '
                    f'known, this version reads 1 to {FORMAT}')
            scale = (np.float64(1.0) if version == 1 else
                     read_arrays(io.BytesIO(data), ('logit_scale',), MAX_FILE_BYTES)[0])
        except (ValueError, OSError) as error:
            raise AdapterError(f'not an adapter file: {error}') from error
        if scale.shape or scale.dtype != np.float64:
            raise AdapterError(f'logit_scale must be one float64, got {scale.dtype} of shape '
                               f'{scale.shape}')
        if a.dtype != np.float32 or b.dtype != np.float32 or b.ndim != 3 or b.size == 0:
            raise AdapterError('a and b must be float32, b must have 3 axes, none of length 0, '
                               f'got {a.dtype} {a.shape} and {b.dtype} {b.shape}')
        if sizes.dtype.kind not in 'iu' or sizes.shape != b.shape[1:2] or sizes.size > MAX_TAPS \
                or sizes.min() < 1:
            raise AdapterError(f'tap_sizes must be {b.shape[1]} positive integers, at most '
                               f'{MAX_TAPS}, got {sizes.dtype} {sizes.shape}')
        name = backbone.tobytes() if backbone.nbytes <= MAX_NAME_BYTES else b'\xff'
        if not name.isascii():
            raise AdapterError(f'backbone must be at most {MAX_NAME_BYTES} characters of ASCII, '
                               f'got {backbone.nbytes} bytes')
        return Adapter(FeatureLayout(tuple(sizes.tolist()), b.shape[0]), a, b, name.decode(),
                       float(scale))

    @staticmethod
    def load(path: Path) -> Adapter:
        """Read an adapter file; raises `AdapterError` that names the file."""
        try:
            if (size := path.stat().st_size) > MAX_FILE_BYTES:
                raise AdapterError(f'{size} bytes, at most {MAX_FILE_BYTES} are read')
            return Adapter.from_bytes(path.read_bytes())
        except OSError as error:
            raise AdapterError(f'cannot read {path}: {error.strerror}') from error
        except AdapterError as error:
            raise AdapterError(f'{path}: {error}') from error
