"""A label for every pixel of a picture, from the outlines of the mesh's regions (the API's ``parsing_info``)."""

from __future__ import annotations

import enum

import cv2
import numpy as np
from numpy.typing import NDArray

from service.values import Points


class Region(enum.IntEnum):
    """Labels of ``label_map``; left and right are the subject's. Later ones are drawn over earlier ones."""

    BACKGROUND = 0
    SKIN = 1
    RIGHT_BROW = 2
    LEFT_BROW = 3
    RIGHT_EYE = 4
    LEFT_EYE = 5
    NOSE = 6
    UPPER_LIP = 7
    LOWER_LIP = 8
    MOUTH_INSIDE = 9


# Vertices of each region's outline, in order around it. Vertex numbers are those of MediaPipe's face mesh.
_UPPER_OUTER = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
_UPPER_INNER = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
_LOWER_OUTER = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
_LOWER_INNER = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
_RIGHT_OVAL = (10, 109, 67, 103, 54, 21, 162, 127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152)
_LEFT_OVAL = (377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356, 389, 251, 284, 332, 297, 338)

OUTLINES: dict[Region, tuple[int, ...]] = {
    Region.SKIN: (*_RIGHT_OVAL, *_LEFT_OVAL),
    Region.RIGHT_BROW: (46, 70, 63, 105, 66, 107, 55, 65, 52, 53),
    Region.LEFT_BROW: (276, 300, 293, 334, 296, 336, 285, 295, 282, 283),
    Region.RIGHT_EYE: (33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7),
    Region.LEFT_EYE: (263, 466, 388, 387, 386, 385, 384, 398, 362, 382, 381, 380, 374, 373, 390, 249),
    Region.NOSE: (168, 245, 236, 131, 64, 98, 97, 2, 326, 327, 294, 360, 456, 465),
    Region.UPPER_LIP: (*_UPPER_OUTER, *reversed(_UPPER_INNER)),
    Region.LOWER_LIP: (*_LOWER_OUTER, *reversed(_LOWER_INNER)),
    Region.MOUTH_INSIDE: (*_UPPER_INNER, *reversed(_LOWER_INNER)),
}

_SUBPIXEL_BITS = 4


def label_map(points: Points, height: int, width: int) -> NDArray[np.uint8]:
    """``(height, width)`` uint8 of ``Region`` values for a picture of that size.

    ``points``: at least the mesh's ``(468, 2)`` in pixels of the picture; regions may lie partly or wholly outside it.
    """
    labels = np.zeros((height, width), np.uint8)
    for region, vertices in OUTLINES.items():
        polygon = np.round(points[list(vertices)] * (1 << _SUBPIXEL_BITS)).astype(np.int32)
        cv2.fillPoly(labels, [polygon], int(region), shift=_SUBPIXEL_BITS)
    return labels
