"""Of a PNG the decoder sees what makes its pixels and nothing else: no animation, no compressed text, no profile."""

from __future__ import annotations

import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence

import cv2
import numpy as np
import pytest

from service.errors import PictureUnreadable
from service.images.headers import HeaderError, png_pixels, read_header
from tests.fixtures.formats import decode_picture, png_chunk, png_file, png_header
from tests.fixtures.places import ROOT

SIDE, PART = 64, 32
Chunk = tuple[bytes, bytes]


def rows(side: int, filter_type: int = 0) -> bytes:
    """Compressed rows of one colour, each behind its filter's number; only 0 to 4 exist."""
    return zlib.compress((bytes([filter_type]) + bytes([60, 90, 200]) * side) * side)


def frame_control(number: int, side: int, offset: int) -> bytes:
    return struct.pack(">IIIIIHHBB", number, side, side, offset, offset, 1, 10, 1, 1)


HEADER = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, 0)
TWO_FRAMES = (b"acTL", struct.pack(">II", 2, 0))


def frame(first_number: int, filter_type: int = 0) -> list[Chunk]:
    """A later frame of an animation: where it stands, and its rows."""
    content = struct.pack(">I", first_number + 1) + rows(PART, filter_type)
    return [(b"fcTL", frame_control(first_number, PART, 8)), (b"fdAT", content)]


def animation(filter_type: int = 0) -> list[Chunk]:
    """Two frames; the picture that other readers see is none of them, but stands in front."""
    return [(b"IHDR", HEADER), TWO_FRAMES, (b"IDAT", rows(SIDE)), *frame(1, filter_type)]


def shown_first() -> list[Chunk]:
    """Two frames, of which the picture that other readers see is the first."""
    control = (b"fcTL", frame_control(0, SIDE, 0))
    return [(b"IHDR", HEADER), TWO_FRAMES, control, (b"IDAT", rows(SIDE)), *frame(1)]


def file_of(chunks: Sequence[Chunk]) -> bytes:
    return png_file(*[png_chunk(kind, content) for kind, content in chunks])


_DECODE = """
import sys
from service.errors import PictureUnreadable
from service.images.decode import decode_picture

def most_memory():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM:")]
    return int(line.split()[1])

before, decoded = most_memory(), 0
for line in sys.stdin:
    try:
        decode_picture(bytes.fromhex(line), 1_000_000)
        decoded += 1
    except PictureUnreadable:
        pass
print(decoded, most_memory() - before)
"""


def decoded_elsewhere(pictures: Sequence[bytes]) -> tuple[int, int]:
    """How many of them a process of its own decodes, and by how many KiB it grows; fails where it crashes."""
    lines = "\n".join(picture.hex() for picture in pictures)
    command = [sys.executable, "-c", _DECODE]
    done = subprocess.run(command, input=lines, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-500:]
    decoded, kibibytes = done.stdout.split()
    return int(decoded), int(kibibytes)


def test_an_animation_whose_frame_is_damaged_is_a_picture() -> None:
    """OpenCV 4.14 ends the process over this file: its reader of animations does not survive an error of libpng."""
    assert decoded_elsewhere([file_of(animation(filter_type=0x77))])[0] == 1


def test_animations_show_the_picture_in_front() -> None:
    for chunks in (animation(), shown_first()):
        picture = decode_picture(file_of(chunks))
        assert picture.shape == (SIDE, SIDE, 3)
        assert np.all(picture == (200, 90, 60))


@pytest.mark.parametrize(("kind", "head"), [(b"zTXt", b"k\0\0"), (b"iTXt", b"k\0\1\0\0\0"), (b"iCCP", b"k\0\0")])
def test_what_is_packed_beside_the_pixels_stays_packed(kind: bytes, head: bytes) -> None:
    bomb = (kind, head + zlib.compress(b"a" * 7_900_000, 9))
    content = file_of([(b"IHDR", HEADER), *[bomb] * 20, (b"IDAT", rows(SIDE))])
    assert kind not in bytes(png_pixels(content))
    decoded, kibibytes = decoded_elsewhere([content])
    assert decoded == 1
    assert kibibytes < 50 * 1024  # unpacked they are 154 MiB


def test_nothing_is_copied_of_an_ordinary_picture() -> None:
    content = file_of([(b"IHDR", HEADER), (b"IDAT", rows(SIDE)), (b"IDAT", b"")])
    for file in (content, content + b"behind the end"):
        view = png_pixels(file)
        assert view.obj is file
        assert view == content


def test_what_lies_between_is_cut_out_wherever_it_stands() -> None:
    plain = [(b"IHDR", HEADER), (b"IDAT", rows(SIDE)[:40]), (b"IDAT", rows(SIDE)[40:])]
    other = (b"tEXt", b"k\0text")
    mixed = [plain[0], other, other, plain[1], other, plain[2], other]
    assert png_pixels(file_of(mixed)) == file_of(plain)


# --- chunks that are left out change no pixel -------------------------------------------------------------------------

