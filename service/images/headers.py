"""Reads a picture's header before anything is decoded: format, size, orientation, whether the file is complete.

These are small readers of our own, because a decoder that is asked for the size of a hostile file already parses it.
Sources: JPEG ITU-T T.81 annex B, PNG (W3C, 2003) section 5 and 11.3, Windows BMP file header, RIFF/WebP container
specification, TIFF 6.0 section 2, Exif 2.32 section 4.
"""

from __future__ import annotations

import enum
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

UPRIGHT = 1


class Format(str, enum.Enum):
    """The formats that are read."""

    JPEG = "JPEG"
    PNG = "PNG"
    BMP = "BMP"
    WEBP = "WebP"
    TIFF = "TIFF"


class HeaderError(ValueError):
    """The bytes are not what they begin as."""


@dataclass(frozen=True, slots=True)
class Header:
    """Size in stored pixels, ``orientation``, the EXIF tag 1..8 (1 = upright), and ``components`` of a JPEG, else 0.

    ``negative``: 0 is white. ``opaque``: a fourth channel is not opacity. ``multiplied``: colours are multiplied by the
    opacity already. The decoded pixels alone show none of these three.
    """

    format: Format
    width: int
    height: int
    orientation: int = UPRIGHT
    components: int = 0
    negative: bool = False
    opaque: bool = False
    multiplied: bool = False


def read_header(data: bytes) -> Header:
    """Header of ``data``; raises :class:`HeaderError` when it is damaged or of a format that is not read."""
    for magic, reader in _READERS:
        if data.startswith(magic):
            try:
                header = reader(data)
            except (struct.error, IndexError):
                raise HeaderError("the header is cut off") from None
            if header.width < 1 or header.height < 1:
                raise HeaderError("the picture has no pixels")
            return header
    raise HeaderError("not a JPEG, PNG, BMP, WebP or TIFF")


# --- JPEG -----------------------------------------------------------------------------------------------------------

_STANDALONE = frozenset([0x01, *range(0xD0, 0xD8)])
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_MARKER, _NONE, _START, _END, _SCAN, _APP1 = 0xFF, 0x00, 0xD8, 0xD9, 0xDA, 0xE1

JPEG_END = bytes((_MARKER, _END))

# Bytes in which the end is looked for first: to look through 10 MB takes 3 to 16 ms (by hand).
_NEAR_THE_END = 1024

# Progressive files have some ten scans. Each may be a few bytes long and costs a walk over all pixels.
_MOST_SCANS = 100

# A large picture has fewer, but always so many: 100 scans of 64 million pixels took 9 s.
_MOST_SCANNED_PIXELS = 2_000_000_000
_SCANS_OF_ANY = 20

# Components of one scan.
_MOST_SCANNED = 4

# Cameras write some twenty before the first scan, and a large profile takes 255. Each costs some microseconds.
_MOST_SEGMENTS = 2_000


def _read_jpeg(data: bytes) -> Header:
    scans = _scans(data)
    if scans > _MOST_SCANS:
        raise HeaderError("the JPEG has too many scans")
    orientation = UPRIGHT
    for marker, start, end in _jpeg_segments(data):
        if marker == _APP1 and data[start : start + 6] == b"Exif\0\0":
            orientation = _exif_orientation(data[start + 6 : end])
        elif marker in _FRAMES:
            height, width, components = struct.unpack_from(">HHB", data, start + 1)
            if scans > _SCANS_OF_ANY and scans * height * width > _MOST_SCANNED_PIXELS:
                raise HeaderError("the JPEG has too many scans for its size")
            return Header(Format.JPEG, width, height, orientation, components)
    raise HeaderError("the JPEG has no frame")


