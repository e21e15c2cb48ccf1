"""Whole pictures that get darker, grayer, softer, that are patched, mirrored or cut: every face is found anew.

Unlike ``test_measures.py`` nothing here knows where the face is: detection and landmarks run on each picture, as in
service, and their wobble is part of what the tolerances allow.
"""

from __future__ import annotations

from dataclasses import astuple
from itertools import pairwise

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from models.train import face_parts
from models.train.face_parts import MIRRORED_PART, PARTS
from service.inference.engine import Engine
from service.inference.quality import Quality, QualityMeter, completeness
from service.values import Face, Image

Portraits = list[tuple[Image, Face]]

GAINS = (1.0, 0.8, 0.6, 0.4, 0.25, 0.15)
SIGMAS = (0.0, 0.006, 0.012, 0.02, 0.03, 0.045)
"""Of Gaussian blurs, in widths of the face."""

SPILL, MEAN_SPILL = 0.3, 0.06
"""How much more than what is truly hidden of it another part may read when one part is patched: at most, on average."""


def measure(engine: Engine, meter: QualityMeter, image: Image) -> Quality:
    found = engine.detect(image, 1)
    assert found
    return meter.measure(image, found[0])


def scaled(image: Image, gain: float) -> Image:
    return np.asarray(np.round(image * np.float32(gain)), np.uint8)


def blurred(image: Image, sigma: float) -> Image:
    return image if sigma == 0 else np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def gray(image: Image) -> Image:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), np.uint8)


def patched(image: Image, face: Face, part: str) -> tuple[Image, NDArray[np.float32]]:
    """The picture with the part and a little around it in one colour, and how much of each part that hides."""
    polygon = face_parts.polygons(face.outline)[PARTS.index(part)]
    grown = polygon.mean(axis=0) + (polygon - polygon.mean(axis=0)) * 1.1
    covered = face_parts.area(np.asarray(grown, np.float32), image.shape[0], image.shape[1])
    colour = np.array([40, 160, 60], np.uint8)
    return np.where(covered[..., np.newaxis] > 0, colour, image), face_parts.covered_ratios(face.outline, covered)


def test_darker_pictures_are_told_darker_and_hardly_blurrier(
    portraits: Portraits, engine: Engine, quality_meter: QualityMeter
) -> None:
    for image, _ in portraits:
        series = [measure(engine, quality_meter, scaled(image, gain)) for gain in GAINS]
        assert all(high.illumination > low.illumination for high, low in pairwise(series))
        assert max(quality.blur for quality in series) < 0.1


def test_softer_pictures_are_told_blurrier_and_as_bright(
    portraits: Portraits, engine: Engine, quality_meter: QualityMeter
) -> None:
    for image, face in portraits:
        width = face.location.width
        series = [measure(engine, quality_meter, blurred(image, sigma * width)) for sigma in SIGMAS]
        assert all(sharp.blur <= soft.blur for sharp, soft in pairwise(series))
        assert series[0].blur < 0.1
        assert series[-1].blur > 0.7
        assert np.ptp([quality.illumination for quality in series]) < 8


def test_a_gray_picture_measures_as_its_colours(
    portraits: Portraits, engine: Engine, quality_meter: QualityMeter
) -> None:
    for image, _ in portraits:
        coloured, plain = (measure(engine, quality_meter, picture) for picture in (image, gray(image)))
        assert plain.illumination == pytest.approx(coloured.illumination, abs=2)
        assert plain.blur == pytest.approx(coloured.blur, abs=0.02)
        assert np.abs(np.subtract(astuple(plain.occlusion), astuple(coloured.occlusion))).max() < 0.1


@pytest.mark.parametrize("part", PARTS)
def test_a_patch_over_a_part_raises_that_part_and_no_other(
    portraits: Portraits, engine: Engine, quality_meter: QualityMeter, part: str
) -> None:
    index, spills = PARTS.index(part), []
    for image, face in portraits:
        plain = np.array(astuple(measure(engine, quality_meter, image).occlusion))
        spoilt, hidden = patched(image, face, part)
        told = np.array(astuple(measure(engine, quality_meter, spoilt).occlusion))
        assert hidden[index] > 0.95
        assert told[index] - plain[index] > 0.5
        spills.append(np.delete(told - np.maximum(plain, hidden), index))
    assert np.max(spills) < SPILL
    assert np.mean(np.maximum(spills, 0)) < MEAN_SPILL


@pytest.mark.parametrize("part", PARTS)
def test_a_mirrored_picture_mirrors_what_is_hidden(
    portraits: Portraits, engine: Engine, quality_meter: QualityMeter, part: str
) -> None:
    for image, face in portraits:
        spoilt, _ = patched(image, face, part)
        told = astuple(measure(engine, quality_meter, spoilt).occlusion)
        mirrored = astuple(measure(engine, quality_meter, np.ascontiguousarray(spoilt[:, ::-1])).occlusion)
        differences = np.abs(np.array(told) - np.array(mirrored)[list(MIRRORED_PART)])
        assert differences.max() < 0.3
        assert differences.mean() < 0.08


# --- the upper border -------------------------------------------------------------------------------------------------


def cut_above_brows(image: Image, face: Face, share: float) -> Image:
    """The picture without what lies more than ``share`` above the brows, in lengths of nose root to chin."""
    length = float(np.linalg.norm(face.outline[8] - face.outline[27]))
    return np.ascontiguousarray(image[max(0, round(face.outline[17:27, 1].mean() - share * length)) :])


@pytest.mark.parametrize(("share", "complete"), [(0.62, 1), (0.2, 0), (0.1, 0), (0.0, 0), (-0.2, 0)])
def test_the_forehead_belongs_to_the_face_and_the_hair_does_not(
    portraits: Portraits, engine: Engine, share: float, complete: int
) -> None:
    """The hairline lies about 0.47 above the brows: cut in the hair, in the forehead, at the brows, below them."""
    for image, face in portraits:
        part = cut_above_brows(image, face, share)
        found = engine.detect(part, 1)
        assert found or share < 0  # below the brows it may take the face for none at all
        assert all(completeness(part, seen) == complete for seen in found)


def test_a_full_face_close_to_every_edge_is_complete(portraits: Portraits, engine: Engine) -> None:
    for image, face in portraits:
        x, y, width, height = face.box
        room = np.array([0.06 * width, 0.06 * height])
        low = np.minimum((x, y), face.outline.min(axis=0)) - room
        high = np.maximum((x + width, y + height), face.outline.max(axis=0)) + room
        left, top = np.maximum(np.round(low).astype(int), 0)
        right, bottom = np.round(high).astype(int)
        part = np.ascontiguousarray(image[top:bottom, left:right])
        (found,) = engine.detect(part, 1)
        assert completeness(part, found) == 1


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_picture_is_as_complete_as_the_upright_one(portraits: Portraits, engine: Engine, turns: int) -> None:
    for image, face in portraits:
        for share, complete in ((0.62, 1), (0.1, 0)):
            part = np.ascontiguousarray(np.rot90(cut_above_brows(image, face, share), turns))
            (found,) = engine.detect(part, 1)
            assert completeness(part, found) == complete
