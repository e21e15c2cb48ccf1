"""What is kept of a face that was seen: a small picture of it with its surroundings."""

from __future__ import annotations

import numpy as np

from service.inference.geometry import shrunk
from service.values import Face, Image, Points

# Side of the crop in sides of the face's box: what liveness networks (MiniFASNet and its kin) look at.
PORTRAIT_MARGIN = 2.7
LARGEST_SIDE = 320


def portrait(image: Image, face: Face) -> tuple[Image, Points]:
    """A crop around ``face``, at most 320 pixels a side, and the face's 5 + 68 points in the crop's pixels.

    The crop is a square of 2.7 sides of the face's box. Near the picture's edge it is moved inwards, and where the
    picture is smaller than the crop it is cut to the picture: no pixel is invented.
    """
    height, width = image.shape[:2]
    x, y, box_width, box_height = face.box
    side = max(8.0, max(box_width, box_height) * PORTRAIT_MARGIN)
    left, right = _span(x + box_width / 2, side, width)
    top, bottom = _span(y + box_height / 2, side, height)
    crop = image[top:bottom, left:right]
    scale = min(1.0, LARGEST_SIDE / max(crop.shape[:2]))
    size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
    if scale < 1:
        crop = shrunk(crop, size)
    zoom = np.array([size[0] / (right - left), size[1] / (bottom - top)])
    points = (np.concatenate([face.points, face.outline]) - (left, top)) * zoom
    return np.ascontiguousarray(crop), points.astype(np.float32)


def _span(centre: float, side: float, limit: int) -> tuple[int, int]:
    """Start and end of ``side`` pixels around ``centre``, moved and cut to lie within 0..``limit``."""
    length = min(limit, round(side))
    start = min(max(0, round(centre - length / 2)), limit - length)
    return start, start + length