def jpeg_ends(data: bytes) -> bool:
    """Whether a JPEG that :func:`read_header` has accepted has an end marker behind its first scan.

    Compressed data cannot contain the marker. Data behind a picture (phones put videos there) may, by chance.
    """
    if JPEG_END in data[-_NEAR_THE_END:]:
        return True
    place = 2
    try:
        for _, _, end in _jpeg_segments(data):
            place = end
    except (HeaderError, struct.error, IndexError):  # it is cut off before its first scan
        return False
    return data.rfind(JPEG_END, place) >= 0


def _scans(data: bytes) -> int:
    """Upper bound for the number of scans. Compressed data cannot contain their marker.

    Data behind the picture counts, too, since decoders disagree about where a picture ends. There (phones put whole
    videos there) the two bytes of the marker occur by chance, once in 65,536 bytes. So a scan counts only if its header
    has a length that fits its components; libjpeg gives up at any other. ``bytes.count`` would take longer and block
    all other threads.
    """
    codes = np.frombuffer(data, np.uint8)
    places = np.flatnonzero((codes[1:-3] == _SCAN) & (codes[:-4] == _MARKER))
    high, low, components = (codes[places + offset] for offset in (2, 3, 4))
    # No components are a scan too, of a progressive picture.
    return int(np.count_nonzero((high == 0) & (components <= _MOST_SCANNED) & (low == 6 + 2 * components)))


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of the segments before the first scan.

    Where one begins is found as libjpeg finds it, ``FF 00`` passed over among other bytes between two of them: else
    what is read here and what is decoded could be two pictures.
    """
    place = 2
    for _ in range(_MOST_SEGMENTS):
        place = data.find(_MARKER, place)
        if place < 0:
            raise HeaderError("the JPEG has no frame")
        while data[place] == _MARKER:
            place += 1
        marker = data[place]
        place += 1
        if marker == _NONE or marker in _STANDALONE:
            continue
        if marker in (_START, _END):
            raise HeaderError("a JPEG that ends, or begins again, before its frame")
        if marker == _SCAN:
            return
        (length,) = struct.unpack_from(">H", data, place)
        if length < 2:
            raise HeaderError("a JPEG segment has no length")
        yield marker, place + 2, place + length
        place += length
    raise HeaderError("the JPEG has too many segments")


# --- PNG ------------------------------------------------------------------------------------------------------------

# In pieces of 8 KiB, as encoders write them, that is more than a request may bring. Each costs some microseconds.
_MOST_CHUNKS = 20_000

_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_CHUNK_FRAME = 12
_PNG_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_IHDR_BYTES = 13

# Bit 5 of a type's first byte says that a decoder may pass the chunk over.
_ANCILLARY = 0x20


def png_pixels(data: bytes) -> memoryview:
    """The PNG without what says nothing of its pixels: animation, text, profiles, and whatever stands behind its end.

    The decoder has crashed on animations and unpacks every compressed text; no other chunk changes what it makes of a
    PNG (``tests/unit/images/test_png.py``). ``data`` is one that :func:`read_header` has accepted. A view of it where
    such chunks stand behind the others or nowhere, else a copy of what is left.
    """
    whole = memoryview(data)
    parts: list[memoryview] = []
    begin, end = 0, len(_PNG_MAGIC)  # of the part that grows
    for kind, start, stop in _png_chunks(data):
        if kind in _PNG_PIXELS:
            if start != end:
                parts.append(whole[begin:end])
                begin = start
            end = stop
        if kind == b"IEND":
            break
    return memoryview(b"".join([*parts, whole[begin:end]])) if parts else whole[begin:end]


def _read_png(data: bytes) -> Header:
    width = height = 0
    orientation = UPRIGHT
    for kind, start, stop in _png_chunks(data):
        # libpng would complain about a wrong checksum on stderr.
        if zlib.crc32(memoryview(data)[start + 4 : stop - 4]) != struct.unpack_from(">I", data, stop - 4)[0]:
            raise HeaderError("a PNG chunk is damaged")
        if kind not in _PNG_PIXELS and not kind[0] & _ANCILLARY:
            raise HeaderError("a PNG chunk of a kind that is not read")
        if kind == b"IHDR":
            if start != len(_PNG_MAGIC) or stop - start != _CHUNK_FRAME + _IHDR_BYTES:
                raise HeaderError("a PNG with two headers, or a wrong one")
            width, height = struct.unpack_from(">II", data, start + 8)
        elif kind == b"eXIf":
            orientation = _exif_orientation(data[start + 8 : stop - 4])
        elif kind == b"IEND":
            return Header(Format.PNG, width, height, orientation)
    raise HeaderError("the PNG is cut off")


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of every chunk, its length, type and checksum included."""
    place = len(_PNG_MAGIC)
    for _ in range(_MOST_CHUNKS):
        if place + _CHUNK_FRAME > len(data):
            return
        (length,) = struct.unpack_from(">I", data, place)
        end = place + _CHUNK_FRAME + length
        if end > len(data):
            raise HeaderError("a PNG chunk is cut off")
        yield data[place + 4 : place + 8], place, end
        place = end
    raise HeaderError("the PNG has too many chunks")


