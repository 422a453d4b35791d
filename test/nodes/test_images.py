"""Every encoding, with padded rows, through our own conversion and through cv_bridge."""

from array import array

import cv2
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs a ROS 2 environment')

from sensor_msgs.msg import CompressedImage, Image

from instantft_ros.core.errors import ImageError
from instantft_ros.nodes.images import cv_bridge, ImageReader

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
    (CompressedImage(format='png', data=array('B', b'\x89PNG\r\n\x1a\n' + bytes(30))), 'png'),
])
def test_malformed_images_are_refused_with_a_reason(reader, image, words):
    with pytest.raises(ImageError, match=words):
        reader.read(image)
