"""Bytes of a picture file to pixels: the one place where untrusted bytes meet a decoder."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from service.errors import PictureUnreadable, ServiceUnavailable
from service.images.headers import JPEG_END, UPRIGHT, Format, Header, HeaderError, jpeg_ends, png_pixels, read_header
from service.metrics import measured
from service.once import once
from service.values import Image

LEAST_SKETCH = 1280
"""Pixels of a sketch's longer side: a face of an eighth of it is still as large as any network looks at."""

_NO_MEMORY = "no memory is left for a picture"
_WITHOUT_MEMORY = f"({cv2.Error.StsNoMem}:"

_JPEG_BLOCK = 8
_COLOURS = 3

# How bright, to one step, what libjpeg fills in for blocks that never came comes out, of one and three components and
# of four (CMYK). Not its colour: that of a block's border is mixed with its neighbour's.
_FILLER, _FILLER_OF_FOUR = 128, 65

# Rows that are laid on white at a time.
_BAND = 64

_REDUCED = {
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}

# OpenCV would report every damaged upload on stderr; the caller is told by an exception instead.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def decode_picture(data: bytes, pixel_limit: int) -> Image:
    """The upright picture in ``data``, ``(height, width, 3)`` uint8 BGR.

    Formats, told by their first bytes: JPEG (also CMYK, progressive), PNG, BMP, WebP, TIFF (first page). 16-bit samples
    are cut to 8, gray becomes three equal planes, transparency is laid on white, EXIF orientation is applied once.
    Raises :class:`PictureUnreadable` for other formats, damage, and more than ``pixel_limit`` pixels; the last is
    known from the header, nothing is decoded then.
    """
    return Picture(data, pixel_limit).full


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """A picture at a part of its size: ``image`` as ``decode_picture`` gives it, each side ``factor`` times shorter."""

    image: Image
    factor: int


class Picture:
    """A picture file of which only as much is decoded as is asked for. Raises what ``decode_picture`` raises."""

    def __init__(self, data: bytes, pixel_limit: int) -> None:
        """Reads the header alone."""
        try:
            self._header = header = read_header(data)
        except HeaderError as error:
            raise PictureUnreadable(str(error)) from None
        if header.width * header.height > pixel_limit:
            raise PictureUnreadable(f"{header.width}x{header.height} pixels are more than {pixel_limit}")
        self._data = data

    @once
    def full(self) -> Image:
        """Every pixel."""
        header = self._header
        # UNCHANGED keeps depth and transparency and, alone among the flags, leaves orientation to us.
        pixels = _decode(self._data, header, cv2.IMREAD_UNCHANGED)
        pixels = _eight_bits(pixels)  # under the same name: deeper ones are let go at once
        if header.negative:
            np.invert(pixels, out=pixels)
        colour = _three_channels(pixels, header)
        # OpenCV turns TIFF pictures itself, whatever the flags.
        orientation = UPRIGHT if header.format is Format.TIFF else header.orientation
        return np.ascontiguousarray(turn_upright(colour, orientation))

    @once
    def sketch(self) -> Sketch | None:
        """A large JPEG by a half, a quarter or an eighth, its longer side not below ``LEAST_SKETCH`` pixels.

        libjpeg computes it from the low frequencies of each block, which takes a third of the time of the full
        picture. ``None`` for other formats and for pictures that are not large.
        """
        header = self._header
        factors = [factor for factor in _REDUCED if _reducible(header, factor)]
        if not factors:
            return None
        factor = max(factors)
        pixels = _decode(self._data, header, _REDUCED[factor] | cv2.IMREAD_IGNORE_ORIENTATION, factor)
        colour = _three_channels(_eight_bits(pixels), header)
        return Sketch(np.ascontiguousarray(turn_upright(colour, header.orientation)), factor)


def _reducible(header: Header, factor: int) -> bool:
    if header.format is not Format.JPEG or max(header.width, header.height) < factor * LEAST_SKETCH:
        return False
    # Where turning moves the last, incomplete row or column to the front, nothing would lie where it should.
    return header.orientation == UPRIGHT or (header.width % factor == 0 and header.height % factor == 0)


def turn_upright(pixels: Image, orientation: int) -> Image:
    """``pixels`` with the EXIF ``orientation`` (1..8, EXIF 2.32 table 4.6.4) undone."""
    if orientation >= 5:
        # Values 5 to 8 say where the stored rows and columns go: swap them, then they are 1, 4, 2 and 3 again.
        pixels, orientation = pixels.transpose(1, 0, 2), {5: 1, 6: 2, 7: 3, 8: 4}[orientation]
    return {1: pixels, 2: pixels[:, ::-1], 3: pixels[::-1, ::-1], 4: pixels[::-1]}[orientation]


