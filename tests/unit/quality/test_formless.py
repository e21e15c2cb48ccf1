"""Faces so blurred that nobody can be told by them resemble nobody."""

from __future__ import annotations

from itertools import combinations

import cv2
import numpy as np
import pytest

from service.inference.engine import Engine
from service.inference.quality import formless
from service.intake.seen import embedded
from service.values import Face, Image

Portraits = list[tuple[Image, Face]]

AT_EIGHTY = 0.404
"""Cosine at the score of 80, ``models/calibration/core.json``."""


@pytest.fixture(scope="module")
def crops(portraits: Portraits, engine: Engine) -> list[Image]:
    return [engine.align(image, face.points) for image, face in portraits]


def blurred(crop: Image, sigma: float) -> Image:
    return np.asarray(cv2.GaussianBlur(crop, (0, 0), sigma), np.uint8)


def ramp(level: int) -> Image:
    """A crop that grows darker or lighter from above by 60 gray levels."""
    rows = np.linspace(level, abs(level - 60), 112).astype(np.uint8)
    return np.ascontiguousarray(np.tile(rows[:, np.newaxis, np.newaxis], (1, 112, 3)))


def test_formless_faces_resemble_nobody(crops: list[Image], engine: Engine) -> None:
    soft = [blurred(crop, 9) for crop in crops]
    assert all(formless(crop) for crop in soft)
    raw = engine.embed(soft)
    assert max(float(one @ other) for one, other in combinations(raw, 2)) > AT_EIGHTY  # what there is to be mended
    told = [embedded(engine, crop) for crop in soft]
    assert all(abs(float(one @ other)) < AT_EIGHTY for one, other in combinations(told, 2))
    # One side is enough: what was enrolled by its raw embedding is not found by such a probe.
    assert all(abs(float(one @ other)) < AT_EIGHTY for one in told for other in raw)


def test_a_formless_picture_keeps_its_direction(crops: list[Image], engine: Engine) -> None:
    soft = blurred(crops[0], 9)
    first = embedded(engine, soft)
    assert np.array_equal(first, embedded(engine, soft.copy()))
    assert first.dtype == np.float32
    assert first.shape == (engine.dimension,)
    assert float(np.linalg.norm(first)) == pytest.approx(1, abs=1e-6)


def test_a_direction_is_the_same_in_every_release(engine: Engine) -> None:
    """Enrolled faces were drawn for by the release of their day."""
    told = embedded(engine, ramp(128))
    assert np.packbits(told > 0).tobytes()[:8].hex() == "7f63a9aa15d75433"
    assert np.unique(np.abs(told)).tolist() == [np.float32(engine.dimension**-0.5)]


@pytest.mark.parametrize("gain", [1.0, 0.3, 0.1])
def test_sharp_soft_and_dark_faces_keep_their_embedding(crops: list[Image], engine: Engine, gain: float) -> None:
    for crop in crops:
        seen = np.asarray(np.round(crop * np.float32(gain)), np.uint8)
        for face in (seen, blurred(crop, 2)):
            assert np.array_equal(embedded(engine, face), engine.embed([face])[0])


@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_ramp_has_no_form_to_be_told_by(level: int) -> None:
    assert formless(ramp(level))
