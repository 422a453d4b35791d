"""The decoders of everything that comes from outside: messages and files."""

from __future__ import annotations

from array import array
from contextlib import suppress
from dataclasses import dataclass
import io
import json
from pathlib import Path
import tempfile
from typing import Any

import cv2
import numpy as np

from fuzzing import mutators, planted
from fuzzing.target import Target
from instantft_ros.core import images, replay
from instantft_ros.core.adapter import Adapter
from instantft_ros.core.errors import AdapterError, ImageError, ManifestError
from instantft_ros.core.features import FeatureLayout
from instantft_ros.core.manifest import Manifest, sha256_of
from instantft_ros.models import DEFAULT_MANIFEST

SIDES = (0, 1, 2, 3, 4, 7, 8, 16, 640, images.MAX_SIDE, images.MAX_SIDE + 1, 2**31, 2**32 - 1)
READER = images.ImageReader(None)

#: Files are written here; the command gives its workers a folder in memory.
FOLDER = Path(tempfile.gettempdir())


@dataclass
class RawImage:
    """The fields of sensor_msgs/Image."""

    encoding: str
    width: int
    height: int
    step: int
    is_bigendian: int
    data: Any


@dataclass
class CompressedImage:
    """The fields of sensor_msgs/CompressedImage."""

    format: str
    data: Any


def raw_image(data: bytes) -> None:
    """
    Read a raw image message.

    The first 16 bytes are its fields, the rest is its data. Every field has values that fit the
    others and values that do not.
    """
    head, rest = data[:16].ljust(16, b'\0'), data[16:]
    known = sorted(images.ENCODINGS)
    encoding = known[head[0] % len(known)] if head[0] < 240 else \
        rest[:head[0] - 240].decode('latin-1')
    width, height = (_side(head[1], head[2:6]), _side(head[6], head[7:11]))
    depth, channels, _ = images.ENCODINGS.get(encoding, (1, 1, None))
    row = width * depth * channels
    step = (row, row, row + head[12] % 8, row - 1,
            int.from_bytes(head[12:16], 'little'))[head[11] % 5] % 2**32
    needed = step * height * 3 // 2
    if head[11] >= 128 and needed <= 1 << 16:  # data of the right size, of any content
        rest = (rest or b'\x80') * (needed // max(1, len(rest)) + 1)
    content = (rest, array('B', rest), np.frombuffer(rest, np.uint8))[head[15] % 3]
    message = RawImage(encoding, width, height, step, head[14] % 2, content)
    _check_image(READER.read(message), height, width)


def _side(choice: int, value: bytes) -> int:
    if choice < 128:
        return choice % 40
    return SIDES[choice % len(SIDES)] if choice < 192 else int.from_bytes(value, 'little')


def compressed_image(data: bytes) -> None:
    """Read a compressed image message."""
    _check_image(READER.read(CompressedImage('jpeg', array('B', data))))


def _check_image(image: np.ndarray, *size: int) -> None:
    assert image.dtype == np.uint8 and image.flags.c_contiguous
    assert image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3), image.shape
    assert image.size and (not size or image.shape[:2] == size), image.shape


def adapter(data: bytes) -> None:
    """Read an adapter file; what is accepted can be applied, and written again."""
    read = Adapter.from_bytes(data)
    if read.a.size + read.b.size < 1 << 16:
        z = read(np.zeros((1, read.layout.dim), np.float32),
                 np.zeros((1, read.layout.classes), np.float32))
        assert z.shape == (1, read.layout.classes) and not z.any()
        assert min(read.layout.tap_sizes) > 0 and read.layout.classes > 0, read.layout
        assert Adapter.from_bytes(read.to_bytes()).digest() == read.digest()


def manifest(data: bytes) -> None:
    """Read a manifest file; of what is accepted names can be sent and files be opened."""
    path = _file('manifest.json', data)
    read = Manifest.load(path)
    assert Manifest.from_dict(read.to_dict()) == read
    for name in (read.name, *read.classes):
        name.encode()  # sent in messages, which are UTF-8
    for name in (read.network, read.replay):
        with suppress(OSError):
            sha256_of(path.parent / name)


def replay_images(data: bytes) -> None:
    """Read a replay file; what is accepted can be preprocessed."""
    read, labels = replay.read_images(_file('replay.npz', data), 10)
    assert len(read) == len(labels)
    for image in read[:3]:
        _check_image(np.ascontiguousarray(image))


def planted_faults(data: bytes) -> None:
    """Read with a decoder that has faults."""
    planted.decode(data)


