"""The records of the cache's journal, each found and checked by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import json
import mmap
import struct
from typing import Any
import zlib

import numpy as np

from instantft_ros.core import nf4
from instantft_ros.core.errors import CacheError
from instantft_ros.core.features import FeatureLayout, FeatureRecord
from instantft_ros.core.frame_ring import FrameId

#: A file's content, in memory or mapped.
Bytes = bytes | mmap.mmap

FORMAT = 1

#: Starts every record, so that one is found again behind damaged bytes.
MARK = b'\xf1IFT'

#: Mark, CRC-32 of all that follows, bytes of the payload.
_FRAME = struct.Struct('<4sII')

#: Kind, whether it opens a correction, label (-1: retraction), stamp, time of issue, bytes of the
#: camera's name and of the group's.
_HEAD = struct.Struct('<BBiqqHH')

#: Kind and a number.
_COUNT = struct.Struct('<BQ')

_HEADER, _SAMPLE, _OPEN = 0, 1, 2

#: No label is higher: operators may have added classes to the network's.
MAX_CLASSES = 1 << 16

#: Longer names are refused.
MAX_NAME_BYTES = 4096


@dataclass(frozen=True)
class CorrectionRecord:
    """
    What one correction said of one frame.

    label: None retracts. group: as for `ForwardCache.add`. features: None for a frame whose
    features an earlier record holds.
    """

    frame: FrameId
    label: int | None
    issued_ns: int
    group: str | None = None
    features: FeatureRecord | None = None


@dataclass(frozen=True)
class Stored:
    """A record at its place in the file: a correction's, or the number of open corrections."""

    offset: int
    bytes: int
    correction: CorrectionRecord | None
    opens: bool = False
    open_corrections: int = 0


