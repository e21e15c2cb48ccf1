"""The seven face parts that occlusion is told for, as areas of a picture, from the 68 outline points.

Points follow the usual iBUG order: contour 0-16 from the picture's left to its right, brows 17-26, nose 27-35, eyes
36-47, mouth 48-67. "left" and "right" are the **subject's**: the left eye lies on the right side of the picture.
The areas are our own choice, made so that they hardly overlap and together cover brow to chin.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from service.values import Points

PARTS = ("left_eye", "right_eye", "nose", "mouth", "left_cheek", "right_cheek", "chin_contour")
"""Names and order, as the API lists them; also the order of the network's outputs."""

MIRRORED_PART = (1, 0, 2, 3, 5, 4, 6)
"""``PARTS[MIRRORED_PART[i]]`` is what ``PARTS[i]`` becomes in a mirrored picture."""

MIRRORED_POINT = np.array(
    [
        *(*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65),
    ],
    dtype=np.intp,
)
"""Point ``i`` of a mirrored picture is point ``MIRRORED_POINT[i]`` of the original with its x mirrored."""

_RIGHT_EYE, _LEFT_EYE = (36, 39), (42, 45)


def mirror(outline: Points, width: int) -> Points:
    """The outline ``(68, 2)`` of the picture mirrored left to right; ``width`` is the picture's, in pixels."""
    flipped = outline[MIRRORED_POINT]
    return np.stack([width - 1 - flipped[:, 0], flipped[:, 1]], axis=1).astype(np.float32)


def _grown(polygon: Points, factor: float) -> Points:
    centre = polygon.mean(axis=0)
    return np.asarray(centre + (polygon - centre) * factor, dtype=np.float32)


def _eye(outline: Points, corners: tuple[int, int]) -> Points:
    """An ellipse one and a half eyes wide, 24 points."""
    first, second = outline[corners[0]], outline[corners[1]]
    axis = second - first
    across = np.array([-axis[1], axis[0]], dtype=np.float32)
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False, dtype=np.float32)[:, None]
    return np.asarray((first + second) / 2 + 0.75 * np.cos(turn) * axis + 0.45 * np.sin(turn) * across, np.float32)


def _cheek(outline: Points, contour: tuple[int, ...], mouth: int, nostril: int, lids: tuple[int, ...]) -> Points:
    down = (outline[8] - outline[27]) * 0.09  # clear of the eye's own area
    return np.concatenate([outline[list(contour)], outline[[mouth, nostril]], outline[list(lids)] + down])


def _chin(outline: Points) -> Points:
    lip = outline[[55, 56, 57, 58, 59]]
    return np.concatenate([outline[5:12], lip + (outline[8] - outline[57]) * 0.15])


def polygons(outline: Points) -> tuple[Points, ...]:
    """The seven areas, in the order of ``PARTS``, each ``(n, 2)`` in pixels of the picture."""
    nose = cv2.convexHull(outline[[27, 31, 32, 33, 34, 35]])[:, 0]
    mouth = cv2.convexHull(outline[48:60])[:, 0]
    return (
        _eye(outline, _LEFT_EYE),
        _eye(outline, _RIGHT_EYE),
        _grown(np.asarray(nose, np.float32), 1.15),
        _grown(np.asarray(mouth, np.float32), 1.1),
        _cheek(outline, (15, 14, 13, 12), 54, 35, (47, 46, 45)),
        _cheek(outline, (1, 2, 3, 4), 48, 31, (40, 41, 36)),
        _chin(outline),
    )


def area(polygon: Points, height: int, width: int) -> NDArray[np.uint8]:
    """The filled polygon as a 0/1 map ``(height, width)``; what lies outside the picture is cut off."""
    filled = np.zeros((height, width), np.uint8)
    # 4 fractional bits: rounding to whole pixels would matter on small faces
    cv2.fillPoly(filled, [np.round(polygon * 16).astype(np.int32)], 1, shift=4)
    return filled


def covered_ratios(outline: Points, covered: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Which share of each part is covered: ``(7,)`` float32, 0..1, in the order of ``PARTS``.

    ``covered``: ``(height, width)`` 0/1 map of the pasted things. A part that lies wholly outside counts as covered.
    """
    height, width = covered.shape
    ratios = np.ones(len(PARTS), np.float32)
    for index, polygon in enumerate(polygons(outline)):
        inside = area(polygon, height, width)
        pixels = int(inside.sum())
        if pixels:
            ratios[index] = float((inside & covered).sum()) / pixels
    return ratios