def _file(name: str, data: bytes) -> Path:
    path = FOLDER / name
    path.write_bytes(data)
    return path


def _picture(height: int = 12, width: int = 16) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    planes = 10 * x + 60, 12 * y + 90, 6 * (x + y) + 80
    picture: np.ndarray = np.stack(planes, axis=-1).astype(np.uint8)
    return picture


def _raw_seeds() -> list[bytes]:
    """Give one well-formed image of each encoding."""
    return [bytes([number, 8, 0, 0, 0, 0, 6, 0, 0, 0, 0, 130, 0, 0, 0, number]) + bytes(range(99))
            for number in range(len(images.ENCODINGS))]


def _compressed_seeds() -> list[bytes]:
    picture = _picture()
    pictures = (picture, picture[..., 0], picture.astype(np.uint16) * 256,
                np.dstack([picture, picture[..., :1]]))
    seeds = [cv2.imencode('.png', each)[1].tobytes() for each in pictures]
    for options in ([], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 1],
                    [cv2.IMWRITE_JPEG_QUALITY, 5]):
        seeds += [cv2.imencode('.jpg', each, options)[1].tobytes() for each in pictures[:2]]
    return seeds


def _adapter_seeds() -> list[bytes]:
    return [Adapter.initial(FeatureLayout(taps, 3), 'ab' * 32, 2).to_bytes()
            for taps in ((5,), (5, 7))]


def _manifest_seeds() -> list[bytes]:
    shipped = json.loads(DEFAULT_MANIFEST.read_text())
    coloured = {**shipped, 'classes': ['a', 'b'], 'taps': shipped['taps'][:1], 'input': {
        **shipped['input'], 'colour': 'rgb', 'mean': [0, 0.5, 1], 'std': [1, 1, 1]}}
    return [json.dumps(each).encode() for each in (shipped, coloured)]


def _replay_seeds() -> list[bytes]:
    seeds = []
    for pictures in (np.zeros((2, 6, 5), np.uint8), np.zeros((2, 6, 5, 3), np.uint8)):
        for save in (np.savez, np.savez_compressed):
            stream = io.BytesIO()
            save(stream, images=pictures, labels=np.arange(2, dtype=np.int64))
            seeds.append(stream.getvalue())
    return seeds


_ARRAY_WORDS = (b'PK\x01\x02', b'PK\x03\x04', b'PK\x05\x06', b'\x93NUMPY\x01\x00', b'.npy',
                b"'descr': '<f4'", b"'|u1'", b"'<i8'", b"'|O'", b"'fortran_order': True",
                b"'shape': (1,)")

_JSON_WORDS = (
    *(f'"{word}"'.encode() for word in (
        'format', 'name', 'network', 'sha256', 'classes', 'input', 'width', 'height', 'colour',
        'mean', 'std', 'logits', 'taps', 'size', 'replay', 'notes', 'rgb', 'mono')),
    b'NaN', b'Infinity', b'1e999', b'null', b'true', b'\\ud800', b'\\u0000')

TARGETS = {
    'raw_image': Target(raw_image, ImageError, _raw_seeds),
    'compressed_image': Target(
        compressed_image, ImageError, _compressed_seeds, mutate=mutators.png, words=(
            b'\xff\xd8\xff', b'\xff\xc0', b'\xff\xc2', b'\xff\xc4', b'\xff\xda', b'\xff\xdb',
            b'\xff\xdd', b'\xff\xd9', b'\xff\xe1', b'Exif\0\0', mutators.PNG_SIGNATURE, b'IHDR',
            b'PLTE', b'IDAT', b'IEND', b'tRNS', b'acTL', b'fcTL', b'fdAT', b'eXIf')),
    # so large that a compressed array can be one of a gibibyte
    'adapter': Target(adapter, AdapterError, _adapter_seeds, _ARRAY_WORDS, mutators.arrays,
                      max_bytes=4 << 20),
    'manifest': Target(manifest, ManifestError, _manifest_seeds, _JSON_WORDS,
                       mutators.json_document, max_bytes=16_384),
    'replay': Target(replay_images, ManifestError, _replay_seeds, _ARRAY_WORDS, mutators.arrays,
                     max_bytes=4 << 20),
}

#: Not a decoder of the package: whether the fuzzer finds what is there.
PLANTED = Target(planted_faults, planted.PlantedError, lambda: [b'0'], max_bytes=64, limit_s=0.01,
                 growth_mb=8)
