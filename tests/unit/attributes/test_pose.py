"""Head pose from meshes that we turn ourselves, and the canonical face it is measured against."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.inference.mesh import load_canonical, pose, rigid_fit

angle = st.floats(-60, 60)


def turned(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """Rotation matrix in the picture's axes: x right, y down, z away from the camera."""
    cx, sx = math.cos(math.radians(pitch)), math.sin(math.radians(pitch))
    cy, sy = math.cos(math.radians(yaw)), math.sin(math.radians(yaw))
    cz, sz = math.cos(math.radians(roll)), math.sin(math.radians(roll))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)


@given(yaw=angle, pitch=angle, roll=st.floats(-179, 179), size=st.floats(5, 500), shift=st.floats(-1000, 1000))
def test_pose_of_a_turned_face(yaw: float, pitch: float, roll: float, size: float, shift: float) -> None:
    canonical = load_canonical()
    points = (canonical.points @ turned(yaw, pitch, roll).T * size + shift).astype(np.float32)
    found = pose(points, canonical)
    assert (found.yaw, found.pitch, found.roll) == pytest.approx((yaw, pitch, roll), abs=0.1)


def test_signs() -> None:
    canonical = load_canonical()
    tip, bridge, outer_right, outer_left = 1, 168, 33, 263

    def after(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
        return np.asarray(canonical.points @ turned(yaw, pitch, roll).T)

    to_the_right = after(-30, 0, 0)
    assert to_the_right[tip, 0] > to_the_right[bridge, 0], "negative yaw moves the nose to the picture's right"
    up = after(0, -30, 0)
    assert up[tip, 1] < after(0, 0, 0)[tip, 1], "negative pitch moves the nose up"
    clockwise = after(0, 0, 30)
    assert clockwise[outer_left, 1] > clockwise[outer_right, 1], "positive roll lowers the eye on the picture's right"


def test_canonical_face_is_symmetric_and_frontal() -> None:
    canonical = load_canonical()
    assert canonical.points.shape == (468, 3)
    assert np.array_equal(canonical.mirror[canonical.mirror], np.arange(468))
    assert np.abs(canonical.points[canonical.mirror] * [-1, 1, 1] - canonical.points).max() < 1e-5
    assert canonical.points[1, 2] < canonical.points[234, 2], "the nose is nearer than the ears"
    assert canonical.points[10, 1] < canonical.points[152, 1], "the forehead is above the chin"


def test_rigid_fit_never_mirrors() -> None:
    canonical = load_canonical()
    rotation, scale = rigid_fit(
        canonical.points, canonical.points * np.array([-1, 1, 1], np.float32), canonical.weights
    )
    assert np.linalg.det(rotation) == pytest.approx(1)
    assert scale > 0