# --- BMP ------------------------------------------------------------------------------------------------------------

_OS2_HEADER = 12


def _read_bmp(data: bytes) -> Header:
    (size,) = struct.unpack_from("<I", data, 14)
    if size == _OS2_HEADER:
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    # A negative height says that the rows run downwards.
    # Many programs write the fourth byte as zero without meaning "invisible".
    return Header(Format.BMP, width, abs(height), opaque=True)


# --- WebP -----------------------------------------------------------------------------------------------------------


def _read_webp(data: bytes) -> Header:
    if data[8:12] != b"WEBP":
        raise HeaderError("a RIFF file that is no WebP")
    chunks = _riff_chunks(data)
    # A decoder that finds no such chunk here takes the bytes for a bare picture, whatever chunks they hold.
    size = _webp_size(*next(chunks, (b"", b"")))
    if size is None:
        raise HeaderError("the WebP does not begin with its picture")
    orientation = UPRIGHT
    for kind, content in chunks:
        if kind == b"EXIF":
            orientation = _exif_orientation(content.removeprefix(b"Exif\0\0"))
    return Header(Format.WEBP, *size, orientation)


def _webp_size(kind: bytes, content: bytes) -> tuple[int, int] | None:
    if kind == b"VP8X":
        return 1 + int.from_bytes(content[4:7], "little"), 1 + int.from_bytes(content[7:10], "little")
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", content, 1)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", content, 6)
        return width & 0x3FFF, height & 0x3FFF
    return None


def _riff_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    place = 12
    for _ in range(_MOST_CHUNKS):
        if place + 8 > len(data):
            return
        (length,) = struct.unpack_from("<I", data, place + 4)
        yield data[place : place + 4], data[place + 8 : place + 8 + length]
        place += 8 + length + length % 2
    raise HeaderError("the WebP has too many chunks")


# --- TIFF and EXIF, which is a TIFF inside ---------------------------------------------------------------------------

_WIDTH, _LENGTH, _BITS, _ORIENTATION, _TILE_WIDTH, _TILE_LENGTH = 256, 257, 258, 274, 322, 323
_PHOTOMETRIC, _SAMPLES, _PLANES, _EXTRA = 262, 277, 284, 338
_SIZES = frozenset({_WIDTH, _LENGTH, _BITS, _TILE_WIDTH, _TILE_LENGTH})
_SHORT, _LONG = 3, 4
_MOST_ENTRIES = 1000
_MOST_BITS = 16

# More bits than these the decoder hands over as they are stored; of fewer it makes what they mean.
_INTERPRETED_BITS = 8
_ZERO_IS_WHITE = 0
_TOGETHER = 1
_UNSPECIFIED, _MULTIPLIED, _OPACITY = 0, 1, 2


