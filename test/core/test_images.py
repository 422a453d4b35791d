"""Every encoding, with padded rows, through our own conversion and through cv_bridge."""

from array import array
import resource

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

pytest.importorskip('sensor_msgs', reason='needs a ROS 2 environment')

from sensor_msgs.msg import CompressedImage, Image

from instantft_ros.core.errors import ImageError
from instantft_ros.core.images import cv_bridge, ENCODINGS, ImageReader

WIDTH, HEIGHT = 8, 6


@pytest.fixture(params=['own', 'cv_bridge'])
def reader(request) -> ImageReader:
    if request.param == 'own':
        return ImageReader(None)
    bridge = cv_bridge()
    if bridge is None:
        pytest.skip('this environment has no cv_bridge of ROS 2')
    return ImageReader(bridge)


def message(encoding: str, rows: np.ndarray, padding: int = 0, big_endian: bool = False) -> Image:
    """Make an image from rows (H, bytes) uint8."""
    padded = np.concatenate([rows, np.full((len(rows), padding), 0xEE, np.uint8)], axis=1)
    return Image(encoding=encoding, width=WIDTH, height=HEIGHT, step=padded.shape[1],
                 is_bigendian=int(big_endian), data=array('B', padded.tobytes()))


def smooth() -> np.ndarray:
    """A BGR image without sharp edges, so that subsampled colours survive."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([10 * x + 60, 12 * y + 90, 6 * (x + y) + 80], axis=-1).astype(np.uint8)


@pytest.mark.parametrize('padding', [0, 5])
@pytest.mark.parametrize(('encoding', 'channels'), [
    ('bgr8', [0, 1, 2]), ('rgb8', [2, 1, 0]), ('8UC3', [0, 1, 2]),
    ('bgra8', [0, 1, 2, 0]), ('rgba8', [2, 1, 0, 0])])
def test_colour(reader, encoding, channels, padding):
    rows = smooth()[..., channels].reshape(HEIGHT, -1)
    np.testing.assert_array_equal(reader.read(message(encoding, rows, padding)), smooth())


@pytest.mark.parametrize('padding', [0, 3])
@pytest.mark.parametrize('encoding', ['mono8', '8UC1'])
def test_mono(reader, encoding, padding):
    grey = smooth()[..., 0]
    np.testing.assert_array_equal(reader.read(message(encoding, grey, padding)), grey)


@pytest.mark.parametrize('padding', [0, 2])
@pytest.mark.parametrize('big_endian', [False, True])
@pytest.mark.parametrize('encoding', ['mono16', '16UC1'])
def test_sixteen_bits(reader, encoding, big_endian, padding):
    grey = smooth()[..., 0].astype(np.uint16) * 256 + 17
    rows = grey.astype('>u2' if big_endian else '<u2').view(np.uint8)
    got = reader.read(message(encoding, rows, padding, big_endian))
    assert got.dtype == np.uint8
    np.testing.assert_allclose(got, smooth()[..., 0], atol=1)


@pytest.mark.parametrize('padding', [0, 4])
@pytest.mark.parametrize(('encoding', 'pattern'), [
    ('bayer_rggb8', 'rggb'), ('bayer_bggr8', 'bggr'), ('bayer_gbrg8', 'gbrg'),
    ('bayer_grbg8', 'grbg')])
def test_bayer(reader, encoding, pattern, padding):
    image = np.full((HEIGHT, WIDTH, 3), (200, 120, 40), np.uint8)
    mosaic = np.zeros((HEIGHT, WIDTH), np.uint8)
    for place, colour in enumerate(pattern):
        mosaic[place // 2::2, place % 2::2] = image[0, 0, 'bgr'.index(colour)]
    got = reader.read(message(encoding, mosaic, padding))
    np.testing.assert_allclose(got[2:-2, 2:-2].astype(int), image[2:-2, 2:-2], atol=1)


@pytest.mark.parametrize('padding', [0, 6])
@pytest.mark.parametrize(('encoding', 'order'), [
    ('yuv422', 'uyvy'), ('uyvy', 'uyvy'), ('yuv422_yuy2', 'yuyv'), ('yuyv', 'yuyv')])
def test_yuv(reader, encoding, order, padding):
    y, u, v = 120, 90, 150
    pixel_pair = [{'y': y, 'u': u, 'v': v}[part] for part in order]
    rows = np.tile(np.array(pixel_pair, np.uint8), (HEIGHT, WIDTH // 2))
    got = reader.read(message(encoding, rows, padding))[0, 0]
    scaled = 1.164 * (y - 16)  # ITU-R BT.601
    expected = (scaled + 2.018 * (u - 128), scaled - 0.813 * (v - 128) - 0.391 * (u - 128),
                scaled + 1.596 * (v - 128))
    np.testing.assert_allclose(got, expected, atol=3)


@pytest.mark.parametrize('extension', ['.png', '.jpg'])
def test_compressed(reader, extension):
    _, data = cv2.imencode(extension, smooth())
    got = reader.read(CompressedImage(format=extension[1:], data=array('B', data.tobytes())))
    np.testing.assert_allclose(got.astype(int), smooth(), atol=0 if extension == '.png' else 12)


def broken(**changes: object) -> Image:
    good = message('bgr8', smooth().reshape(HEIGHT, -1))
    for name, value in changes.items():
        setattr(good, name, value)
    return good


def huge(extension: str, width_at: int | None, height_at: int | None) -> bytes:
    """Give a small image's file with 60,000 x 60,000 in its header."""
    data = bytearray(cv2.imencode(extension, smooth())[1].tobytes())
    if width_at is None or height_at is None:  # JPEG: the start of frame, two bytes each
        at = data.index(b'\xff\xc0') + 5
        data[at:at + 4] = 2 * (60_000).to_bytes(2, 'big')
    else:
        for at in (width_at, height_at):
            data[at:at + 4] = (60_000).to_bytes(4, 'big')
    return bytes(data)


