"""Preprocessing by kind of picture: what stays untouched, what a watermark loses, what infrared becomes."""

from __future__ import annotations

import numpy as np
import pytest

from models.train.watermarks import watermarked
from service.inference.engine import Engine
from service.inference.picture_kinds import prepare
from service.values import Face, Image, PictureType

MARKS = 4
"""Watermarks drawn on each portrait."""

Portraits = list[tuple[Image, Face]]


@pytest.mark.parametrize("kind", [PictureType.LIVE, PictureType.IDCARD, PictureType.CERT])
def test_most_kinds_are_looked_at_as_they_are(kind: PictureType) -> None:
    image = np.zeros((40, 30, 3), np.uint8)
    assert prepare(image, kind) is image


def test_infrared_becomes_gray() -> None:
    tinted = np.random.default_rng(1).integers(0, 255, (40, 30, 3), dtype=np.uint8)
    gray = prepare(tinted, PictureType.INFRARED)
    assert gray.shape == tinted.shape
    assert (np.ptp(gray, axis=2) == 0).all()


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (31, 57), (126, 102)])
def test_any_size_can_be_freed_of_watermarks(size: tuple[int, int]) -> None:
    image = np.random.default_rng(2).integers(0, 255, (*size, 3), dtype=np.uint8)
    assert prepare(image, PictureType.WATERMARK).shape == image.shape


def test_a_huge_picture_is_no_watermarked_portrait() -> None:
    image = np.zeros((4, 2000, 3), np.uint8)
    assert prepare(image, PictureType.WATERMARK) is image


def test_watermarked_faces_resemble_themselves_more_after_preparation(portraits: Portraits, engine: Engine) -> None:
    rng = np.random.default_rng(3)
    gains = []
    for image, face in portraits:
        cut, points = engine.portrait(image, face)
        (clean,) = engine.embed([engine.align(cut, points[:5])])
        for _ in range(MARKS):
            marked = watermarked(rng, cut, cut.shape[0] / 2.7)
            pair = (marked, prepare(marked, PictureType.WATERMARK))
            before, after = engine.embed([engine.align(picture, points[:5]) for picture in pair])
            gains.append(float(clean @ after - clean @ before))
    assert np.mean(gains) > 0.05
