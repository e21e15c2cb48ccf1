"""TIFFs whose samples mean something else than the decoder hands over: read as they are meant, or refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL.TiffTags import TAGS

from service.errors import PictureUnreadable
from service.values import Image
from tests.fixtures.formats import ASTRONAUT, decode_picture, distance

PHOTO: Image = np.asarray(ASTRONAUT.resize((96, 64)), dtype=np.uint8)
GRAY: Image = np.asarray(ASTRONAUT.resize((96, 64)).convert("L"), dtype=np.uint8)[..., np.newaxis]
EXPECTED = PHOTO[..., ::-1]
EXPECTED_GRAY = np.repeat(GRAY, 3, axis=2)
ROUNDING = 1.0

# TIFF 6.0: values of PhotometricInterpretation, PlanarConfiguration and ExtraSamples.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
APART = 2
UNSPECIFIED, MULTIPLIED, OPACITY = 0, 1, 2

# Where a file's lists and its samples begin.
LISTS, HEAD = 300, 500

DEPTHS = pytest.mark.parametrize("bits", [8, 16])


def tiff(samples: Image, bits: int, **tags: int) -> bytes:
    """A TIFF of 8-bit samples ``(height, width, n)``, or of the same in 16 bits, with further tags of one value."""
    height, width, channels = samples.shape
    stored = samples if bits == 8 else samples.astype(np.uint16) * 257
    places = [stored]
    if tags.get("PlanarConfiguration") == APART:
        places = [stored[..., channel] for channel in range(channels)]
    rows = places[0].nbytes
    values = {
        "ImageWidth": [width],
        "ImageLength": [height],
        "BitsPerSample": [bits] * channels,
        "Compression": [1],
        "StripOffsets": [HEAD + number * rows for number in range(len(places))],
        "SamplesPerPixel": [channels],
        "RowsPerStrip": [height],
        "StripByteCounts": [rows] * len(places),
        **{name: [value] for name, value in tags.items()},
    }
    numbers = {name: number for number, name in TAGS.items()}
    entries, lists = b"", b""
    for name in sorted(values, key=numbers.__getitem__):
        listed = struct.pack(f"<{len(values[name])}I", *values[name])
        inline = listed if len(listed) == 4 else struct.pack("<I", LISTS + len(lists))
        entries += struct.pack("<HHI", numbers[name], 4, len(values[name])) + inline
        lists += b"" if len(listed) == 4 else listed
    directory = struct.pack("<H", len(values)) + entries + bytes(4)
    head = (struct.pack("<2sHI", b"II", 42, 8) + directory).ljust(LISTS, b"\0") + lists
    return head.ljust(HEAD, b"\0") + b"".join(np.ascontiguousarray(place).tobytes() for place in places)


def with_opacity(colour: Image) -> tuple[Image, Image]:
    """Half of it half transparent, and how that looks on white."""
    opacity = np.full((*colour.shape[:2], 1), 255, np.uint8)
    opacity[:32] = 128
    seen = (colour * (opacity / 255) + 255.0 - opacity)[..., ::-1]
    return np.dstack([colour, opacity]), seen.astype(np.uint8)


@DEPTHS
def test_zero_may_be_white(bits: int) -> None:
    for meaning, samples in ((BLACK_IS_ZERO, GRAY), (WHITE_IS_ZERO, 255 - GRAY)):
        picture = decode_picture(tiff(samples, bits, PhotometricInterpretation=meaning))
        np.testing.assert_array_equal(picture, EXPECTED_GRAY)


def test_planes_of_their_own() -> None:
    tags = {"PhotometricInterpretation": RGB, "PlanarConfiguration": APART}
    np.testing.assert_array_equal(decode_picture(tiff(PHOTO, 8, **tags)), EXPECTED)
    with pytest.raises(PictureUnreadable, match="planes of their own"):
        decode_picture(tiff(PHOTO, 16, **tags))


@DEPTHS
def test_opacity_of_colours(bits: int) -> None:
    samples, seen = with_opacity(PHOTO)
    loose = tiff(samples, bits, PhotometricInterpretation=RGB, ExtraSamples=OPACITY)
    assert distance(decode_picture(loose), seen) < ROUNDING
    samples[..., :3] = samples[..., :3] * (samples[..., 3:] / 255)
    multiplied = tiff(samples, bits, PhotometricInterpretation=RGB, ExtraSamples=MULTIPLIED)
    assert distance(decode_picture(multiplied), seen) < ROUNDING


@DEPTHS
def test_a_fourth_channel_that_is_no_opacity_is_left_out(bits: int) -> None:
    samples, _ = with_opacity(PHOTO)
    picture = decode_picture(tiff(samples, bits, PhotometricInterpretation=RGB, ExtraSamples=UNSPECIFIED))
    np.testing.assert_array_equal(picture, EXPECTED)


@DEPTHS
def test_gray_with_opacity_is_refused(bits: int) -> None:
    samples = np.dstack([GRAY, 255 - GRAY])
    for kind in (MULTIPLIED, OPACITY):
        with pytest.raises(PictureUnreadable, match="gray TIFF with opacity"):
            decode_picture(tiff(samples, bits, PhotometricInterpretation=BLACK_IS_ZERO, ExtraSamples=kind))
    picture = decode_picture(tiff(samples, bits, PhotometricInterpretation=BLACK_IS_ZERO, ExtraSamples=UNSPECIFIED))
    np.testing.assert_array_equal(picture, EXPECTED_GRAY)