def long_chunk() -> bytes:
    """Give a small PNG file whose pixels are declared to take 2 GiB."""
    data = bytearray(cv2.imencode('.png', smooth())[1].tobytes())
    at = data.index(b'IDAT') - 4
    data[at:at + 4] = (2**31 - 1).to_bytes(4, 'big')
    return bytes(data)


#: A PNG file that ends within the second chunk's header, with its length of 1.2 GiB.
TORN_CHUNK = bytes.fromhex('89504e470d0a1a0a0000000d4948445200000010'
                           '0000000c0800000000' '4e8c625d4ca099e8b0e1')

#: A PNG file without IDAT, behind whose end something looks like a chunk of 1 GiB.
NO_PIXELS = (cv2.imencode('.png', smooth())[1].tobytes().replace(b'IDAT', b'IDAX') + b'?' * 40)


@pytest.mark.parametrize(('image', 'words'), [
    (broken(encoding='rgb9'), "'rgb9' is not known"),
    (broken(encoding=''), "'' is not known"),
    (broken(width=0), 'width and height'),
    (broken(height=0), 'width and height'),
    (broken(width=2**32 - 1), 'width and height'),
    (broken(height=2**32 - 1, width=1), 'width and height'),
    (broken(step=23), 'step says 23'),
    (broken(step=2**32 - 1), 'data has'),
    (broken(data=array('B', b'')), 'data has 0'),
    (broken(data=array('B', bytes(143))), 'data has 143'),
    (broken(encoding='yuv422', width=7, step=14, data=array('B', bytes(84))), 'yuv422'),
    (CompressedImage(format='jpeg'), '0 bytes'),
    (CompressedImage(format='jpeg', data=array('B', b'no image')), 'not an image'),
    (CompressedImage(format='png', data=array('B', huge('.png', 16, 20))), '60000 x 60000'),
    (CompressedImage(format='jpeg', data=array('B', huge('.jpg', None, None))), '60000 x 60000'),
    (broken(encoding='nv12', width=7), 'even'),
    (broken(encoding='nv21', height=6, step=24), 'data has'),
    (CompressedImage(format='png', data=array('B', b'\x89PNG\r\n\x1a\n' + bytes(30))), 'PNG'),
    (CompressedImage(format='png', data=array('B', long_chunk())), 'header of a PNG'),
    (CompressedImage(format='png', data=array('B', TORN_CHUNK)), 'header of a PNG'),
    (CompressedImage(format='png', data=array('B', NO_PIXELS)), 'header of a PNG'),
])
def test_malformed_images_are_refused_with_a_reason(reader, image, words):
    with pytest.raises(ImageError, match=words):
        reader.read(image)


