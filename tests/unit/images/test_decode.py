"""Decoding of every format and depth, orientation, and refusal of everything hostile."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from PIL import ImageOps

from service.errors import PictureUnreadable
from service.images.headers import HeaderError, read_header
from service.values import Image
from tests.fixtures.formats import (
    ASTRONAUT,
    ORIENTATION,
    decode_picture,
    distance,
    png_chunk,
    png_file,
    png_header,
    saved,
)

PHOTO = ASTRONAUT.resize((96, 64))
EXPECTED: Image = np.asarray(PHOTO, dtype=np.uint8)[..., ::-1]


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ],
)
def test_lossless_formats_give_the_very_pixels(form: str, options: dict[str, object]) -> None:
    picture = decode_picture(saved(PHOTO, form, **options))
    assert picture.dtype == np.uint8
    assert picture.flags.c_contiguous
    np.testing.assert_array_equal(picture, EXPECTED)


@pytest.mark.parametrize(
    ("form", "options"),
    [("JPEG", {}), ("JPEG", {"progressive": True}), ("WEBP", {"quality": 95}), ("TIFF", {"compression": "jpeg"})],
)
def test_lossy_formats_give_nearly_the_pixels(form: str, options: dict[str, object]) -> None:
    assert distance(decode_picture(saved(PHOTO, form, **options)), EXPECTED) < 8


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_is_converted(form: str) -> None:
    assert distance(decode_picture(saved(PHOTO.convert("CMYK"), form)), EXPECTED) < 8


def test_inverted_cmyk_as_adobe_programs_write_it_is_converted() -> None:
    # Pillow writes CMYK JPEGs inverted and marked by Adobe, as Photoshop does; it reads them back the same way.
    content = saved(PHOTO.convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in content
    reference = np.asarray(Pillow.open(io.BytesIO(content)).convert("RGB"))[..., ::-1]
    assert distance(decode_picture(content), reference) < 3


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "TIFF"])
def test_gray_becomes_three_equal_planes(form: str) -> None:
    picture = decode_picture(saved(PHOTO.convert("L"), form))
    assert picture.shape == (64, 96, 3)
    np.testing.assert_array_equal(picture[..., 0], picture[..., 2])


@pytest.mark.parametrize("mode", ["1", "P"])
@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF"])
def test_palettes_and_bits_are_expanded(mode: str, form: str) -> None:
    picture = PHOTO.convert(mode)
    expected = np.asarray(picture.convert("RGB"))[..., ::-1]
    np.testing.assert_array_equal(decode_picture(saved(picture, form)), expected)


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_cut_to_eight(suffix: str, channels: int) -> None:
    deep = EXPECTED[..., :channels].astype(np.uint16) * 257
    _, content = cv2.imencode(suffix, deep)
    np.testing.assert_array_equal(decode_picture(content.tobytes())[..., :channels], EXPECTED[..., :channels])


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_laid_on_white(form: str) -> None:
    alpha = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (64, 1))
    picture = PHOTO.copy()
    picture.putalpha(Pillow.fromarray(alpha))
    options: dict[str, object] = {"lossless": True, "exact": True} if form == "WEBP" else {}
    white = Pillow.new("RGBA", picture.size, (255, 255, 255, 255))
    expected = np.asarray(Pillow.alpha_composite(white, picture).convert("RGB"))[..., ::-1]
    assert distance(decode_picture(saved(picture, form, **options)), expected) < 1


def test_transparent_palette_is_laid_on_white() -> None:
    picture = Pillow.new("P", (8, 8), 0)
    picture.putpalette([10, 20, 30] * 256)
    assert np.all(decode_picture(saved(picture, "PNG", transparency=0)) == 255)


def test_the_fourth_byte_of_a_bmp_says_nothing() -> None:
    """Many programs write it as zero."""
    content = cv2.imencode(".bmp", np.dstack([EXPECTED, np.zeros((64, 96), np.uint8)]))[1].tobytes()
    np.testing.assert_array_equal(decode_picture(content), EXPECTED)


def test_floating_point_samples_are_refused() -> None:
    picture = Pillow.fromarray(np.zeros((8, 8), np.float32))
    with pytest.raises(PictureUnreadable):
        decode_picture(saved(picture, "TIFF"))


# --- orientation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied_exactly_once(form: str, orientation: int) -> None:
    exif = Pillow.Exif()
    exif[ORIENTATION] = orientation
    options: dict[str, object] = {"lossless": True} if form == "WEBP" else {}
    content = saved(PHOTO, form, exif=exif, **options)
    upright = ImageOps.exif_transpose(Pillow.open(io.BytesIO(content)))
    expected = np.asarray(upright.convert("RGB"))[..., ::-1]
    assert distance(decode_picture(content), expected) < (3 if form == "JPEG" else 0.001)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_deep_tiffs(orientation: int) -> None:
    exif = Pillow.Exif()
    exif[ORIENTATION] = orientation
    deep = np.asarray(PHOTO.convert("L")).astype(np.uint16) * 257
    content = saved(Pillow.fromarray(deep), "TIFF", exif=exif)
    upright = ImageOps.exif_transpose(Pillow.fromarray(np.asarray(PHOTO.convert("L"))), in_place=False)
    turned = Pillow.open(io.BytesIO(saved(upright, "PNG", exif=exif)))
    expected = np.asarray(ImageOps.exif_transpose(turned))
    np.testing.assert_array_equal(decode_picture(content)[..., 0], expected)


def test_nonsense_orientation_is_ignored() -> None:
    exif = Pillow.Exif()
    exif[ORIENTATION] = 77
    assert decode_picture(saved(PHOTO, "JPEG", exif=exif)).shape == EXPECTED.shape


@pytest.mark.parametrize(
    ("before", "more"),
    [
        ([(256, 8, 1, 0)], 0),  # a width of an odd type
        ([(256, 4, 1, 0)] * 2, 0),  # or told twice
        ([(258, 3, 3, 60_000)], 0),  # bits that lie nowhere
        ([], 9),  # entries that were cut off
    ],
)
def test_the_orientation_stands_beside_odd_tags(before: list[tuple[int, int, int, int]], more: int) -> None:
    upright, quarter = saved(PHOTO, "JPEG"), (ORIENTATION, 3, 1, 6 << 16)
    entries = [struct.pack(">HHII", *entry) for entry in (*before, quarter)]
    block = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, len(entries) + more) + b"".join(entries) + bytes(4)
    turned = upright[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(block)) + block + upright[2:]
    np.testing.assert_array_equal(decode_picture(turned), np.rot90(decode_picture(upright), -1))


# --- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content", [b"", b"x", b"GIF89a" + bytes(50), b"<svg/>", b"\xff\xd8\xff", b"BM", b"RIFF1234WAVE"]
)
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(PictureUnreadable):
        decode_picture(content)


def test_real_gif_is_refused() -> None:
    with pytest.raises(PictureUnreadable, match="JPEG, PNG, BMP, WebP or TIFF"):
        decode_picture(saved(PHOTO, "GIF"))


def png_of_size(width: int, height: int) -> bytes:
    """A tiny PNG that claims any size."""
    return png_file(png_header(width, height), png_chunk(b"IDAT", zlib.compress(b"")))


def test_pixel_bombs_are_refused_by_their_header() -> None:
    jpeg = bytearray(saved(PHOTO, "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65000, 65000)
    bmp = bytearray(saved(PHOTO, "BMP"))
    bmp[18:26] = struct.pack("<ii", 100_000, -100_000)
    for bomb in (png_of_size(100_000, 100_000), bytes(jpeg), bytes(bmp)):
        with pytest.raises(PictureUnreadable, match="pixels are more than"):
            decode_picture(bomb)


def test_pixel_limit_is_exact() -> None:
    content = saved(PHOTO, "PNG")
    assert decode_picture(content, pixel_limit=96 * 64).shape == (64, 96, 3)
    with pytest.raises(PictureUnreadable):
        decode_picture(content, pixel_limit=96 * 64 - 1)


def test_tiff_with_a_huge_tile_is_a_bomb_too() -> None:
    tags = [(256, 64), (257, 64), (322, 60_000), (323, 60_000)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    content = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)
    with pytest.raises(PictureUnreadable, match="pixels are more than"):
        decode_picture(content)


def tiff_of(entries: list[tuple[int, int, int, int]], size: int) -> bytes:
    """A gray TIFF of one strip of ``size`` x ``size`` zeros, with some (tag, type, number, value) in front."""
    rows = zlib.compress(bytes(size * size))
    whole = [*entries, (259, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 512), (277, 3, 1, 1), (278, 4, 1, size)]
    whole = sorted([*whole, (279, 4, 1, len(rows))], key=lambda entry: entry[0])
    lines = b"".join(struct.pack("<HHII", *entry) for entry in whole)
    return (struct.pack("<2sHIH", b"II", 42, 8, len(whole)) + lines).ljust(512, b"\0") + rows


PLAIN_SIZE = [(256, 4, 1, 64), (257, 4, 1, 64), (258, 3, 1, 8)]
LIES = {
    "width told twice, the first is believed": [*PLAIN_SIZE, (256, 4, 1, 8)],
    "height told twice": [*PLAIN_SIZE, (257, 4, 1, 8)],
    "width of a type that we do not read": [(256, 9, 1, 64), *PLAIN_SIZE[1:]],
    "width as a list": [(256, 3, 2, 64), *PLAIN_SIZE[1:]],
    "tile told twice": [*PLAIN_SIZE, (322, 4, 1, 60_000), (322, 4, 1, 16)],
    "bits told twice": [*PLAIN_SIZE, (258, 3, 1, 64)],
    "samples of 64 bits": [*PLAIN_SIZE[:2], (258, 3, 1, 64)],
    "samples of 64 bits, listed elsewhere": [*PLAIN_SIZE[:2], (258, 4, 3, 0)],
    "more tags than anybody reads": [*PLAIN_SIZE, *[(40_000 + number, 3, 1, 0) for number in range(1000)]],
}


@pytest.mark.parametrize("lie", LIES)
def test_a_tiff_tells_its_size_once_and_plainly(lie: str) -> None:
    """Else a decoder could be made to believe another size than the one that was checked."""
    assert decode_picture(tiff_of(PLAIN_SIZE, 64)).shape == (64, 64, 3)
    with pytest.raises(HeaderError):
        read_header(tiff_of(LIES[lie], 64))


def test_a_png_has_one_header() -> None:
    large, small = png_of_size(60_000, 60_000), png_of_size(8, 8)
    header = slice(8, 33)  # the chunk IHDR
    for content in (large[:33] + small[header] + large[33:], large[:-12] + small[header] + large[-12:]):
        with pytest.raises(HeaderError):
            read_header(content)


def test_jpeg_of_endless_scans_is_refused() -> None:
    whole, scan = saved(PHOTO, "JPEG"), bytes.fromhex("ffda 0008 01 0100 003f00")
    hidden = bytes.fromhex("fffe 0004 ffd9")  # a comment with the marker of an end
    for between in (scan * 200, hidden + scan * 200):
        with pytest.raises(PictureUnreadable, match="scans"):
            decode_picture(whole[:-2] + between + whole[-2:])


def test_a_video_behind_a_photograph_holds_no_scans() -> None:
    """Phones put seconds of film there, megabytes with the marker of a scan in them by chance."""
    whole, by_chance = saved(PHOTO, "JPEG"), bytes.fromhex("ffda 0000 00 ffda 0008 00 ffda 0108 01 ffda 0010 05") * 50
    film = b"\0\0\0\x18ftypmp42" + by_chance + b"\xff\xda"
    np.testing.assert_array_equal(decode_picture(whole + film), decode_picture(whole))


def test_what_is_no_scan_ends_a_jpeg() -> None:
    """Hence it need not be counted: whatever stands behind is not decoded."""
    for length, components in ((7, 1), (8, 0), (16, 5), (264, 1)):
        first = bytes.fromhex("ffda") + struct.pack(">HB", length, components) + bytes(64)
        whole = saved(PHOTO, "JPEG", progressive=True)
        place = whole.index(b"\xff\xda")
        with pytest.raises(PictureUnreadable, match="damaged"):
            decode_picture(whole[:place] + first + whole[place:])


@pytest.mark.parametrize(("side", "scans", "read"), [(8000, 20, True), (8000, 40, False), (2000, 90, True)])
def test_a_large_jpeg_has_fewer_scans(side: int, scans: int, read: bool) -> None:
    head, frame = b"\xff\xd8\xff\xc2\0\x11\x08", struct.pack(">HHB", side, side, 3) + bytes(9)
    picture = head + frame + bytes.fromhex("ffda 0008 01 0100 003f00") * scans + b"\xff\xd9"
    if read:
        assert read_header(picture).width == side
    else:
        with pytest.raises(HeaderError, match="too many scans for its size"):
            read_header(picture)


def test_a_jpeg_of_endless_segments_is_refused() -> None:
    whole = saved(PHOTO, "JPEG")
    for empty in (b"\xff\xe0\0\2", b"\xff\0"):
        np.testing.assert_array_equal(decode_picture(whole[:2] + 10 * empty + whole[2:]), decode_picture(whole))
        with pytest.raises(HeaderError, match="too many segments"):
            read_header(whole[:2] + 100_000 * empty + whole[2:])


def test_a_png_of_endless_chunks_is_refused() -> None:
    whole, empty = png_of_size(8, 8), b"\0\0\0\0aaAa" + zlib.crc32(b"aaAa").to_bytes(4, "big")
    read_header(whole[:33] + 10 * empty + whole[33:])
    with pytest.raises(HeaderError, match="too many chunks"):
        read_header(whole[:33] + 100_000 * empty + whole[33:])


def test_jpeg_without_its_end_marker_is_read() -> None:
    whole = saved(PHOTO, "JPEG")
    np.testing.assert_array_equal(decode_picture(whole[:-2]), decode_picture(whole))


@pytest.mark.parametrize("part", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "BMP"])
def test_pictures_cut_off_are_refused(form: str, part: float) -> None:
    content = saved(ASTRONAUT, form)
    with pytest.raises(PictureUnreadable):
        decode_picture(content[: int(len(content) * part)])


def test_damage_is_not_reported_on_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    for form in ("JPEG", "PNG", "TIFF", "WEBP", "BMP"):
        content = bytearray(saved(PHOTO, form))
        content[len(content) // 2] ^= 0xFF
        for damaged in (bytes(content), bytes(content[: len(content) // 2])):
            try:
                decode_picture(damaged)
            except PictureUnreadable:
                continue
    assert "OpenCV" not in capfd.readouterr().err


CONTENTS = [saved(PHOTO.resize((24, 16)), form) for form in ("JPEG", "PNG", "BMP", "WEBP", "TIFF")]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_damage_raises_anything_else(choices: st.DataObject) -> None:
    content = bytearray(choices.draw(st.sampled_from(CONTENTS)))
    for _ in range(choices.draw(st.integers(0, 6))):
        content[choices.draw(st.integers(0, len(content) - 1))] = choices.draw(st.integers(0, 255))
    content = content[: choices.draw(st.integers(0, len(content)))] + choices.draw(st.binary(max_size=16))
    try:
        picture = decode_picture(bytes(content), pixel_limit=1_000_000)
    except PictureUnreadable:
        return
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF....WEBP", b"II*\0", b"MM\0*"]), st.binary()
)
def test_headers_of_noise_never_raise_anything_else(magic: bytes, noise: bytes) -> None:
    try:
        header = read_header(magic + noise)
    except HeaderError:
        return
    assert header.width > 0
    assert header.height > 0
    assert 1 <= header.orientation <= 8


@pytest.mark.parametrize(("depth", "bytes_a_pixel"), [(np.uint8, 10), (np.uint16, 14)])
def test_what_transparency_costs_is_a_copy_and_not_many(depth: type[np.generic], bytes_a_pixel: int) -> None:
    stored = np.zeros((1000, 1000, 4), depth)
    done, png = cv2.imencode(".png", stored, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    assert done
    data = png.tobytes()
    tracemalloc.start()
    try:
        decode_picture(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # At most two of these at a time: the pixels as stored, eight bits of each, what is laid on white.
    assert peak < bytes_a_pixel * 1_000_000