ANCILLARY = {
    b"gAMA": struct.pack(">I", 45455),
    b"cHRM": struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000),
    b"sRGB": b"\0",
    b"cICP": b"\x09\x10\0\1",
    b"pHYs": struct.pack(">IIB", 2835, 2835, 1),
    b"tIME": struct.pack(">HBBBBB", 2025, 1, 1, 1, 1, 1),
    b"sPLT": b"name\0\x08" + bytes([1, 2, 3, 4, 0, 1]),
    b"tEXt": b"key\0text",
}
# Channels, significant bits and background by the colour's number: gray, RGB, palette, gray and RGB with opacity.
COLOURS = {
    0: (1, b"\4", b"\0\1"),
    2: (3, b"\4\4\4", b"\0\1\0\2\0\3"),
    3: (1, b"\4\4\4", b"\1"),
    4: (2, b"\4\4", b"\0\1"),
    6: (4, b"\4\4\4\4", b"\0\1\0\2\0\3"),
}
KINDS = [(0, 8), (0, 16), (2, 8), (2, 16), (3, 8), (4, 8), (4, 16), (6, 8), (6, 16)]


@pytest.mark.parametrize(("colour", "depth"), KINDS)
def test_no_other_chunk_changes_what_opencv_makes_of_a_png(colour: int, depth: int) -> None:
    channels, significant, background = COLOURS[colour]
    noise = np.random.default_rng(colour)
    lines = noise.integers(0, 256, (SIDE, 1 + SIDE * channels * depth // 8), dtype=np.uint8)
    lines[:, 0] = 0  # no filter
    palette = [(b"PLTE", noise.integers(0, 256, 768, dtype=np.uint8).tobytes())] if colour == 3 else []
    header = (b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, depth, colour, 0, 0, 0))
    pixels = [*palette, (b"IDAT", zlib.compress(lines.tobytes()))]
    expected = cv2.imdecode(np.frombuffer(file_of([header, *pixels]), np.uint8), cv2.IMREAD_UNCHANGED)
    assert expected is not None
    early = {**ANCILLARY, b"sBIT": significant}
    for kind, content in early.items():
        full = file_of([header, (kind, content), *pixels])
        np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(full, np.uint8), cv2.IMREAD_UNCHANGED), expected)
        assert png_pixels(full) == file_of([header, *pixels])
    full = file_of([header, *pixels[:-1], (b"bKGD", background), pixels[-1]])
    np.testing.assert_array_equal(cv2.imdecode(np.frombuffer(full, np.uint8), cv2.IMREAD_UNCHANGED), expected)


# --- what a PNG may not be --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chunks",
    [
        [(b"tEXt", b"k\0text"), (b"IHDR", HEADER)],
        [(b"IHDR", HEADER), (b"IHDR", HEADER)],
        [(b"IHDR", HEADER + b"x")],
        [(b"IHDR", HEADER[:-1])],
        [(b"IHDR", HEADER), (b"CgBI", b"\x50\0\x20\2")],
        [],
    ],
)
def test_headers_that_no_writer_makes_are_refused(chunks: list[Chunk]) -> None:
    content = file_of([*chunks, (b"IDAT", rows(SIDE))])
    with pytest.raises(HeaderError):
        read_header(content)
    with pytest.raises(PictureUnreadable):
        decode_picture(content)


def test_a_wrong_checksum_is_refused() -> None:
    content = bytearray(png_file(png_header(SIDE, SIDE), png_chunk(b"IDAT", rows(SIDE))))
    content[-20] ^= 1
    with pytest.raises(HeaderError, match="damaged"):
        read_header(bytes(content))


# --- structure that is damaged, with checksums that are right ---------------------------------------------------------

NUMBERS = [0, 1, 2, 31, 63, 64, 65, 128, 4096, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
KINDS_OF_CHUNKS = [b"PLTE", b"tRNS", b"fdAT", b"fcTL", b"acTL", b"IDAT", b"bKGD", b"eXIf", b"zTXt"]


def damaged(chunks: Sequence[Chunk], choices: random.Random) -> list[Chunk]:
    """The same with one to three contents, kinds or places changed; rows are changed beneath their compression."""
    changed = list(chunks)
    for _ in range(choices.randint(1, 3)):
        index = choices.randrange(len(changed))
        kind, content = changed[index]
        what = choices.randrange(6)
        if what == 0:
            changed[index] = (choices.choice(KINDS_OF_CHUNKS), content)
        elif what == 1:
            changed.insert(choices.randrange(1, len(changed) + 1), (kind, content))
        elif what == 2 and index:
            changed.pop(index)
        elif what == 3 and kind in (b"IDAT", b"fdAT"):
            changed[index] = (kind, _damaged_rows(kind, content, choices))
        elif len(content) >= 4:
            place = choices.randrange(len(content) - 3)
            number = struct.pack(">I", choices.choice(NUMBERS))
            changed[index] = (kind, content[:place] + number + content[place + 4 :])
    return changed


def _damaged_rows(kind: bytes, content: bytes, choices: random.Random) -> bytes:
    start = 4 if kind == b"fdAT" else 0
    try:
        lines = bytearray(zlib.decompress(content[start:]))
    except zlib.error:
        return content
    row = 1 + 3 * (SIDE if kind == b"IDAT" else PART)
    for _ in range(choices.randint(1, 3)):
        lines[min(row * choices.randrange(SIDE), len(lines) - 1)] = choices.randrange(256)
    return content[:start] + zlib.compress(bytes(lines[: choices.choice([len(lines), len(lines) // 2])]))


def test_no_damage_to_the_structure_ends_the_process() -> None:
    choices = random.Random(3)  # noqa: S311 (damage that repeats)
    bases = [animation(), animation(0x77), shown_first(), [(b"IHDR", HEADER), (b"IDAT", rows(SIDE))]]
    pictures = [file_of(damaged(choices.choice(bases), choices)) for _ in range(2000)]
    decoded, _ = decoded_elsewhere(pictures)
    assert 200 < decoded < 1800  # some of both, else nothing was tried