@pytest.mark.parametrize('big_endian', [False, True])
@pytest.mark.parametrize('pattern', ['rggb', 'bggr', 'gbrg', 'grbg'])
def test_bayer_of_sixteen_bits_is_that_of_its_high_bytes(reader, pattern, big_endian):
    mosaic = smooth()[..., 0]
    wide = (mosaic.astype(np.uint16) * 256 + 17).astype('>u2' if big_endian else '<u2')
    got = reader.read(message(f'bayer_{pattern}16', wide.view(np.uint8), 2, big_endian))
    np.testing.assert_array_equal(
        got, ImageReader(None).read(message(f'bayer_{pattern}8', mosaic)))


@pytest.mark.parametrize('padding', [0, 4])
@pytest.mark.parametrize(('encoding', 'chroma'), [('nv12', (90, 150)), ('nv21', (150, 90))])
def test_planes_of_luma_and_chroma(reader, encoding, chroma, padding):
    rows = np.concatenate([np.full((HEIGHT, WIDTH), 120, np.uint8),
                           np.tile(np.array(chroma, np.uint8), (HEIGHT // 2, WIDTH // 2))])
    packed = np.tile(np.array([90, 120, 150, 120], np.uint8), (HEIGHT, WIDTH // 2))
    expected = ImageReader(None).read(message('yuv422', packed))
    got = reader.read(message(encoding, rows, padding))
    np.testing.assert_allclose(got.astype(int), expected, atol=2)


def test_compressed_sixteen_bits_become_their_high_bytes(reader):
    _, data = cv2.imencode('.png', smooth().astype(np.uint16) * 256 + 17)
    got = reader.read(CompressedImage(format='png', data=array('B', data.tobytes())))
    np.testing.assert_allclose(got.astype(int), smooth(), atol=1)


@pytest.mark.parametrize('claimed', [2**28, 2**31 - 1, 2**32 - 1])
def test_a_png_chunk_may_not_claim_what_is_not_there(claimed):
    """OpenCV takes that much memory before it finds out (found by the fuzzer)."""
    data = bytearray(cv2.imencode('.png', smooth())[1].tobytes())
    at = data.index(b'IDAT') - 4
    data[at:at + 4] = claimed.to_bytes(4, 'big')
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ImageError, match='broken'):
        ImageReader(None).read(CompressedImage(format='png', data=array('B', bytes(data))))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 100_000


SIZES = st.integers(0, 40) | st.integers(0, 2**32 - 1)


@settings(deadline=None)
@given(st.sampled_from(sorted(ENCODINGS)) | st.text(max_size=8), SIZES, SIZES, SIZES,
       st.integers(0, 1), st.binary(max_size=4096))
def test_any_raw_message_gives_an_image_or_a_reason(encoding, width, height, step, big, data):
    image_or_reason(Image(encoding=encoding, width=width, height=height, step=step,
                          is_bigendian=big, data=array('B', data)))


@settings(deadline=None)
@given(st.sampled_from(['.png', '.jpg']), st.integers(0, 400), st.binary(max_size=40))
def test_any_compressed_message_gives_an_image_or_a_reason(extension, at, change):
    data = bytearray(cv2.imencode(extension, smooth())[1].tobytes())
    data[at:at + len(change)] = change
    image_or_reason(CompressedImage(data=array('B', bytes(data))))


def image_or_reason(image: Image | CompressedImage) -> None:
    """Check that an image comes out, or a reason."""
    try:
        assert ImageReader(None).read(image).dtype == np.uint8
    except ImageError as error:
        assert str(error)
