from __future__ import annotations

import numpy as np

from service.intake.order import nearest_first
from service.values import Angles, Face, Location

PICTURE = np.zeros((400, 1000, 3), np.uint8)


def face(x: float, y: float, side: float) -> Face:
    nothing = np.zeros((0, 2), np.float32)
    return Face((x, y, side, side), 1.0, nothing, nothing, Location(x, y, side, side), Angles(0, 0, 0))


def test_the_middle_of_the_box_counts_and_not_its_corner_or_size() -> None:
    large, small, corner = face(0, 0, 380), face(460, 160, 80), face(500, 200, 300)
    assert nearest_first([large, corner, small], PICTURE) == [small, corner, large]


def test_ties_stay_as_they_were() -> None:
    left, right = face(300, 150, 100), face(600, 150, 100)
    assert nearest_first([right, left], PICTURE) == [right, left]
    assert nearest_first([left, right], PICTURE) == [left, right]
    assert nearest_first([], PICTURE) == []
