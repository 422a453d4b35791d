"""
Changes that keep an input's outer form, so that they reach what lies within.

A flipped bit in a .npz or PNG file fails its checksum and nothing else is ever tried; a random
byte in JSON is a syntax error. Each mutator leaves part of the changes to libFuzzer's own.
"""

from __future__ import annotations

import io
import json
import math
import random
import struct
from typing import Any
import warnings
import zipfile
import zlib

import atheris
import numpy as np

#: Name, content and compression of a file in a .npz, and how many zeros follow the content.
Member = tuple[str, bytes, int, int]

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
ZIP_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
DTYPES = ('|u1', '|i1', '<i8', '>i8', '<f4', '>f4', '<f8', '|b1', '<c16', '<f2', '<U3', '|S5',
          '|V0', '<M8[s]', '|O', '<U0')
NUMBERS: tuple[Any, ...] = (
    0, 1, 2, 3, -1, 255, 256, 2**31 - 1, 2**31, 2**32, 2**63, 2**64, 10**400, 0.5, -0.0, 1e308,
    float('inf'), float('nan'))
TEXTS = ('', '.', '..', '/', 'a/b', '\0', '\ud800', 'é', '0' * 64, 'mono', 'rgb', 'logits')


def png(data: bytes, max_size: int, seed: int) -> bytes:
    """Change bytes, then make the chunks' checksums right again, three times in four."""
    changed = bytearray(_mutate(data, max_size))
    if seed % 4 and changed.startswith(PNG_SIGNATURE):
        at = len(PNG_SIGNATURE)
        while at + 12 <= len(changed):
            length = int.from_bytes(changed[at:at + 4], 'big')
            end = at + 8 + length
            if end + 4 > len(changed):
                break
            changed[end:end + 4] = zlib.crc32(changed[at + 4:end]).to_bytes(4, 'big')
            at = end + 4
    return bytes(changed)


def arrays(data: bytes, max_size: int, seed: int) -> bytes:
    """Change one array of a .npz file: name, header, content, size or compression."""
    chance = random.Random(seed)
    members = _members(data)
    if not members or chance.random() < 0.2:
        return _mutate(data, max_size)
    for _ in range(chance.choice((1, 1, 2, 4))):
        at = chance.randrange(len(members))
        name, content, method, zeros = members[at]
        action = chance.randrange(7)
        if action == 0:
            members[at] = name, content, chance.choice(ZIP_METHODS), min(zeros, 1 << 20)
        elif action == 1:
            members[at] = name, _mutate(content, len(content) + 64), zipfile.ZIP_DEFLATED, 0
        elif action == 2:
            members[at] = name, _reheaded(content, chance), method, 0
        elif action == 3:
            members[at] = name, *_blank(chance)
        elif action == 4 and len(members) > 1:
            del members[at]
        elif action == 5:
            members[at] = name, *chance.choice(members)[1:]
        else:
            members.insert(at, members[at])
    packed = _zip(members)
    if chance.random() < 0.05:  # found from its end, a zip file may have anything before it
        packed = _header('|u1', (chance.randrange(1 << 40),)) + packed
    return packed if len(packed) <= max_size else _mutate(data, max_size)


def json_document(data: bytes, max_size: int, seed: int) -> bytes:
    """Replace, delete, copy or wrap one value of a JSON document."""
    chance = random.Random(seed)
    if chance.random() < 0.3:
        return _mutate(data, max_size)
    try:
        packed = _changed_json(data, chance)
    except (ValueError, RecursionError):  # no JSON, or nested more deeply than we can follow
        return _mutate(data, max_size)
    return packed if len(packed) <= max_size else _mutate(data, max_size)


