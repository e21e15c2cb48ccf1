"""Angles from points: symmetry, signs, and the committed weights."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.inference.geometry import apply, rotation_about, scaling
from service.inference.pose import FIVE_POINTS, MIRRORED, OUTLINE_POINTS, HeadPose
from service.values import Points

POSE = HeadPose.load()


def shape(count: int) -> Points:
    """The mean shape of the fitted weights: a face that looks straight at the camera, 200 pixels large."""
    return np.asarray(POSE._regressions[count].shape * 100 + 300, dtype=np.float32)


def mirrored(points: Points, width: int = 640) -> Points:
    return np.asarray(points[MIRRORED[len(points)]] * (-1, 1) + (width - 1, 0), dtype=np.float32)


@pytest.mark.parametrize("count", [OUTLINE_POINTS, FIVE_POINTS])
def test_mirroring_twice_is_nothing(count: int) -> None:
    np.testing.assert_array_equal(MIRRORED[count][MIRRORED[count]], np.arange(count))


@pytest.mark.parametrize("count", [OUTLINE_POINTS, FIVE_POINTS])
@given(seed=st.integers(0, 1000))
def test_mirrored_points_turn_yaw_and_roll_around(count: int, seed: int) -> None:
    points = shape(count) + np.random.default_rng(seed).normal(0, 4, (count, 2)).astype(np.float32)
    angles, other = POSE.angles(points), POSE.angles(mirrored(points))
    assert other.yaw == pytest.approx(-angles.yaw, abs=0.05)
    assert other.pitch == pytest.approx(angles.pitch, abs=0.05)
    assert other.roll == pytest.approx(-angles.roll, abs=0.05)


@pytest.mark.parametrize("count", [OUTLINE_POINTS, FIVE_POINTS])
def test_place_size_and_roll_do_not_change_yaw_and_pitch(count: int) -> None:
    points = shape(count) + np.random.default_rng(1).normal(0, 4, (count, 2)).astype(np.float32)
    plain = POSE.angles(points)
    moved = POSE.angles(apply(scaling(2.5, (0, 0), (17, -40)), apply(rotation_about((5, 5), 33), points)))
    assert moved.yaw == pytest.approx(plain.yaw, abs=0.05)
    assert moved.pitch == pytest.approx(plain.pitch, abs=0.05)
    assert moved.roll == pytest.approx(plain.roll + 33, abs=0.05)


@pytest.mark.parametrize("count", [OUTLINE_POINTS, FIVE_POINTS])
def test_signs(count: int) -> None:
    frontal = shape(count)
    nose = slice(27, 36) if count == OUTLINE_POINTS else slice(2, 3)
    right, up = frontal.copy(), frontal.copy()
    right[nose, 0] += 15
    up[nose, 1] -= 10
    assert abs(POSE.angles(frontal).yaw) < 0.1
    assert POSE.angles(right).yaw < -3
    assert POSE.angles(up).pitch < POSE.angles(frontal).pitch


def test_wild_points_stay_in_range() -> None:
    random = np.random.default_rng(2)
    for _ in range(50):
        angles = POSE.angles(random.normal(0, 100, (OUTLINE_POINTS, 2)).astype(np.float32))
        assert -90 <= angles.yaw <= 90
        assert -90 <= angles.pitch <= 90
