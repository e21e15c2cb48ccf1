"""A picture has the size that its header told: what is checked and what is decoded are never two pictures."""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow

from service.errors import PictureUnreadable
from service.images import decode, gif
from service.images.headers import Format, Header, HeaderError, read_header
from tests.fixtures.formats import ASTRONAUT, decode_picture, saved

SMALL, LARGE = ASTRONAUT.resize((16, 24)), ASTRONAUT.resize((320, 200))
START = b"\xff\xd8"


def told(content: bytes) -> tuple[int, int] | None:
    """Height and width by the header; ``None`` where it is refused."""
    try:
        header = read_header(content)
    except HeaderError:
        return None
    return header.height, header.width


def by_opencv(content: bytes) -> tuple[int, ...] | None:
    """Height and width by OpenCV, asked without a header; ``None`` where it refuses."""
    pixels = decode._imdecode(content, cv2.IMREAD_UNCHANGED)
    return None if pixels is None else pixels.shape[:2]


# --- JPEG -------------------------------------------------------------------------------------------------------------


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def jpeg(picture: Pillow.Image, mode: str = "RGB") -> bytes:
    """A JPEG without the marker that starts it."""
    return saved(picture.convert(mode), "JPEG").removeprefix(START)


def hiding(marker: int, mode: str = "RGB") -> bytes:
    """A large JPEG in what would be a segment of ``marker``, if that had a length, and a small one behind it."""
    return START + segment(0xE0, b"any") + segment(marker, jpeg(LARGE, mode)) + jpeg(SMALL, mode)


IN_FRONT = {
    "nothing": b"",
    "a fill byte": b"\xff",
    "fill bytes": b"\xff" * 7,
    "a byte of data that is 255": b"\xff\0",
    "several": b"\xff\0\xff\xff\0",
    "restart": b"\xff\xd0\xff\xd7",
    "a marker for private use": b"\xff\x01",
    "a second start": START,
    "an end": b"\xff\xd9",
    "a segment": segment(0xE5, b"\xff\xc0\0\x0b\x08\0\1\0\1\1\1\x11\0"),
    "a comment": segment(0xFE, b""),
    "a reserved marker": segment(0x02, b"any"),
    "an extension": segment(0xF0, b"any"),
}


@pytest.mark.parametrize("between", [b"", b"\0", b"other bytes", b"\0\xff\0"])
@pytest.mark.parametrize("front", IN_FRONT)
def test_a_jpeg_s_segments_are_found_where_libjpeg_finds_them(front: str, between: bytes) -> None:
    content = START + segment(0xE0, b"any") + between + IN_FRONT[front] + jpeg(SMALL)
    found = by_opencv(content)
    assert found in (None, (24, 16))
    if found is not None:
        assert told(content) == found
    for mode in ("RGB", "L", "CMYK"):
        for marker in (0x00, 0x01, 0x02, 0xC8, 0xD0, 0xD8, 0xD9, 0xE1, 0xF0):
            hidden = hiding(marker, mode).replace(b"any", b"any" + between + IN_FRONT[front], 1)
            assert by_opencv(hidden) in (None, told(hidden))


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_hidden_in_what_is_no_segment_is_the_one_that_is_told(mode: str) -> None:
    content = hiding(0x00, mode)
    assert by_opencv(content) == told(content) == (200, 320)
    with pytest.raises(PictureUnreadable, match="pixels are more than"):
        decode_picture(content, pixel_limit=1000)


@pytest.mark.parametrize(("mode", "components"), [("RGB", 3), ("L", 1), ("CMYK", 4)])
@pytest.mark.parametrize("factor", [1, 2])
def test_a_header_that_was_misread_is_found_out(mode: str, components: int, factor: int) -> None:
    """The wall behind the one above: neither decoder gives a picture of another size than the one that was checked."""
    content = START + jpeg(LARGE, mode)
    flags = decode._REDUCED[factor] if factor > 1 else cv2.IMREAD_UNCHANGED
    assert decode._decode(content, Header(Format.JPEG, 320, 200, 1, components), flags, factor) is not None
    for width, height in ((16, 24), (200, 320), (318, 200), (322, 200)):
        header = Header(Format.JPEG, width, height, 1, components)
        with pytest.raises(PictureUnreadable, match="two sizes"):
            decode._decode(content, header, flags, factor)


@pytest.mark.parametrize("form", [Format.PNG, Format.BMP, Format.WEBP])
def test_so_it_is_in_other_formats(form: Format) -> None:
    content = saved(LARGE, form.value.upper())
    with pytest.raises(PictureUnreadable, match="two sizes"):
        decode._decode(content, Header(form, 200, 320), cv2.IMREAD_UNCHANGED)


# --- WebP -------------------------------------------------------------------------------------------------------------

# A black picture of 1024 x 512 as VP8L without its chunk. Read as a chunk its bytes 4 to 7 are a length, 585,728.
BARE = bytes.fromhex("2fffc37f00f008000400000000f87f0f88880000")


def webp(*chunks: bytes) -> bytes:
    content = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def extended(width: int, height: int, flags: int = 0) -> bytes:
    """The chunk that tells a canvas."""
    sides = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return b"VP8X" + struct.pack("<II", 10, flags) + sides


