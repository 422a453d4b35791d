"""The size that a JPEG or PNG declares, read before any memory is taken for its pixels."""

from __future__ import annotations

from instantft_ros.core.errors import ImageError

#: No compressed image may declare more pixels: 64 megapixels, 192 MiB as BGR.
MAX_PIXELS = 64 * 2**20

PNG_SIGNATURE = b'\x89PNG\r\n\x1a\n'
JPEG_SIGNATURE = b'\xff\xd8'
#: Markers that start a frame (ITU-T T.81, table B.1), and those that no length follows.
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
JPEG_SCAN, JPEG_END = 0xDA, 0xD9


def check_size(data: bytes) -> None:
    """Raise `ImageError` unless `data` begins as a JPEG or PNG image of a bearable size."""
    if data.startswith(PNG_SIGNATURE):
        kind, size = 'PNG', _png_size(data)
    elif data.startswith(JPEG_SIGNATURE):
        kind, size = 'JPEG', _jpeg_size(data)
    else:
        raise ImageError(f'{len(data)} bytes are not an image of a known format, known are JPEG '
                         'and PNG')
    if size is None:
        raise ImageError(f'the header of a {kind} image of {len(data)} bytes is broken')
    width, height = size
    if not (width and height) or width * height > MAX_PIXELS:
        raise ImageError(f'a {kind} image declares {width} x {height} pixels, allowed are 1 '
                         f'to {MAX_PIXELS}')


def _png_size(data: bytes) -> tuple[int, int] | None:
    """Read IHDR, once all chunks have been found whole: OpenCV believes their lengths."""
    if len(data) < 24 or data[12:16] != b'IHDR':
        return None
    at, kind, pixels = len(PNG_SIGNATURE), b'', False
    while at < len(data):
        kind = data[at + 4:at + 8]
        pixels |= kind == b'IDAT'
        at += 12 + int.from_bytes(data[at:at + 4], 'big')  # length, type, content, checksum
        if at > len(data):
            return None
    if not pixels or kind != b'IEND':  # OpenCV would look for pixels behind the end
        return None
    return int.from_bytes(data[16:20], 'big'), int.from_bytes(data[20:24], 'big')


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = len(JPEG_SIGNATURE)
    while (at := data.find(b'\xff', at)) >= 0:
        while at < len(data) and data[at] == 0xFF:  # any number of fill bytes
            at += 1
        if at + 3 > len(data):
            return None
        marker, at = data[at], at + 1
        if marker == 0 or marker in JPEG_BARE:
            continue
        if marker in (JPEG_SCAN, JPEG_END):
            return None
        if marker in JPEG_FRAMES:
            if at + 7 > len(data):
                return None
            return (int.from_bytes(data[at + 5:at + 7], 'big'),
                    int.from_bytes(data[at + 3:at + 5], 'big'))
        at += max(2, int.from_bytes(data[at:at + 2], 'big'))
    return None
