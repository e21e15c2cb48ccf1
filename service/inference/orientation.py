"""Finds out which way up a detected face is, and its outline.

Detectors trained on upright faces also find faces that lie or are upside down. Their confidence is high, but the points
are where an upright face would have them (YuNet, 300 LFW pictures turned by 180 degrees: median confidence .86). Two
signs give such faces away: the confidence is a little lower, and the landmark network disagrees with the detector's
points. Then the face is detected again at several turns, and the turn with the highest confidence is taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from service.inference.detector import Detection, Detector
from service.inference.geometry import (
    IDENTITY,
    Box,
    Transform,
    apply,
    compose,
    eye_line_roll,
    five_points,
    inverse,
    rotation_about,
    scaling,
    warp,
)
from service.inference.landmarks import Landmarks
from service.values import Image, Points

# Mean distance between the detector's points and the outline's, in sides of the box. Upright LFW faces: median .038,
# 98 % below .067; upside-down ones: median .116, 10 % below .076.
_AGREEMENT = 0.07

# Up to this roll (degrees) the axis-aligned box serves the landmark network as well as a turned one.
_LEVEL_ROLL = 12.0

# The second look: a face of 77 pixels in a canvas of 192, and the turns that are tried.
_CANVAS = 192
_CANVAS_PER_FACE = 2.5
_TURNS = (0, 45, -45, 90, -90, 135, -135, 180)
_REFINEMENTS = 2
_DISAGREEMENT_COST = 0.8

# A face that is only half visible may look better upside down, but never good: 98 % of the truly turned faces come
# within this margin of the detector's sure confidence. Below it, turns of more degrees than this are not believed.
_TURNED_MARGIN = 0.03
_UPRIGHT_TURN = 45.0
_UPRIGHT_ROLL = 60.0

# How far the merit of a doubtful candidate's best turn may stay below the detector's sure confidence. Upright: things
# that are no faces (galaxies, a dark corner) reach .61, four fifths of half-hidden faces at the edge of LFW pictures
# more than .66.
# Turned: a spoon reached .72, 99 % of 309 turned faces more than .83.
_UPRIGHT_MERIT_MARGIN = 0.27
_TURNED_MERIT_MARGIN = 0.11


@dataclass(frozen=True, slots=True, eq=False)
class LevelFace:
    """A face with its orientation settled.

    ``levelling`` turns the picture so that the face stands upright; ``box`` is the detector's box in that turned frame,
    in pixels of the picture's scale. ``points`` (5, 2) are the detector's own and ``outline`` (68, 2, or 0 rows without
    a landmark network), both in the picture.
    """

    levelling: Transform
    box: Box
    confidence: float
    points: Points
    outline: Points

    @property
    def side(self) -> float:
        """Side of the square with the area of the box."""
        return math.sqrt(max(0.0, self.box[2] * self.box[3]))

    @property
    def centre(self) -> tuple[float, float]:
        """Centre of the box, in the picture."""
        x, y, width, height = self.box
        if self.levelling is IDENTITY:
            return float(np.float32(x + width / 2)), float(np.float32(y + height / 2))
        moved = apply(inverse(self.levelling), np.array([[x + width / 2, y + height / 2]], np.float32))[0]
        return float(moved[0]), float(moved[1])

    @property
    def picture_box(self) -> Box:
        """The box moved to where the face is in the picture, sides unchanged and parallel to the picture's."""
        x, y = self.centre
        return x - self.box[2] / 2, y - self.box[3] / 2, self.box[2], self.box[3]


_Turned = tuple[LevelFace, float]
"""What was seen when the picture was turned back by so many degrees."""


@dataclass(slots=True)
class Effort:
    """How much is done for doubtful candidates: all turns are tried for the first ``turns`` of them.

    ``strict`` asks for as much evidence of an upright face as is asked of a turned one.
    """

    turns: int
    strict: bool


