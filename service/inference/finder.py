"""Finds the faces of a picture, whatever their size: one detector, several sizes of the picture.

The picture is looked at from small to large. A face belongs to the smallest size at which it is big enough to be told
with confidence; there it is located, and larger sizes only add faces. So what is found of one face does not depend on
how many faces were asked for, and a picture with one large face costs a single pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from service.inference.detector import Detection, Detector
from service.inference.geometry import Transform, apply, compose, inverse
from service.inference.orientation import LevelFace, Leveller
from service.values import Image

# Longer side of the picture at each look, in pixels; the last look is at the picture's own size, within limits: a
# small picture is enlarged, a huge one shrunk. Looks closer to the last one than the least step are left out.
_LOOKS = (320, 640, 1280)
_LEAST_LAST_LOOK = 640
_LARGEST_ENLARGEMENT = 4.0
_LARGEST_LOOK = 4096
_LEAST_STEP = 1.3

# Side of a face, in pixels of the look, from which on it is accepted there; at the last look smaller ones are taken.
_ACCEPTED_SIDE = 24.0
_LEAST_SIDE = 10.0

# Candidates whose centre lies within this part of an accepted face's side are that face again.
_SAME_CENTRE = 0.5


# A hostile picture may be full of near-faces, each worth a closer look: only so many of a look are taken.
_MOST_CANDIDATES = 128


@dataclass(frozen=True, slots=True)
class View:
    """A way to hold the picture: turned counter-clockwise by ``quarters`` right angles, and with a border around it.

    ``border`` is the border's width as a part of the picture's longer side.
    """

    quarters: int = 0
    border: float = 0.0

    def take(self, image: Image, look: float) -> tuple[Image, Transform]:
        """The picture held this way with its longer side (borders included) ``look`` pixels long, and how it came."""
        height, width = image.shape[:2]
        margin = round(look * self.border / (1 + 2 * self.border))
        scale = (look - 2 * margin) / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        canvas = image if size == (width, height) else cv2.resize(image, size, interpolation=way)
        if margin:
            canvas = cv2.copyMakeBorder(canvas, margin, margin, margin, margin, cv2.BORDER_CONSTANT)
        steps: Transform = np.array([[size[0] / width, 0, margin], [0, size[1] / height, margin]])
        for _ in range(self.quarters):
            # A point at (x, y) of a picture of width w comes to (y, w - x).
            quarter = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, canvas.shape[1]]])
            steps, canvas = compose(quarter, steps), np.rot90(canvas)
        return np.asarray(canvas, dtype=np.uint8), steps


# Tried in this order until faces are found: as it is; with room around a face that fills the picture; lying and
# standing on its head; both.
_QUARTERS = (1, 2, 3)
_PLANS = (
    (View(),),
    (View(border=0.5),),
    tuple(View(quarters) for quarters in _QUARTERS),
    tuple(View(quarters, border=0.5) for quarters in _QUARTERS),
)


class FaceFinder:
    """Finds faces of any size and orientation."""

    def __init__(self, detector: Detector, leveller: Leveller) -> None:
        self._detector = detector
        self._leveller = leveller

    def find(self, image: Image, limit: int) -> list[LevelFace]:
        """Faces of ``image``, largest first, at most ``limit``; each is the same whatever the limit."""
        for plan in _PLANS:
            faces = self._climb(image, limit, plan)
            if faces:
                return sorted(faces, key=_by_size)[:limit]
        return []

    def _climb(self, image: Image, limit: int, plan: Sequence[View]) -> list[LevelFace]:
        faces: list[LevelFace] = []
        # With a border around it the picture is wanted for its largest face: the first look is enough.
        looks = looks_at(image)[: 1 if plan[0].border else None]
        for index, look in enumerate(looks):
            accepted = (_ACCEPTED_SIDE if index < len(looks) - 1 else _LEAST_SIDE) * max(image.shape[:2]) / look
            for candidate in self._candidates(image, look, plan):
                if candidate.side < accepted or any(_same(face, candidate.centre, candidate.side) for face in faces):
                    continue
                face = self._leveller.level(image, candidate)
                if face is not None and not any(_same(other, face.centre, face.side) for other in faces):
                    faces.append(face)
            if len(faces) >= limit:
                break
        return faces

    def _candidates(self, image: Image, look: float, plan: Sequence[View]) -> list[Detection]:
        """What the detector answers to every view of the plan, in pixels of the picture, most confident first."""
        found = []
        for view in plan:
            canvas, way = view.take(image, look)
            back = inverse(way)
            found += [_moved(detection, back) for detection in self._detector.detect(canvas)]
        found.sort(key=lambda detection: (-detection.confidence, detection.box))
        return found[:_MOST_CANDIDATES]


def looks_at(image: Image) -> list[float]:
    """Lengths of the longer side at which ``image`` is looked at, ascending."""
    longest = max(image.shape[:2])
    last = min(max(longest, _LEAST_LAST_LOOK), longest * _LARGEST_ENLARGEMENT, _LARGEST_LOOK)
    return [float(look) for look in _LOOKS if look * _LEAST_STEP <= last] + [float(last)]


def _moved(detection: Detection, transform: Transform) -> Detection:
    """``detection`` seen through a transform made of scaling, shifting and quarter turns."""
    x, y, width, height = detection.box
    corners = apply(transform, np.array([[x, y], [x + width, y + height]], np.float32))
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    box = (float(left), float(top), float(right - left), float(bottom - top))
    return Detection(box, detection.confidence, apply(transform, detection.points))


def _same(face: LevelFace, centre: tuple[float, float], side: float) -> bool:
    """Whether something at ``centre`` with the size ``side`` shows ``face`` again, or a part of it."""
    apart = np.hypot(face.centre[0] - centre[0], face.centre[1] - centre[1])
    return bool(apart < _SAME_CENTRE * max(face.side, side))


def _by_size(face: LevelFace) -> tuple[float, float, float]:
    """Largest first; of equals the one further left, then further up."""
    x, y, width, height = face.picture_box
    return -width * height, x, y