class RecordFormat:
    """Writes and reads records for one network; layout and backbone are in the header."""

    def __init__(self, layout: FeatureLayout, backbone: str) -> None:
        self.layout, self.backbone = layout, backbone
        self._sizes = (nf4.packed_size(layout.dim), 4 * len(layout.tap_sizes), 4 * layout.classes)
        self.typical_bytes = _FRAME.size + _HEAD.size + 64 + sum(self._sizes)
        self.max_bytes = self.typical_bytes + 2 * MAX_NAME_BYTES

    def header(self) -> bytes:
        """Give the first record of a file."""
        return _framed(bytes([_HEADER]) + json.dumps(self._identity()).encode())

    def _identity(self) -> dict[str, Any]:
        return {'format': FORMAT, 'backbone': self.backbone, 'classes': self.layout.classes,
                'tap_sizes': list(self.layout.tap_sizes)}

    @staticmethod
    def of_header(data: Bytes) -> RecordFormat:
        """Read the format that a file names; raises `CacheError` when it names none."""
        try:
            payload = _payload(data, 0, 1 << 20) or b'\0'
            found = json.loads(payload[1:])
            form = RecordFormat(FeatureLayout(tuple(map(int, found['tap_sizes'])),
                                              int(found['classes'])), str(found['backbone']))
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise CacheError(f'it does not begin with a header: {error}') from error
        if reason := form.foreign(data):
            raise CacheError(reason)
        return form

    def foreign(self, data: Bytes) -> str:
        """Say why a file that begins with these bytes is not this network's; '': it is."""
        try:
            payload = _payload(data, 0, 1 << 20)
            if payload is None or payload[0] != _HEADER:
                return 'it does not begin with a header'
            found = json.loads(payload[1:])
        except (ValueError, RecursionError) as error:
            return f'its header is not JSON: {error}'
        wanted = self._identity()
        return '' if found == wanted else f'it is for {str(found)[:500]}, wanted is {wanted}'

    def sample(self, record: CorrectionRecord, opens: bool) -> bytes:
        """Write a record; raises `CacheError` for what does not fit the network."""
        camera = record.frame.view.encode('utf-8', 'surrogatepass')
        group = b'' if record.group is None else record.group.encode('utf-8', 'surrogatepass')
        label = -1 if record.label is None else record.label
        if not -1 <= label < MAX_CLASSES:
            raise CacheError(f'label must be in [0, {MAX_CLASSES}), got {label}')
        if max(len(camera), len(group)) > MAX_NAME_BYTES:
            raise CacheError(f'names may have {MAX_NAME_BYTES} bytes, got {len(camera)} and '
                             f'{len(group)}')
        parts = [_HEAD.pack(_SAMPLE, opens, label, record.frame.stamp_ns, record.issued_ns,
                            len(camera), len(group)), camera, group]
        if record.features is not None:
            features = record.features
            parts += [features.codes.tobytes(), features.scales.tobytes(),
                      features.logits.tobytes()]
            if tuple(map(len, parts[3:])) != self._sizes:
                raise CacheError(f'codes, scales and logits must have {self._sizes} bytes, got '
                                 f'{tuple(map(len, parts[3:]))}')
        return _framed(b''.join(parts))

    def open_corrections(self, count: int) -> bytes:
        """Write how many corrections no training has seen yet."""
        return _framed(_COUNT.pack(_OPEN, count))

    def read(self, data: Bytes, offset: int) -> Stored | None:
        """Read the record at a place; None when there is none that is whole and fits."""
        payload = _payload(data, offset, self.max_bytes)
        if payload is None:
            return None
        size = _FRAME.size + len(payload)
        if payload[0] == _OPEN and len(payload) == _COUNT.size:
            return Stored(offset, size, None, open_corrections=_COUNT.unpack(payload)[1])
        if payload[0] != _SAMPLE or len(payload) < _HEAD.size:
            return None
        _, opens, label, stamp_ns, issued_ns, camera, group = _HEAD.unpack_from(payload)
        rest = payload[_HEAD.size + camera + group:]
        if len(rest) not in (0, sum(self._sizes)) or not -1 <= label < MAX_CLASSES:
            return None
        try:
            frame = FrameId(_text(payload, _HEAD.size, camera), stamp_ns)
            name = _text(payload, _HEAD.size + camera, group)
        except UnicodeDecodeError:
            return None
        return Stored(offset, size, CorrectionRecord(
            frame, None if label < 0 else label, issued_ns, name or None,
            self._features(rest) if rest else None), bool(opens))

    def _features(self, data: bytes) -> FeatureRecord:
        codes, scales, logits = self._sizes
        packed = np.frombuffer(data, np.uint8, codes)
        each = np.frombuffer(data, '<f4', scales // 4, codes)
        x = nf4.dequantize(packed, each, self.layout.tap_sizes)
        return FeatureRecord(packed, each, np.frombuffer(data, '<f4', logits // 4, codes + scales),
                             float(np.dot(x, x)))

    def scan(self, data: Bytes) -> Iterator[Stored]:
        """Give every whole record behind the header; damaged bytes are passed over."""
        offset = len(self.header())
        while (offset := data.find(MARK, offset)) >= 0:
            found = self.read(data, offset)
            if found is not None:
                yield found
            offset += len(MARK) if found is None else found.bytes


def _text(payload: bytes, start: int, size: int) -> str:
    return payload[start:start + size].decode('utf-8', 'surrogatepass')


def _framed(payload: bytes) -> bytes:
    size = struct.pack('<I', len(payload))
    return MARK + struct.pack('<I', zlib.crc32(payload, zlib.crc32(size))) + size + payload


def _payload(data: Bytes, offset: int, limit: int) -> bytes | None:
    if len(data) < offset + _FRAME.size:
        return None
    mark, crc, size = _FRAME.unpack_from(data, offset)
    start = offset + _FRAME.size
    if mark != MARK or not 0 < size <= min(len(data) - start, limit):
        return None
    payload = bytes(data[start:start + size])
    fits = zlib.crc32(payload, zlib.crc32(struct.pack('<I', size))) == crc
    return payload if fits else None
