"""The occlusion network on faces that things are drawn over, on mirrored pictures, and on a real mask."""

from __future__ import annotations

from dataclasses import astuple

import cv2
import numpy as np
import pytest

from benchmarks.quality import masked
from models.train import face_parts
from models.train.face_parts import MIRRORED_PART, PARTS
from service.inference.geometry import five_points
from service.inference.occlusion import SIDE, Occlusion, OcclusionMeter, crop
from service.intake.acceptance import PARTS as PARTS_OF_THE_VALUE
from service.values import Face, Image
from tests.fixtures.pictures import Pictures

Portraits = list[tuple[Image, Face]]

NEIGHBOURS = {
    "left_eye": {"left_cheek", "nose"},
    "right_eye": {"right_cheek", "nose"},
    "nose": {"left_eye", "right_eye", "mouth", "left_cheek", "right_cheek"},
    "mouth": {"nose", "chin_contour", "left_cheek", "right_cheek"},
    "left_cheek": {"left_eye", "nose", "mouth", "chin_contour"},
    "right_cheek": {"right_eye", "nose", "mouth", "chin_contour"},
    "chin_contour": {"mouth", "left_cheek", "right_cheek"},
}
"""Parts so near that a patch over the one may touch them."""


def read(meter: OcclusionMeter, image: Image, face: Face) -> dict[str, float]:
    return dict(zip(PARTS, astuple(meter.measure(image, five_points(face.outline))), strict=True))


def covered(image: Image, face: Face, part: str, colour: tuple[int, int, int]) -> Image:
    """The part's area and a little around it filled with one colour."""
    patched = image.copy()
    polygon = face_parts.polygons(face.outline)[PARTS.index(part)]
    grown = polygon.mean(axis=0) + (polygon - polygon.mean(axis=0)) * 1.2
    cv2.fillPoly(patched, [np.round(grown).astype(np.int32)], colour)
    return np.asarray(patched, np.uint8)


def test_training_and_service_name_the_same_parts_in_the_same_order() -> None:
    assert PARTS == PARTS_OF_THE_VALUE


def test_uncovered_faces_read_near_nothing(portraits: Portraits, occlusion_meter: OcclusionMeter) -> None:
    for image, face in portraits:
        assert max(read(occlusion_meter, image, face).values()) < 0.15


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("colour", [(40, 160, 60), (20, 20, 20), (235, 235, 235)])
def test_a_patch_over_a_part_raises_that_part_and_hardly_the_far_ones(
    portraits: Portraits, occlusion_meter: OcclusionMeter, part: str, colour: tuple[int, int, int]
) -> None:
    raised, far = [], []
    for image, face in portraits:
        plain = read(occlusion_meter, image, face)
        patched = read(occlusion_meter, covered(image, face, part, colour), face)
        raised.append(patched[part] - plain[part])
        far += [patched[other] - plain[other] for other in PARTS if other != part and other not in NEIGHBOURS[part]]
    assert np.mean(raised) > 0.4
    assert min(raised) > 0.15
    assert np.mean(far) < 0.1


@pytest.mark.parametrize("part", PARTS)
def test_a_mirrored_picture_swaps_left_and_right(
    portraits: Portraits, occlusion_meter: OcclusionMeter, part: str
) -> None:
    swapped = {name: PARTS[MIRRORED_PART[index]] for index, name in enumerate(PARTS)}
    for image, face in portraits:
        patched = covered(image, face, part, (60, 60, 200))
        seen = read(occlusion_meter, patched, face)
        mirrored = np.ascontiguousarray(patched[:, ::-1])
        outline = face_parts.mirror(face.outline, image.shape[1])
        told = astuple(occlusion_meter.measure(mirrored, five_points(outline)))
        reflection = dict(zip(PARTS, told, strict=True))
        assert np.mean([abs(seen[name] - reflection[swapped[name]]) for name in PARTS]) < 0.12


def test_mirroring_points_twice_changes_nothing(portraits: Portraits) -> None:
    for image, face in portraits:
        twice = face_parts.mirror(face_parts.mirror(face.outline, image.shape[1]), image.shape[1])
        assert np.allclose(twice, face.outline)


def test_what_is_covered_is_counted_by_part(portraits: Portraits) -> None:
    image, face = portraits[0]
    nothing = np.zeros(image.shape[:2], np.uint8)
    assert (face_parts.covered_ratios(face.outline, nothing) == 0).all()
    assert (face_parts.covered_ratios(face.outline, nothing + 1) == 1).all()
    assert (face_parts.covered_ratios(face.outline + 10_000, nothing) == 1).all()


def test_the_photograph_of_a_mask_hides_mouth_and_chin_and_leaves_the_eyes(
    portraits: Portraits, occlusion_meter: OcclusionMeter, pictures: Pictures
) -> None:
    mask = np.asarray(cv2.imread(str(pictures.path("mask_white.jpg")), cv2.IMREAD_COLOR), np.uint8)
    seen = [read(occlusion_meter, masked(image, face.outline, mask), face) for image, face in portraits]
    mean = {part: np.mean([values[part] for values in seen]) for part in PARTS}
    assert mean["mouth"] > 0.7
    assert mean["chin_contour"] > 0.5
    assert mean["left_eye"] < 0.2
    assert mean["right_eye"] < 0.2


def test_values_stay_within_bounds_wherever_the_face_is_said_to_be(occlusion_meter: OcclusionMeter) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (80, 60, 3), dtype=np.uint8)
    points = np.array([[-900, 5], [900, 5], [0, 10], [-5, 400], [5, 400]], np.float32)
    assert crop(noise, points).shape == (SIDE, SIDE, 3)
    told = occlusion_meter.measure(noise, points)
    assert isinstance(told, Occlusion)
    assert all(0 <= value <= 1 for value in astuple(told))