class Leveller:
    """Settles the orientation of candidates and finds their outline."""

    def __init__(self, detector: Detector, landmarks: Landmarks | None) -> None:
        self._detector = detector
        self._landmarks = landmarks

    def level(self, image: Image, candidate: Detection, effort: Effort) -> LevelFace | None:
        """The face behind ``candidate`` (in pixels of ``image``), or ``None`` when a closer look shows none."""
        face = self._outlined(image, IDENTITY, candidate.box, candidate.confidence, candidate.points)
        if self._certain(face):
            return face
        roll = eye_line_roll(candidate.points)
        seen = self._refined(image, candidate, self._look(image, candidate, roll), roll)
        if seen is not None and self._certain(seen[0]):
            return seen[0]
        if effort.turns > 0:
            effort.turns -= 1
            seen = self._best_turn(image, candidate)
            if not effort.strict and (seen is None or not self.beyond_doubt(seen[0])):
                smaller = self._best_turn(image, _shrunk(candidate))
                seen = smaller if smaller is not None and self.beyond_doubt(smaller[0]) else seen
        return seen[0] if seen is not None and self._is_face(*seen, effort.strict) else None

    def beyond_doubt(self, face: LevelFace) -> bool:
        """Whether as much speaks for ``face`` as for nearly every face that is well visible."""
        return _merit((face, 0.0)) >= self._detector.sure - _TURNED_MERIT_MARGIN

    def _best_turn(self, image: Image, candidate: Detection) -> _Turned | None:
        looks = [(self._look(image, candidate, turn), turn) for turn in _TURNS]
        seen = [(face, float(turn)) for face, turn in looks if face is not None]
        if not seen:
            return None
        best = max(seen, key=_merit)
        if best[0].confidence < self._detector.sure - _TURNED_MARGIN and abs(best[1]) > _UPRIGHT_TURN:
            best = max((look for look in seen if abs(look[1]) <= _UPRIGHT_TURN), key=_merit, default=best)
        return self._refined(image, candidate, *best)

    def _refined(self, image: Image, candidate: Detection, face: LevelFace | None, turn: float) -> _Turned | None:
        """The best of a look and the looks that follow when the roll left over in it is taken away."""
        if face is None:
            return None
        best = (face, turn)
        for _ in range(_REFINEMENTS):
            left = _remaining_roll(best[0])
            if abs(left) < _LEVEL_ROLL / 2:
                break
            closer = self._look(image, candidate, best[1] + left)
            if closer is not None:
                best = max(best, (closer, best[1] + left), key=_merit)
        return best

    def _is_face(self, face: LevelFace, turn: float, strict: bool) -> bool:
        roll = turn + _remaining_roll(face)
        upright = abs((roll + 180) % 360 - 180) <= _UPRIGHT_ROLL
        margin = _UPRIGHT_MERIT_MARGIN if upright and not strict else _TURNED_MERIT_MARGIN
        return _merit((face, turn)) >= self._detector.sure - margin

    def _look(self, image: Image, candidate: Detection, turn: float) -> LevelFace | None:
        """The candidate detected anew in a crop turned by ``-turn`` degrees."""
        centre = candidate.centre
        levelling = rotation_about(centre, -turn)
        zoom = scaling(_CANVAS / (_CANVAS_PER_FACE * max(candidate.side, 1.0)), centre, (_CANVAS / 2, _CANVAS / 2))
        crop_of = compose(zoom, levelling)
        found = self._detector.detect(warp(image, crop_of, (_CANVAS, _CANVAS)))
        seen = [detection for detection in found if _is_central(detection)]
        if not seen:
            return None
        back = inverse(zoom)
        (left, top), (right, bottom) = apply(back, _corners(seen[0].box))
        points = apply(inverse(crop_of), seen[0].points)
        box = (float(left), float(top), float(right - left), float(bottom - top))
        return self._outlined(image, levelling, box, seen[0].confidence, points)

    def _outlined(self, image: Image, levelling: Transform, box: Box, confidence: float, points: Points) -> LevelFace:
        if self._landmarks is None:
            outline = np.zeros((0, 2), np.float32)
        else:
            outline = self._landmarks.locate(image, levelling, box)
        return LevelFace(levelling, box, confidence, points, outline)

    def _certain(self, face: LevelFace) -> bool:
        """Whether everything says that the face stands upright in its levelled frame."""
        if face.confidence < self._detector.sure or abs(_remaining_roll(face)) > _LEVEL_ROLL:
            return False
        return _disagreement(face) <= _AGREEMENT


def _shrunk(candidate: Detection) -> Detection:
    """A candidate half as large: boxes around turned faces are often drawn around the whole head and more."""
    x, y, width, height = candidate.box
    return replace(candidate, box=(x + width / 4, y + height / 4, width / 2, height / 2))


def _remaining_roll(face: LevelFace) -> float:
    """Roll in degrees of the detector's eye line, seen in the levelled frame."""
    return eye_line_roll(face.points if face.levelling is IDENTITY else apply(face.levelling, face.points))


def _disagreement(face: LevelFace) -> float:
    """Mean distance between the detector's points and the outline's, in sides of the box; 0 without an outline."""
    if not len(face.outline):
        return 0.0
    apart = five_points(face.outline) - face.points
    return float(np.sqrt(np.einsum("ij,ij->i", apart, apart)).sum()) / len(apart) / max(face.side, 1.0)


def _merit(look: _Turned) -> float:
    """How much speaks for a turn. Of 309 doubtful faces turned at random it picks the right turn for all."""
    return look[0].confidence - _DISAGREEMENT_COST * _disagreement(look[0])


def _is_central(detection: Detection) -> bool:
    """Whether a detection in the canvas shows the face in its middle, and not a neighbour."""
    off = np.hypot(detection.centre[0] - _CANVAS / 2, detection.centre[1] - _CANVAS / 2)
    face = _CANVAS / _CANVAS_PER_FACE
    return bool(off < face / 2 and face / 2 < detection.side < face * 2)


def _corners(box: Box) -> Points:
    x, y, width, height = box
    return np.array([[x, y], [x + width, y + height]], np.float32)
