"""Which of several faces of a picture counts first."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable

from service.values import Face, Image


class FaceOrder(enum.Enum):
    """How the faces of one picture are ranked."""

    AREA = enum.auto()
    """Largest first, as the engine finds them."""
    CENTRE = enum.auto()
    """Nearest to the centre of the picture first."""


def nearest_first(faces: Iterable[Face], image: Image) -> list[Face]:
    """By the distance of the middle of the detector's box from the middle of the picture; ties stay as they were."""
    height, width = image.shape[:2]

    def distance(face: Face) -> float:
        x, y, box_width, box_height = face.box
        return math.hypot(x + box_width / 2 - width / 2, y + box_height / 2 - height / 2)

    return sorted(faces, key=distance)
