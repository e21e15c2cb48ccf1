"""Transforms, boxes and crops against independent implementations and by their properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.transform import SimilarityTransform

from service.inference.geometry import (
    ARCFACE_TEMPLATE,
    IDENTITY,
    apply,
    compose,
    crop_square,
    eye_line_roll,
    five_points,
    in_their_place,
    intersection_over_union,
    inverse,
    location_of,
    rotation_about,
    scale_of,
    scaling,
    shift,
    similarity,
    warp,
    warpable,
)
from service.values import Angles, Face, Location, Points

LONGEST = 32_767
"""Pixels of a side that OpenCV does not warp."""

COORDINATES = st.floats(-500, 500, allow_nan=False, width=32)
POINTS = st.lists(st.tuples(COORDINATES, COORDINATES), min_size=5, max_size=5).map(
    lambda points: np.array(points, dtype=np.float32)
)


def test_similarity_agrees_with_an_independent_umeyama() -> None:
    random = np.random.default_rng(3)
    for _ in range(50):
        source = random.normal(0, 40, (5, 2)).astype(np.float32)
        reference = SimilarityTransform.from_estimate(source.astype(float), ARCFACE_TEMPLATE.astype(float))
        # Reflections are no similarity of a face; the reference avoids them too.
        np.testing.assert_allclose(similarity(source, ARCFACE_TEMPLATE), reference.params[:2], atol=1e-4)


@given(POINTS, st.floats(-180, 180), st.floats(0.1, 10), COORDINATES, COORDINATES)
def test_similarity_recovers_what_was_done(points: Points, degrees: float, factor: float, x: float, y: float) -> None:
    if np.ptp(points, axis=0).max() < 1:
        return
    done = compose(scaling(factor, (0, 0), (x, y)), rotation_about((0, 0), degrees))
    found = similarity(points, apply(done, points))
    np.testing.assert_allclose(apply(found, points), apply(done, points), atol=0.05)
    assert scale_of(found) == pytest.approx(factor, rel=0.01)


def test_similarity_of_coinciding_points_is_finite() -> None:
    assert np.isfinite(similarity(np.zeros((5, 2), np.float32), ARCFACE_TEMPLATE)).all()


@given(POINTS, st.floats(-180, 180), COORDINATES, COORDINATES)
def test_inverse_undoes(points: Points, degrees: float, x: float, y: float) -> None:
    transform = rotation_about((x, y), degrees)
    np.testing.assert_allclose(apply(inverse(transform), apply(transform, points)), points, atol=0.01)


def test_rotation_is_clockwise_in_the_picture() -> None:
    right = np.array([[1.0, 0.0]], np.float32)
    np.testing.assert_allclose(apply(rotation_about((0, 0), 90), right), [[0, 1]], atol=1e-6)


@pytest.mark.parametrize("degrees", [-170, -90, -30, 0, 45, 90, 179])
def test_roll_is_the_eye_lines(degrees: float) -> None:
    points = apply(rotation_about((50, 60), degrees), np.array([[0, 0], [10, 0], [5, 5], [2, 8], [8, 8]], np.float32))
    assert eye_line_roll(points) == pytest.approx(degrees, abs=0.01)


def test_five_points_of_an_outline() -> None:
    outline = np.stack([np.arange(68), 2 * np.arange(68)], axis=1).astype(np.float32)
    expected = [(37 + 38 + 40 + 41) / 4, (43 + 44 + 46 + 47) / 4, 30, 54, 59]
    np.testing.assert_allclose(five_points(outline)[:, 0], expected)


@given(st.floats(-180, 180), st.floats(20, 400), st.floats(20, 400), COORDINATES, COORDINATES)
def test_location_turned_about_its_corner_covers_the_points(
    roll: float, width: float, height: float, x: float, y: float
) -> None:
    """Turning the plain box about its top left corner by ``rotation`` gives the box around the face."""
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height], [width / 2, height / 2]], np.float32)
    face = apply(rotation_about((0, 0), round(roll)), frame) + np.array([x, y], np.float32)
    location = location_of(face, roll)
    plain = frame[:4] * (location.width / width, location.height / height) + (location.left, location.top)
    turned = apply(rotation_about((location.left, location.top), location.rotation), plain.astype(np.float32))
    np.testing.assert_allclose(turned, face[:4], atol=0.2)
    assert -180 <= location.rotation <= 180


def test_location_of_an_upright_face_is_the_plain_box() -> None:
    location = location_of(np.array([[10, 20], [50, 70]], np.float32), 0.3)
    assert (location.left, location.top, location.width, location.height, location.rotation) == (10, 20, 40, 50, 0)


def test_overlap() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 10, 10], [20, 20, 5, 5], [0, 0, 0, 0]], np.float32)
    np.testing.assert_allclose(intersection_over_union(boxes[0], boxes), [1, 1 / 3, 0, 0], atol=1e-6)


def test_crop_puts_points_on_the_template() -> None:
    random = np.random.default_rng(5)
    points = apply(rotation_about((30, 30), 20), ARCFACE_TEMPLATE * 3)
    np.testing.assert_allclose(apply(crop_square(points), points), ARCFACE_TEMPLATE, atol=0.01)
    image = random.integers(0, 256, (400, 400, 3), dtype=np.uint8)
    crop = warp(image, crop_square(points), (112, 112))
    assert crop.shape == (112, 112, 3)
    assert crop.dtype == np.uint8


def test_shrinking_averages_and_does_not_skip_pixels() -> None:
    fine = np.zeros((800, 800, 3), np.uint8)
    fine[:, ::2] = 255
    small = warp(fine, np.array([[0.1, 0, 0], [0, 0.1, 0]]), (80, 80))
    inner = small[5:-5, 5:-5].astype(int)
    assert abs(inner.mean() - 127.5) < 3
    assert inner.std() < 12


def test_shrinking_keeps_places() -> None:
    image = np.zeros((1000, 1000, 3), np.uint8)
    image[600:700, 300:400] = 255
    small = warp(image, np.array([[0.1, 0, 0], [0, 0.1, 0]]), (100, 100))
    rows, columns = np.nonzero(small[..., 0] > 127)
    assert abs(rows.mean() - 64.5) < 1
    assert abs(columns.mean() - 34.5) < 1


def test_warp_outside_the_picture_is_black() -> None:
    image = np.full((50, 50, 3), 200, np.uint8)
    assert not warp(image, np.array([[0.05, 0, -500], [0, 0.05, -500]]), (112, 112)).any()
    assert math.isclose(float(warp(image, np.array([[1.0, 0, 0], [0, 1.0, 0]]), (20, 20)).mean()), 200)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("degrees", [0, 30, -90])
@pytest.mark.parametrize("factor", [0.7, 2.0])
def test_a_picture_that_is_too_long_for_opencv_gives_the_same_crops(axis: int, degrees: float, factor: float) -> None:
    part = np.random.default_rng(axis).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    seen = compose(scaling(factor, (100, 100), (40, 40)), rotation_about((100, 100), degrees))
    for before, behind in ((0, LONGEST), (LONGEST, 0), (LONGEST, 300)):
        widths = [(0, 0), (0, 0), (0, 0)]
        widths[axis] = (before, behind)
        moved = shift(0, -before) if axis == 0 else shift(-before, 0)
        crop = warp(np.pad(part, widths), compose(seen, moved), (80, 80))
        np.testing.assert_array_equal(crop, warp(part, seen, (80, 80)))


def test_a_crop_beside_a_long_picture_is_black() -> None:
    long = np.full((10, LONGEST, 3), 200, np.uint8)
    for place in ((-1e6, 0), (1e6, 0), (0, 1e6), (0, -1e6)):
        assert not warp(long, shift(*place), (50, 50)).any()


def test_pictures_of_ordinary_size_are_warped_whole() -> None:
    image = np.zeros((4, LONGEST - 1, 3), np.uint8)
    whole, transform = warpable(image, IDENTITY, (4, 4))
    assert whole is image
    assert transform is IDENTITY


def face(x: float, y: float, width: float, height: float) -> Face:
    """With its centre at ``(x, y)``."""
    nothing = np.zeros((0, 2), np.float32)
    box = (x - width / 2, y - height / 2, width, height)
    return Face(box, 1.0, nothing, nothing, Location(*box, 0), Angles(0, 0, 0))


def test_a_face_is_told_as_it_was_known() -> None:
    known = [face(500, 500, 320, 420), face(1500, 500, 300, 400)]
    found = [face(1503, 498, 305, 396), face(502, 501, 322, 425), face(2500, 500, 300, 400)]
    assert in_their_place(found, known) == [known[1], known[0], found[2]]
    assert in_their_place(found, []) == found


@pytest.mark.parametrize("apart", [205.0, 160.0, 0.0])
def test_a_small_face_close_to_a_large_one_stays_somebody_else(apart: float) -> None:
    # Half of the large box's height is 210, half of the side of a square of its area 183.
    known, small = face(500, 500, 320, 420), face(500 + apart, 500, 48, 66)
    large = face(501, 499, 324, 420)
    assert in_their_place([small, large], [known]) == [small, known]


def test_of_two_faces_the_nearer_is_the_known_one() -> None:
    known = face(500, 500, 300, 300)
    beside, nearer = face(600, 500, 280, 280), face(520, 500, 310, 310)
    assert in_their_place([beside, nearer], [known]) == [beside, known]