def _changed_json(data: bytes, chance: random.Random) -> bytes:
    document = json.loads(data)
    places = list(_places(document))
    if places:
        parent, key = chance.choice(places)
        action = chance.randrange(5)
        if action == 0:
            del parent[key]
        elif action == 1:
            parent[key] = chance.choice(NUMBERS)
        elif action == 2:
            parent[key] = chance.choice(TEXTS)
        elif action == 3:
            parent[key] = chance.choice(([], {}, None, True, [parent[key]], {'a': parent[key]}))
        else:
            other, its_key = chance.choice(places)
            parent[key] = json.loads(json.dumps(other[its_key]))
    text = json.dumps(document)
    if chance.random() < 0.02:
        depth = chance.choice((10, 500, 1500))
        text = '[' * depth + text + ']' * depth
    elif chance.random() < 0.02:
        text = text.replace('1', '1' * chance.choice((300, 5000)), 1)
    return text.encode()


def _mutate(data: bytes, max_size: int) -> bytes:
    """Change by libFuzzer's own means."""
    return bytes(atheris.Mutate(data, max_size))


def _members(data: bytes) -> list[Member]:
    """Read the members of an archive, [] when it is none or too large to change quickly."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(info.file_size for info in archive.infolist()) > 1 << 20:
                return []
            return [(info.filename, archive.read(info), info.compress_type, 0)
                    for info in archive.infolist()]
    except Exception:  # a mutated archive breaks in many ways
        return []


def _zip(members: list[Member]) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, 'w') as archive:
        warnings.simplefilter('ignore')  # names twice
        for name, content, method, zeros in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            with archive.open(info, 'w', force_zip64=zeros >= 1 << 31) as member:
                member.write(content)
                for at in range(0, zeros, 1 << 20):
                    member.write(bytes(min(1 << 20, zeros - at)))
    return stream.getvalue()


def _header(dtype: str, shape: tuple[int, ...], fortran: bool = False) -> bytes:
    text = f"{{'descr': {dtype!r}, 'fortran_order': {fortran}, 'shape': {shape!r}, }}"
    text += ' ' * (-(len(text) + 11) % 64) + '\n'
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(text)) + text.encode('latin-1')


def _reheaded(content: bytes, chance: random.Random) -> bytes:
    """Give an array another type or shape over the same content, most often of the same size."""
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except Exception:  # a mutated header breaks in many ways
        return content
    dtype, shape = array.dtype.str, list(array.shape)
    action = chance.randrange(5)
    if action == 0:
        dtype = chance.choice(DTYPES)
    elif action == 1 and shape:
        shape[chance.randrange(len(shape))] = chance.choice(
            (0, 1, -1, 2, 1000, 2**31, 2**40, 2**62, 2**64))
    elif action == 2:
        shape.insert(chance.randrange(len(shape) + 1), chance.choice((0, 1, 1, 1, 2)))
    elif action == 3 and len(shape) > 1:
        shape[:2] = [shape[0] * shape[1]]
    elif array.dtype.kind in 'iuf':
        with np.errstate(all='ignore'):
            value = np.array(chance.choice((0, 1, -1, -5, 7, 2**62, np.nan))).astype(array.dtype)
        array = np.full_like(array, value)
    data: bytes = array.tobytes()
    return _header(dtype, tuple(shape), chance.random() < 0.1) + data


def _blank(chance: random.Random) -> tuple[bytes, int, int]:
    """Give an array of zeros: rarely so large that it compresses a thousand times."""
    most = 31 if chance.random() < 0.003 else 20
    dtype = np.dtype(chance.choice(('|u1', '|i1', '<i8', '<f4')))
    count = int(2 ** chance.uniform(0, most)) // dtype.itemsize
    shape = chance.choice(((count,), (count, 1), (1, count), (count, 1, 1), (0, count, 1)))
    return _header(dtype.str, shape), zipfile.ZIP_DEFLATED, math.prod(shape) * dtype.itemsize


def _places(value: Any) -> Any:
    """Give (parent, key) of every value below this one."""
    pairs = list(value.items()) if isinstance(value, dict) else \
        list(enumerate(value)) if isinstance(value, list) else []
    for key, below in pairs:
        yield value, key
        yield from _places(below)
