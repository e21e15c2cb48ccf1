"""Named landmarks: order, place, and that they move with the picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from service.inference import geometry
from service.inference.landmark_map import landmark_matrix
from service.inference.landmark_names import NAMES_72, NAMES_150, mirrored_name
from service.inference.mesh import load_canonical
from service.values import Image, Points
from tests.unit.attributes.conftest import Read

# In eye distances, mean over the 150 points. The mesh itself differs by .02 to .03 between a face and its mirror image.
MEAN_TOLERANCE = 0.04


def eye_distance(points: Points) -> float:
    rows = [NAMES_150.index(f"eye_{side}_eyeball_center") for side in ("right", "left")]
    return float(np.linalg.norm(points[rows[0]] - points[rows[1]]))


def off(found: Points, expected: Points) -> float:
    return float(np.linalg.norm(found - expected, axis=1).mean()) / eye_distance(expected)


def test_names_are_complete_and_distinct() -> None:
    assert len(NAMES_72) == 72
    assert len(set(NAMES_150)) == 150
    assert NAMES_150[:72] == NAMES_72


def test_order_as_the_clients_index_it() -> None:
    expected = {
        0: "cheek_right_1",
        6: "chin_2",
        12: "cheek_left_1",
        13: "eye_right_corner_right",
        21: "eye_right_eyeball_center",
        22: "eyebrow_right_corner_right",
        30: "eye_left_corner_right",
        38: "eye_left_eyeball_center",
        46: "eyebrow_left_lower_1",
        57: "nose_tip",
        58: "mouth_corner_right_outer",
        71: "mouth_lip_lower_inner_3",
        72: "cheek_right_2",
        108: "nose_bridge_1",
        149: "mouth_lip_lower_inner_1",
    }
    assert {index: NAMES_150[index] for index in expected} == expected


def test_mirrored_names_pair_up() -> None:
    assert {mirrored_name(name) for name in NAMES_150} == set(NAMES_150)
    assert all(mirrored_name(mirrored_name(name)) == name for name in NAMES_150)
    assert mirrored_name("eye_right_eyelid_upper_1") == "eye_left_eyelid_upper_7"
    assert mirrored_name("eye_right_corner_right") == "eye_left_corner_left"
    assert mirrored_name("mouth_lip_upper_outer_1") == "mouth_lip_upper_outer_11"
    assert mirrored_name("chin_1") == "chin_3"
    assert mirrored_name("nose_right_contour_4") == "nose_left_contour_4"


def test_every_landmark_is_a_mixture_of_few_points() -> None:
    matrix = landmark_matrix()
    assert matrix.shape == (150, 478)
    assert np.allclose(matrix.sum(axis=1), 1, atol=1e-5)
    assert ((matrix != 0).sum(axis=1) <= 6).all()


def test_canonical_landmarks_are_symmetric() -> None:
    canonical = load_canonical()
    points = np.zeros((478, 2), np.float32)
    points[:468] = canonical.points[:, :2]
    points[468:473, 0], points[473:, 0] = -0.5, 0.5
    found = landmark_matrix() @ points
    mirrored = found[[NAMES_150.index(mirrored_name(name)) for name in NAMES_150]] * [-1, 1]
    assert np.abs(found - mirrored).max() < 1e-5


def test_landmarks_lie_in_the_order_their_names_say(read: Read, astronaut: Image) -> None:
    points = dict(zip(NAMES_150, read(astronaut).landmarks, strict=True))
    x = {name: float(point[0]) for name, point in points.items()}
    y = {name: float(point[1]) for name, point in points.items()}
    for eye in ("eye_right", "eye_left"):
        lid = [x[f"{eye}_eyelid_upper_{number}"] for number in range(1, 8)]
        assert x[f"{eye}_corner_right"] < lid[0]
        assert lid == sorted(lid)
        assert lid[-1] < x[f"{eye}_corner_left"]
        assert y[f"{eye}_eyelid_upper_4"] < y[f"{eye}_eyeball_center"] < y[f"{eye}_eyelid_lower_4"]
        assert x[f"{eye}_eyeball_right"] < x[f"{eye}_eyeball_center"] < x[f"{eye}_eyeball_left"]
    cheek = [y[f"cheek_right_{number}"] for number in range(1, 12)]
    assert cheek == sorted(cheek)
    assert x["cheek_right_1"] < x["nose_tip"] < x["cheek_left_1"]
    assert y["eyebrow_right_upper_3"] < y["eyebrow_right_lower_2"] < y["eye_right_eyelid_upper_4"]
    assert y["nose_bridge_1"] < y["nose_bridge_3"] < y["nose_tip"] < y["nose_middle_contour"]
    assert y["nose_middle_contour"] < y["mouth_lip_upper_outer_6"] < y["mouth_lip_upper_inner_6"]
    assert y["mouth_lip_lower_inner_6"] < y["mouth_lip_lower_outer_6"] < y["chin_2"]


def test_four_landmarks(read: Read, astronaut: Image) -> None:
    right, left, nose, mouth = read(astronaut).landmark4
    assert right[0] < nose[0] < left[0]
    assert max(right[1], left[1]) < nose[1] < mouth[1]


@pytest.mark.parametrize("name", ["astronaut", "obama", "biden"])
def test_mirrored_picture_mirrors_names(read: Read, name: str, request: pytest.FixtureRequest) -> None:
    image: Image = request.getfixturevalue(name)
    straight = read(image)
    mirrored = read(np.ascontiguousarray(image[:, ::-1]))
    expected = straight.landmarks[[NAMES_150.index(mirrored_name(name)) for name in NAMES_150]]
    expected = expected * np.array([-1, 1], np.float32) + np.array([image.shape[1] - 1, 0], np.float32)
    assert off(mirrored.landmarks, expected) < MEAN_TOLERANCE
    assert mirrored.angles.yaw == pytest.approx(-straight.angles.yaw, abs=3)
    assert mirrored.angles.roll == pytest.approx(-straight.angles.roll, abs=3)
    assert mirrored.angles.pitch == pytest.approx(straight.angles.pitch, abs=3)


@pytest.mark.parametrize("degrees", [-30, 20, 90, 180])
def test_rotated_picture_rotates_landmarks(read: Read, astronaut: Image, degrees: int) -> None:
    straight = read(astronaut)
    height, width = astronaut.shape[:2]
    turn = geometry.rotation_about(((width - 1) / 2, (height - 1) / 2), degrees)
    turned = np.asarray(cv2.warpAffine(astronaut, turn, (width, height)), np.uint8)
    found = read(turned)
    assert off(found.landmarks, geometry.apply(turn, straight.landmarks)) < MEAN_TOLERANCE
    difference = (found.angles.roll - straight.angles.roll - degrees + 180) % 360 - 180
    assert abs(difference) < 4


@pytest.mark.parametrize("zoom", [0.5, 1.5])
def test_scaled_picture_scales_landmarks(read: Read, astronaut: Image, zoom: float) -> None:
    straight = read(astronaut)
    size = (round(astronaut.shape[1] * zoom), round(astronaut.shape[0] * zoom))
    scaled = read(np.asarray(cv2.resize(astronaut, size, interpolation=cv2.INTER_AREA), np.uint8))
    expected = (straight.landmarks + np.float32(0.5)) * np.float32(zoom) - np.float32(0.5)
    assert off(scaled.landmarks, expected) < MEAN_TOLERANCE
    assert scaled.angles.yaw == pytest.approx(straight.angles.yaw, abs=4)