def _read_tiff(data: bytes) -> Header:
    tags = _tiff_tags(data)
    bits, samples, extra = tags.get(_BITS, 1), tags.get(_SAMPLES, 1), tags.get(_EXTRA)
    if bits > _MOST_BITS:  # nobody could tell their range, and they take eight times the memory
        raise HeaderError(f"samples of {bits} bits are not read")
    deep = bits > _INTERPRETED_BITS
    if deep and samples > 1 and tags.get(_PLANES, _TOGETHER) != _TOGETHER:
        raise HeaderError(f"a TIFF of samples of {bits} bits in planes of their own is not read")
    if samples == 2 and extra in (_MULTIPLIED, _OPACITY):  # the decoder leaves it out
        raise HeaderError("a gray TIFF with opacity is not read")
    # Decoders allocate a whole tile even where it is larger than the picture.
    width = max(tags.get(_WIDTH, 0), tags.get(_TILE_WIDTH, 0))
    height = max(tags.get(_LENGTH, 0), tags.get(_TILE_LENGTH, 0))
    return Header(
        Format.TIFF,
        width,
        height,
        _valid_orientation(tags.get(_ORIENTATION, UPRIGHT)),
        negative=deep and tags.get(_PHOTOMETRIC) == _ZERO_IS_WHITE,
        opaque=extra == _UNSPECIFIED,
        multiplied=not deep or extra == _MULTIPLIED,
    )


def _tiff_tags(data: bytes) -> dict[int, int]:
    """First value of every SHORT or LONG tag of the first directory.

    A decoder may believe the first of two entries, or read types that are not read here: a size is told once and
    plainly, or it is a lie.
    """
    order = _byte_order(data)
    tags: dict[int, int] = {}
    for tag, kind, number, entry in _tiff_entries(data):
        if tag in _SIZES and (tag in tags or kind not in (_SHORT, _LONG) or (number != 1 and tag != _BITS)):
            raise HeaderError("the TIFF does not tell its size plainly")
        if kind not in (_SHORT, _LONG):
            continue
        value = entry + 8
        if number * (2 if kind == _SHORT else 4) > 4:  # it lies elsewhere
            (value,) = struct.unpack_from(order + "I", data, value)
        if tag in _SIZES or value == entry + 8:
            (tags[tag],) = struct.unpack_from(order + ("H" if kind == _SHORT else "I"), data, value)
    return tags


def _tiff_entries(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(tag, type, number of values, place of the entry) of the first directory."""
    order = _byte_order(data)
    (place,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, place)
    if count > _MOST_ENTRIES:
        raise HeaderError("the TIFF has too many tags")
    for entry in range(place + 2, place + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", data, entry)
        yield tag, kind, number, entry


def _byte_order(data: bytes) -> str:
    return "<" if data[:2] == b"II" else ">"


def _exif_orientation(block: bytes) -> int:
    """Orientation in an EXIF block; a block that cannot be read so far says nothing.

    What its other tags are like does not matter: no decoder goes by the sizes that they tell.
    """
    if block[:4] not in (b"II*\0", b"MM\0*"):
        return UPRIGHT
    try:
        for tag, kind, _, entry in _tiff_entries(block):
            if tag == _ORIENTATION and kind in (_SHORT, _LONG):
                layout = _byte_order(block) + ("H" if kind == _SHORT else "I")
                return _valid_orientation(*struct.unpack_from(layout, block, entry + 8))
    except (struct.error, HeaderError):
        pass
    return UPRIGHT


def _valid_orientation(value: int) -> int:
    return value if 1 <= value <= 8 else UPRIGHT


_READERS: tuple[tuple[bytes, Callable[[bytes], Header]], ...] = (
    (b"\xff\xd8\xff", _read_jpeg),
    (_PNG_MAGIC, _read_png),
    (b"BM", _read_bmp),
    (b"RIFF", _read_webp),
    (b"II*\0", _read_tiff),
    (b"MM\0*", _read_tiff),
)
