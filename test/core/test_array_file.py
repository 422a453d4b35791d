import io
from pathlib import Path
import zipfile

import numpy as np
import pytest

from instantft_ros.core.array_file import read_arrays


def archive(method: int = zipfile.ZIP_STORED, **members: bytes) -> io.BytesIO:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, 'w', method) as writer:
        for name, content in members.items():
            writer.writestr(f'{name}.npy', content)
    return stream


def array_bytes(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, allow_pickle=False)
    return stream.getvalue()


def declaring(shape: str, descr: str = '|u1') -> bytes:
    """Give an array's file with this shape in its header, and 6 bytes."""
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b'\x93NUMPY\x01\x00' + len(text).to_bytes(2, 'little') + text + bytes(6)


@pytest.mark.parametrize('save', [np.savez, np.savez_compressed])
@pytest.mark.parametrize('array', [
    np.arange(6, dtype=np.float32).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3)),
    np.int64(7), np.zeros((0, 3)), np.arange(3, dtype='>i2')], ids=range(5))
def test_what_numpy_wrote_is_read(save, array):
    stream = io.BytesIO()
    save(stream, x=array, unread=np.ones(3))
    read, = read_arrays(stream, ('x',), 1 << 20)
    assert read.dtype == array.dtype and read.shape == np.shape(array)
    np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize(('stream', 'words'), [
    (archive(x=declaring('(7,)')), r'6 bytes .* uint8 \(7,\)'),
    (archive(x=declaring('(5,)')), r'6 bytes'),
    (archive(x=declaring('(1 << 40,)')), 'header'),
    (archive(x=declaring(f'({1 << 40},)')), '6 bytes'),
    (archive(x=declaring('(-2, -3)')), 'negative'),
    (archive(x=declaring('(6,)', '|O')), 'objects'),
    (archive(x=declaring('(6,)', '|V0')), '6 bytes'),
    (archive(x=declaring('(' + '-' * 9000 + '6,)')), 'x'),
    (archive(x=b'no array'), 'x'),
    (archive(y=declaring('(6,)')), "no array 'x'"),
    (archive(zipfile.ZIP_LZMA, x=declaring('(6,)')), 'compression 14'),
    (archive(zipfile.ZIP_DEFLATED, x=declaring('(6,)'), y=bytes(2 << 20)), 'unpacks to'),
    (io.BytesIO(declaring('(6,)')), 'zip'),
    (io.BytesIO(b''), 'zip'),
], ids=range(14))
def test_anything_else_is_refused_with_a_reason(stream, words):
    with pytest.raises(ValueError, match=words):
        read_arrays(stream, ('x',), 1 << 20)


def test_an_archive_behind_an_array_is_read_as_the_archive():
    stream = io.BytesIO(declaring(f'({1 << 40},)') + archive(x=declaring('(6,)')).getvalue())
    assert read_arrays(stream, ('x',), 1 << 20)[0].tolist() == [0] * 6


def test_a_path_is_read_too(tmp_path: Path):
    np.savez(tmp_path / 'file.npz', x=np.arange(3))
    assert read_arrays(tmp_path / 'file.npz', ('x',), 1 << 20)[0].tolist() == [0, 1, 2]
    with pytest.raises(FileNotFoundError):
        read_arrays(tmp_path / 'missing.npz', ('x',), 1 << 20)
