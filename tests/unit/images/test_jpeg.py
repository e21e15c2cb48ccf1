"""JPEGs: the way past OpenCV gives its pixels, and sketches are the picture made smaller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from service.errors import PictureUnreadable
from service.images import decode
from service.images.headers import read_header
from service.values import Image
from tests.fixtures.formats import ASTRONAUT, ORIENTATION, Picture, decode_picture, distance, saved

PHOTO = ASTRONAUT.resize((96, 64))

# --- the short way for JPEG -------------------------------------------------------------------------------------------

JPEG_VARIANTS: list[tuple[str, dict[str, object]]] = [
    ("RGB", {}),
    ("RGB", {"subsampling": "4:4:4"}),
    ("RGB", {"subsampling": "4:2:2"}),
    ("RGB", {"progressive": True}),
    ("RGB", {"restart_marker_blocks": 2}),
    ("RGB", {"keep_rgb": True}),
    ("L", {}),
    ("CMYK", {}),
]


def by_opencv_alone(monkeypatch: pytest.MonkeyPatch, read: Callable[[], Image]) -> Image:
    with monkeypatch.context() as patched:
        patched.setattr(decode, "_flawless_jpeg", lambda *_: None)
        return read()


@pytest.mark.parametrize(("mode", "options"), JPEG_VARIANTS)
@pytest.mark.parametrize("size", [(2562, 75), (2563, 1), (97, 2689), (64, 64), (1, 1)])
def test_a_jpeg_has_the_pixels_that_opencv_gives(
    mode: str, options: dict[str, object], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = saved(ASTRONAUT.resize(size).convert(mode), "JPEG", **options)
    np.testing.assert_array_equal(
        decode_picture(content), by_opencv_alone(monkeypatch, lambda: decode_picture(content))
    )
    sketch = Picture(content).sketch
    assert (sketch is None) == (max(size) < 2560)
    if sketch is not None:
        other = by_opencv_alone(monkeypatch, lambda: Picture(content).sketch.image)  # type: ignore[union-attr]
        np.testing.assert_array_equal(sketch.image, other)


def test_a_flawless_jpeg_takes_the_short_way() -> None:
    content = saved(PHOTO, "JPEG")
    header = read_header(content)
    assert decode._flawless_jpeg(content, header, 1) is not None
    assert decode._flawless_jpeg(content[:100] + content[110:], header, 1) is None
    assert decode._flawless_jpeg(content, replace(header, width=header.width - 1), 1) is None
    assert decode._flawless_jpeg(content, replace(header, width=header.width + 1), 1) is None


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choices=st.data())
def test_damage_is_what_opencv_makes_of_it(choices: st.DataObject, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytearray(saved(ASTRONAUT.resize((48, 40)), "JPEG", progressive=choices.draw(st.booleans())))
    for _ in range(choices.draw(st.integers(1, 4))):
        content[choices.draw(st.integers(2, len(content) - 1))] = choices.draw(st.integers(0, 255))
    content = content[: choices.draw(st.integers(len(content) // 2, 2 * len(content)))]

    def read() -> Image | str:
        try:
            return decode_picture(bytes(content), pixel_limit=1_000_000)
        except PictureUnreadable as error:
            return str(error)

    np.testing.assert_array_equal(read(), by_opencv_alone(monkeypatch, read))  # type: ignore[arg-type]


# --- sketches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "factor"), [(2560, 2), (5120, 4), (3000, 2)])
def test_sketch_is_the_picture_made_smaller(side: int, factor: int) -> None:
    photo = ASTRONAUT.resize((side, side // 4))
    sketch = Picture(saved(photo, "JPEG", quality=95)).sketch
    assert sketch is not None
    assert sketch.factor == factor
    expected = np.asarray(photo.reduce(factor), dtype=np.uint8)[..., ::-1]
    assert distance(sketch.image, expected) < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_sketch_stands_upright(orientation: int) -> None:
    exif = Pillow.Exif()
    exif[ORIENTATION] = orientation
    picture = Picture(saved(ASTRONAUT.resize((2560, 640)), "JPEG", quality=95, exif=exif))
    assert picture.sketch is not None
    halved = cv2.resize(picture.full, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    assert distance(picture.sketch.image, np.asarray(halved, dtype=np.uint8)) < 3


def test_there_is_no_sketch_where_it_would_not_help() -> None:
    exif = Pillow.Exif()
    exif[ORIENTATION] = 3
    for picture in (
        saved(ASTRONAUT.resize((2559, 640)), "JPEG"),
        saved(ASTRONAUT.resize((2560, 640)), "PNG"),
        saved(ASTRONAUT.resize((2561, 640)), "JPEG", exif=exif),  # turning would move the last column
    ):
        assert Picture(picture).sketch is None


def test_sketch_of_a_jpeg_that_is_cut_off() -> None:
    data = saved(ASTRONAUT.resize((2560, 2560)), "JPEG")
    with pytest.raises(PictureUnreadable):
        _ = Picture(data[: len(data) // 2]).sketch


def with_a_gray_corner(size: tuple[int, int] = (160, 120)) -> Pillow.Image:
    """Of the very gray that a decoder fills in for what never came."""
    picture = ASTRONAUT.resize(size)
    picture.paste((128, 128, 128), (size[0] // 2, 0, *size))
    return picture


@pytest.mark.parametrize("behind", [1500, 1_000_000])
def test_what_stands_behind_a_picture_does_not_cut_it_off(behind: int) -> None:
    """Phones put videos there."""
    whole = saved(with_a_gray_corner(), "JPEG")
    np.testing.assert_array_equal(decode_picture(whole + bytes(behind)), decode_picture(whole))
    assert Picture(saved(with_a_gray_corner((2560, 640)), "JPEG") + bytes(behind)).sketch is not None


def test_the_end_of_a_thumbnail_is_not_the_picture_s() -> None:
    exif = Pillow.Exif()
    exif[0xC000] = b"\xff\xd9" * 2
    whole = saved(ASTRONAUT, "JPEG", exif=exif)
    assert whole.count(b"\xff\xd9") > 1
    for part in (0.3, 0.6, 0.9):
        with pytest.raises(PictureUnreadable, match="cut off"):
            decode_picture(whole[: int(len(whole) * part)])


@pytest.mark.parametrize("size", [(160, 200), (161, 201), (176, 208), (163, 193)])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize(("mode", "parts"), [("RGB", (0.3, 0.9, 0.98)), ("L", (0.3, 0.9, 0.98)), ("CMYK", (0.3, 0.9))])
def test_what_never_came_is_noticed(
    mode: str, parts: tuple[float, ...], subsampling: int, size: tuple[int, int]
) -> None:
    whole = saved(ASTRONAUT.resize(size).convert(mode), "JPEG", quality=95, subsampling=subsampling)
    for part in parts:
        with pytest.raises(PictureUnreadable, match="cut off"):
            decode_picture(whole[: int(len(whole) * part)])
    np.testing.assert_array_equal(decode_picture(whole[:-2]), decode_picture(whole))


def test_what_never_came_is_noticed_in_ycck() -> None:
    """CMYK as Photoshop stores it: Adobe's marker says that its colours are a luminance and two differences."""
    whole = bytearray(saved(ASTRONAUT.resize((160, 200)).convert("CMYK"), "JPEG", quality=95))
    transform = whole.index(b"Adobe") + 11
    assert whole[transform] == 0
    whole[transform] = 2
    assert decode_picture(bytes(whole)).shape == (200, 160, 3)
    with pytest.raises(PictureUnreadable, match="cut off"):
        decode_picture(bytes(whole[: len(whole) // 2]))
