"""The first picture of a GIF, for the one call that takes GIFs.

Source: GIF89a specification (CompuServe, 1990), sections 17 to 27. The file is cut after its first picture before a
decoder sees it: a few bytes may ask for a whole canvas, and a small file may hold hundreds of thousands of pictures.
"""

from __future__ import annotations

import io
import struct

import av
import cv2
import numpy as np

from service.errors import PictureUnreadable
from service.images import ffmpeg
from service.images.headers import HeaderError

_MAGIC = (b"GIF87a", b"GIF89a")
_SCREEN_END = 13
_EXTENSION, _PICTURE, _TRAILER = 0x21, 0x2C, 0x3B
_HAS_TABLE, _TABLE_SIZE = 0x80, 0x07

ffmpeg.restrain()


def is_gif(data: bytes) -> bool:
    """Whether the bytes begin as a GIF."""
    return data.startswith(_MAGIC)


def screen_size(data: bytes) -> tuple[int, int]:
    """Width and height of the canvas. Raises :class:`HeaderError`."""
    try:
        width, height = struct.unpack_from("<HH", data, 6)
    except struct.error:
        raise HeaderError("the header is cut off") from None
    if not width or not height:
        raise HeaderError("the picture has no pixels")
    return width, height


def first_picture(data: bytes) -> bytes:
    """The first picture of a GIF on its canvas, as a PNG file, with transparency where nothing was drawn.

    The caller has looked at :func:`screen_size`. Raises :class:`PictureUnreadable` for damage, and for more pixels than
    ``ffmpeg.MOST_BYTES_AT_ONCE`` holds.
    """
    try:
        single = _cut(data)
    except IndexError:
        raise PictureUnreadable("the GIF is cut off") from None
    try:
        with av.open(io.BytesIO(single), format="gif") as container:
            frame = next(container.decode(video=0))
            pixels = frame.to_ndarray(format="bgra")
    except (av.FFmpegError, StopIteration, ValueError, IndexError, MemoryError):
        raise PictureUnreadable("the GIF is damaged") from None
    # As a PNG it goes through the one decoder that everything else goes through.
    encoded, content = cv2.imencode(".png", np.asarray(pixels, dtype=np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    if not encoded:
        raise PictureUnreadable("the GIF cannot be converted")
    return content.tobytes()


def _cut(data: bytes) -> bytes:
    """The file up to the end of its first picture. Raises ``IndexError`` where it ends before that."""
    place = _SCREEN_END + _table_bytes(data[10])
    while data[place] == _EXTENSION:
        place = _after_blocks(data, place + 2)
    if data[place] != _PICTURE:
        raise PictureUnreadable("the GIF has no picture")
    left, top, width, height = struct.unpack_from("<HHHH", data[: place + 9].ljust(place + 9), place + 1)
    canvas_width, canvas_height = screen_size(data)
    if left + width > canvas_width or top + height > canvas_height:
        raise PictureUnreadable("the GIF's picture is larger than its canvas")
    place += 10 + _table_bytes(data[place + 9])
    return data[: _after_blocks(data, place + 1)] + bytes([_TRAILER])


def _table_bytes(flags: int) -> int:
    """Size of the colour table that follows a descriptor with these flags."""
    return 3 << (flags & _TABLE_SIZE) + 1 if flags & _HAS_TABLE else 0


def _after_blocks(data: bytes, place: int) -> int:
    """Where a chain of sub-blocks ends; each begins with its length, the last has none."""
    while data[place]:
        place += data[place] + 1
    return place + 1
