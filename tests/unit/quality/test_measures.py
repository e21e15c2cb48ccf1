"""Blur, light and completeness move as the picture does."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.inference.engine import Engine
from service.inference.quality import QualityMeter, blur, completeness, illumination, sharpness
from service.values import Face, Image
from tests.fixtures.pictures import Pictures

Portraits = list[tuple[Image, Face]]


def darker(image: Image, gain: float) -> Image:
    return np.asarray(np.round(image * np.float32(gain)), np.uint8)


def test_darkening_lowers_illumination_in_step(portraits: Portraits) -> None:
    for image, face in portraits:
        values = [illumination(darker(image, gain), face.outline) for gain in (1, 0.8, 0.6, 0.4, 0.2, 0)]
        assert all(high > low for high, low in pairwise(values))
        assert values[2] == pytest.approx(0.6 * values[0], abs=1.5)
        assert values[-1] == 0


def test_a_gray_copy_is_as_bright_and_as_sharp(portraits: Portraits, engine: Engine) -> None:
    for image, face in portraits:
        gray = np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), np.uint8)
        assert illumination(gray, face.outline) == pytest.approx(illumination(image, face.outline), abs=1)
        sharp, sharp_gray = (blur(engine.align(picture, face.points)) for picture in (image, gray))
        assert sharp_gray == pytest.approx(sharp, abs=0.02)


def test_blurring_raises_blur_in_step(portraits: Portraits, engine: Engine) -> None:
    for image, face in portraits:
        crop = engine.align(image, face.points)
        series = [crop, *(np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma), np.uint8) for sigma in (1, 2, 3, 4, 6, 8))]
        values = [blur(picture) for picture in series]
        assert all(low < high for low, high in pairwise(values))
        assert values[0] < 0.1
        assert values[-1] > 0.95


def test_blur_does_not_hang_on_contrast(portraits: Portraits, engine: Engine) -> None:
    for image, face in portraits:
        crop = engine.align(image, face.points)
        assert sharpness(darker(crop, 0.5)) == pytest.approx(sharpness(crop), abs=0.15)


@given(st.integers(0, 255))
def test_a_flat_crop_has_a_blur(level: int) -> None:
    assert 0 <= blur(np.full((112, 112, 3), level, np.uint8)) <= 1


@pytest.mark.parametrize("side", ["left", "right", "top", "bottom"])
def test_a_face_cut_by_the_border_is_incomplete(portraits: Portraits, engine: Engine, side: str) -> None:
    for image, face in portraits:
        assert completeness(image, face) == 1
        x, y, width, height = (round(value) for value in face.box)
        part = {
            "left": image[:, x + width // 4 :],
            "right": image[:, : x + width * 3 // 4],
            "top": image[y + height * 2 // 5 :],
            "bottom": image[: y + height * 4 // 5],
        }[side]
        found = engine.detect(np.ascontiguousarray(part), 1)
        assert all(completeness(part, cut) == 0 for cut in found)


def test_pictures_that_end_in_the_face_are_incomplete(engine: Engine, pictures: Pictures) -> None:
    for name in ("obama_partial_face.jpg", "obama_partial_face2.jpg"):
        image = np.asarray(cv2.imread(str(pictures.path(name)), cv2.IMREAD_COLOR), np.uint8)
        (face,) = engine.detect(image, 1)
        assert completeness(image, face) == 0


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_face_that_lies_close_to_the_border_is_as_complete_as_standing(
    portraits: Portraits, engine: Engine, quarters: int
) -> None:
    for image, face in portraits:
        x, _, width, _ = (round(value) for value in face.box)
        part = np.ascontiguousarray(np.rot90(image[:, x - width // 10 : x + width * 11 // 10], quarters))
        (found,) = engine.detect(part, 1)
        assert completeness(part, found) == 1


def test_a_face_without_an_outline_is_measured_by_its_box(portraits: Portraits, quality_meter: QualityMeter) -> None:
    image, face = portraits[0]
    whole = quality_meter.measure(image, face)
    bare = quality_meter.measure(image, replace(face, outline=np.zeros((0, 2), np.float32)))
    assert bare.completeness == whole.completeness
    assert bare.illumination == pytest.approx(whole.illumination, abs=40)


def test_good_portraits_measure_well(portraits: Portraits, quality_meter: QualityMeter) -> None:
    for image, face in portraits:
        quality = quality_meter.measure(image, face)
        assert quality.blur < 0.1
        assert 60 < quality.illumination < 230
        assert quality.completeness == 1
