"""
Arrays of a .npz file from anywhere: no memory is taken but for what the file really holds.

NumPy's own reader takes the memory that a header declares before it looks at the data, reads every
kind of compression, LZMA's with a dictionary of 4 GiB too, and gives bytes where a member is no
array. Here a header must fit its member, and members are stored or deflated, as NumPy writes them.
"""

from __future__ import annotations

from collections.abc import Sequence
import math
from pathlib import Path
from typing import BinaryIO, IO
import zipfile

import numpy as np

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def read_arrays(file: Path | BinaryIO, names: Sequence[str], max_bytes: int) -> list[np.ndarray]:
    """
    Read arrays by their names, of a file that unpacks to at most `max_bytes`; others are left.

    Raises `ValueError` that says what is wrong with the file or which array, `OSError` where it
    cannot be read.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > max_bytes:
                raise ValueError(f'the file unpacks to {size} bytes, at most {max_bytes} are read')
            return [_read(archive, name) for name in names]
    except (ValueError, OSError):
        raise
    except Exception as error:  # zipfile and zlib raise many kinds on a damaged file
        raise ValueError('not a zip file of arrays: '
                         f'{str(error) or type(error).__name__}') from error


def _read(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    try:
        member = archive.getinfo(f'{name}.npy')
    except KeyError as error:
        raise ValueError(f"the file holds no array '{name}'") from error
    if member.compress_type not in _METHODS:
        raise ValueError(f"array '{name}' has compression {member.compress_type}, known are "
                         'none (0) and deflate (8)')
    with archive.open(member) as stream:
        try:
            shape, fortran, dtype = _header(stream)
        except Exception as error:  # NumPy's parser raises many kinds
            raise ValueError(f"array '{name}' has no header that can be read: "
                             f'{str(error) or type(error).__name__}') from error
        if dtype.hasobject:
            raise ValueError(f"array '{name}' holds objects, only numbers are read")
        if any(side < 0 for side in shape):
            raise ValueError(f"array '{name}' has a negative side, {shape}")
        found = member.file_size - stream.tell()
        if found != math.prod(shape) * dtype.itemsize or not dtype.itemsize:
            raise ValueError(f"array '{name}' has {found} bytes of data, its header says {dtype} "
                             f'{shape}')
        data = stream.read()
    array: np.ndarray = np.frombuffer(data, dtype).reshape(shape, order='F' if fortran else 'C')
    return array


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(stream)  # type: ignore[no-untyped-call]
    readers = {(1, 0): np.lib.format.read_array_header_1_0,
               (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f'version {version} is not known')
    shape, fortran, dtype = readers[version](stream)  # type: ignore[no-untyped-call]
    return shape, fortran, dtype
