"""Counts the pieces (slices, scans, units) of a video packet before it is decoded.

A decoder cannot be stopped within a packet, and each piece may make it go through the whole frame: an H.264 slice of 13
bytes that repeats another one takes half a millisecond, and half a million of them fit into a small file. Sources:
JPEG ITU-T T.81 annex B, H.264 annex B and ISO 14496-15 (5.3.4) for what lengths stand before, AV1 5.3 for its units.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

MOST_PIECES = 500
"""Encoders make a piece of each row of blocks at most, 120 of the largest frame, and some more that say how to read."""

_LENGTH_SIZES = (1, 2, 3, 4)
_JPEG_PIECES = np.array([marker in {0xD8, 0xDA, *range(0xC0, 0xD0)} - {0xC4, 0xCC} for marker in range(256)])


def too_many_pieces(codec: str, packet: bytes | memoryview) -> bool:
    """Whether a packet of the codec, FFmpeg's name, may hold more than ``MOST_PIECES``."""
    return codec in _COUNTERS and _COUNTERS[codec](memoryview(packet)) > MOST_PIECES


def _of_jpeg(packet: memoryview) -> int:
    """Beginnings, frames and scans. Compressed data holds none of their markers."""
    codes = np.frombuffer(packet, np.uint8)
    return int(np.count_nonzero(_JPEG_PIECES[codes[1:]] & (codes[:-1] == 0xFF)))


def _of_h26x(packet: memoryview) -> int:
    """Units behind start codes and units behind lengths: a decoder may meet both in one packet.

    How long a length is, the container tells, and may tell anew within the stream: whichever gives the most counts.
    In a packet that is not meant so the first or second length leads nowhere.
    """
    codes = np.frombuffer(packet, np.uint8)
    return _start_codes(codes) + max(_count(_by_length(packet, size)) for size in _LENGTH_SIZES)


def _start_codes(codes: NDArray[np.uint8]) -> int:
    return int(np.count_nonzero((codes[2:] == 1) & (codes[1:-1] == 0) & (codes[:-2] == 0)))


def _by_length(packet: memoryview, size: int) -> Iterator[int]:
    place = 0
    while place + size < len(packet):
        length = int.from_bytes(packet[place : place + size], "big")
        if not length:
            return
        yield place
        place += size + length


def _of_av1(packet: memoryview) -> int:
    return _count(_open_bitstream_units(packet))


def _open_bitstream_units(packet: memoryview) -> Iterator[int]:
    place = 0
    while place < len(packet):
        yield place
        header = packet[place]
        place += 2 if header & 0x04 else 1
        if not header & 0x02:  # without a size, it is the last
            return
        size = shift = 0
        for code in packet[place : place + 8]:
            place += 1
            size |= (code & 0x7F) << shift
            shift += 7
            if code < 0x80:
                break
        place += size


def _count(places: Iterator[int]) -> int:
    """How many there are, up to one too many."""
    return sum(1 for _, _ in zip(range(MOST_PIECES + 1), places, strict=False))


_COUNTERS: dict[str, Callable[[memoryview], int]] = {
    "mjpeg": _of_jpeg,
    "h264": _of_h26x,
    "hevc": _of_h26x,
    "av1": _of_av1,
    "libdav1d": _of_av1,
}