@measured("decode")
def _decode(data: bytes, header: Header, flags: int, factor: int = 1) -> NDArray[np.generic]:
    """Pixels as stored, of the depth and the channels that ``flags`` leave, each side ``factor`` times shorter."""
    jpeg = header.format is Format.JPEG
    cut_off = jpeg and not jpeg_ends(data)
    if header.components == _COLOURS and not cut_off:
        flawless = _flawless_jpeg(data, header, factor)
        if flawless is not None:
            return flawless
    if jpeg and _size_by_libjpeg(data) not in (None, (header.height, header.width)):
        raise PictureUnreadable("the JPEG tells two sizes")
    pixels = _imdecode(_for_opencv(data, header, cut_off=cut_off), flags)
    if pixels is None:
        raise PictureUnreadable(f"the {header.format.value} is damaged")
    # A TIFF comes turned, and its header tells the size of its tiles where that is larger.
    if header.format is not Format.TIFF and pixels.shape[:2] != _reduced_size(header, factor):
        raise PictureUnreadable(f"the {header.format.value} tells two sizes")
    if cut_off and _ends_in_filler(pixels, header, _JPEG_BLOCK // factor):
        raise PictureUnreadable("the JPEG is cut off")
    return pixels


def _ends_in_filler(pixels: NDArray[np.generic], header: Header, block: int) -> bool:
    """Whether the last block of a JPEG is missing; ``block`` is its side in pixels.

    Where the picture ends less than eight pixels into its last block, the block before it must be missing, too: of a
    block at the corner a single pixel may be visible, and one in a hundred pixels has the filler's gray by chance.
    """
    rows, columns = pixels.shape[:2]
    left = max(0, min((columns - 1) // block * block, columns - _JPEG_BLOCK))
    last = _three_channels(_eight_bits(pixels[(rows - 1) // block * block :, left:]), header)
    filler = _FILLER if header.components <= _COLOURS else _FILLER_OF_FOUR
    return bool(np.all(np.abs(cv2.cvtColor(last, cv2.COLOR_BGR2GRAY).astype(int) - filler) <= 1))


def _flawless_jpeg(data: bytes, header: Header, factor: int) -> Image | None:
    """Decode a JPEG in colour exactly as OpenCV would, but faster: in one pass, straight into the result.

    ``None`` where anything about the file is unusual; OpenCV then decides what to make of it.
    """
    height, width = _reduced_size(header, factor)
    try:
        # What is larger than its header told does not fit, and is not decoded.
        image = _room((height, width, _COLOURS))
        # Strict, for otherwise it returns, after some errors, what lay in the memory that it was given.
        found = simplejpeg.decode_jpeg(data, "BGR", min_height=height, min_width=width, buffer=image, strict=True)
    except (ValueError, RuntimeError, MemoryError):
        return None
    return image if found.shape == image.shape else None


def _reduced_size(header: Header, factor: int) -> tuple[int, int]:
    """Height and width of a picture ``factor`` times smaller."""
    return -(-header.height // factor), -(-header.width // factor)


def _size_by_libjpeg(data: bytes) -> tuple[int, int] | None:
    """Height and width that libjpeg reads in a JPEG, nothing decoded; ``None`` where the header is too odd for it."""
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data, strict=False)
    except (ValueError, RuntimeError, KeyError, MemoryError):  # KeyError: a rare sampling of colours has no name
        return None
    return int(height), int(width)


def _for_opencv(data: bytes, header: Header, *, cut_off: bool) -> bytes | memoryview:
    """The file as OpenCV gets it."""
    if header.format is Format.PNG:
        return png_pixels(data)
    # libjpeg stops at a missing end marker. Given one, it completes a picture of which only the marker was lost.
    return data + JPEG_END if cut_off else data


def _imdecode(data: bytes | memoryview, flags: int) -> NDArray[np.generic] | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except MemoryError:
        raise ServiceUnavailable(_NO_MEMORY) from None
    except cv2.error as error:
        if _WITHOUT_MEMORY in str(error):  # its code belongs to the class, and may be another thread's error's
            raise ServiceUnavailable(_NO_MEMORY) from None
        return None


def _room(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Memory for pixels, no more than a picture may have. Raises ``ServiceUnavailable`` where there is none."""
    try:
        return np.empty(shape, np.uint8)
    except MemoryError:
        raise ServiceUnavailable(_NO_MEMORY) from None


def _eight_bits(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    if pixels.dtype == np.uint16:
        high = np.empty(pixels.shape, np.uint8)
        np.right_shift(pixels.astype(np.uint16, copy=False), 8, out=high, casting="unsafe")
        return high
    # Samples of 32 bits and floating point have no range that could be known.
    raise PictureUnreadable(f"samples of type {pixels.dtype} are not supported")


def _three_channels(pixels: NDArray[np.uint8], header: Header) -> Image:
    """Three channels of one, three or four; a fourth is opacity over white, unless the header says otherwise."""
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    if pixels.shape[2] not in (3, 4):
        raise PictureUnreadable(f"{pixels.shape[2]} channels are not supported")
    colour, opacity = pixels[..., :3], pixels[..., 3:]
    if header.opaque or pixels.shape[2] == 3 or bool(np.all(opacity == 255)):
        return colour
    result = np.empty(colour.shape, np.uint8)
    for top in range(0, len(colour), _BAND):
        rows = slice(top, top + _BAND)
        result[rows] = _on_white(colour[rows], opacity[rows], multiplied=header.multiplied)
    return result


def _on_white(colour: NDArray[np.uint8], opacity: NDArray[np.uint8], *, multiplied: bool) -> NDArray[np.uint8]:
    """Takes eight times the memory of what it is given; ``multiplied``: colours are products with the opacity."""
    white = 255 - opacity.astype(np.uint16)
    if multiplied:
        return np.asarray(np.minimum(colour + white, 255), dtype=np.uint8)
    return np.asarray((colour.astype(np.uint16) * opacity + white * 255 + 127) // 255, dtype=np.uint8)