def test_a_bare_picture_in_front_of_a_webp_s_chunks_is_refused() -> None:
    (length,) = struct.unpack_from("<I", BARE, 4)
    small = saved(SMALL, "WEBP", lossless=True)[12:]
    content = webp(BARE.ljust(8 + length, b"\0"), small)
    assert by_opencv(content) == (512, 1024)  # which is why
    assert told(content) is None
    assert told(webp(small)) == (24, 16)


def test_a_webp_of_endless_chunks_is_refused() -> None:
    small, empty = saved(SMALL, "WEBP", lossless=True)[12:], b"aaaa\0\0\0\0"
    assert told(webp(small, 100 * empty)) == (24, 16)
    with pytest.raises(HeaderError, match="too many chunks"):
        read_header(webp(small, 100_000 * empty))


def test_a_webp_s_canvas_is_its_picture() -> None:
    large, small = (saved(picture, "WEBP", lossless=True)[12:] for picture in (LARGE, SMALL))
    frames = [LARGE, LARGE.rotate(180)]
    moving = saved(frames[0], "WEBP", lossless=True, save_all=True, append_images=frames[1:])
    assert by_opencv(moving) == told(moving) == (200, 320)
    place = moving.index(b"VP8X")
    lying = [moving[:place] + extended(16, 24, flags) + moving[place + 18 :] for flags in (0x00, 0x02, 0x12)]
    lying += [webp(extended(16, 24, flags), large) for flags in (0x00, 0x02, 0x10, 0x12)]
    lying += [webp(large, extended(16, 24), small), webp(small, large), webp(b"ICCP\0\0\0\0", extended(16, 24), large)]
    for content in lying:
        assert by_opencv(content) in (None, told(content))


# --- every format -----------------------------------------------------------------------------------------------------

NUMBERS = [0, 1, 2, 3, 8, 16, 31, 64, 200, 255, 256, 320, 600, 65535, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]


def several(form: str) -> bytes:
    """A small picture in front of a large one, in one file."""
    return saved(SMALL, form, save_all=True, append_images=[LARGE])


BASES = {
    "JPEG": [saved(SMALL, "JPEG"), saved(SMALL, "JPEG", progressive=True), saved(SMALL.convert("L"), "JPEG")],
    "PNG": [saved(SMALL, "PNG")],
    "BMP": [saved(SMALL, "BMP"), saved(SMALL.convert("P"), "BMP"), saved(SMALL.convert("L"), "BMP")],
    "WEBP": [saved(SMALL, "WEBP"), saved(SMALL, "WEBP", lossless=True)],
    "TIFF": [saved(SMALL, "TIFF"), saved(SMALL, "TIFF", compression="tiff_lzw"), several("TIFF")],
}


def damaged(bases: list[bytes], count: int) -> Iterator[bytes]:
    """``bases`` with one to three numbers changed; of a TIFF those of its directory, else those of its beginning."""
    choices = random.Random(len(bases[0]))  # noqa: S311 (damage that repeats)
    for _ in range(count):
        content = bytearray(choices.choice(bases))
        start = struct.unpack_from("<I", content, 4)[0] if content.startswith(b"II*\0") else 2
        for _ in range(choices.randint(1, 3)):
            form = choices.choice(["B", "<H", ">H", "<I", ">I"])
            place = min(start + choices.randrange(160), len(content) - 4)
            struct.pack_into(form, content, place, choices.choice(NUMBERS) % 256 ** struct.calcsize(form))
        yield bytes(content)


@pytest.mark.parametrize("form", BASES)
def test_what_is_decoded_of_a_damaged_file_has_the_size_that_its_header_tells(form: str) -> None:
    decoded = 0
    for content in [*BASES[form], *damaged(BASES[form], 1500)]:
        size = told(content)
        if size is None or size[0] * size[1] > 1_000_000:
            continue
        found = by_opencv(content)
        if found is None:
            continue
        decoded += 1
        if form == "TIFF":  # which OpenCV turns, and whose tiles may be larger than the picture
            assert sorted(found) <= sorted(size)
            assert max(found) <= max(size)
        else:
            assert found == size
    assert decoded > len(BASES[form])


def test_the_first_page_of_a_tiff_is_the_picture() -> None:
    content = several("TIFF")
    assert by_opencv(content) == told(content) == (24, 16)
    assert decode_picture(content).shape == (24, 16, 3)


def test_a_gif_s_first_picture_has_the_size_of_its_canvas() -> None:
    content = saved(SMALL, "GIF", save_all=True, append_images=[LARGE.resize((16, 24)).rotate(180)])
    width, height = gif.screen_size(content)
    assert decode_picture(gif.first_picture(content)).shape == (height, width, 3)
    for canvas in ((15, 24), (17, 30), (600, 1)):
        changed = content[:6] + struct.pack("<HH", *canvas) + content[10:]
        try:
            picture = gif.first_picture(changed)
        except PictureUnreadable:
            continue
        assert Pillow.open(io.BytesIO(picture)).size == canvas
        assert np.prod(decode_picture(picture).shape[:2]) == np.prod(canvas)
