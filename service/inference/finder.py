"""Finds faces of any size by running one detector on the picture at several sizes (an image pyramid).

The sizes go from small to large; each is called a look. A face is located at the smallest size at which it is large
enough to be recognised as a face with confidence; larger sizes only add further faces. So the result for one face does
not depend on how many faces were asked for, and a picture with one large face costs a single pass, unless something in
it hints at a larger lying one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

import numpy as np

from service import beside
from service.inference.detector import MOST_CANDIDATES, Detection, Detector
from service.inference.geometry import SAME_CENTRE, Transform, apply, compose, inverse, shift
from service.inference.orientation import Effort, LevelFace, Leveller
from service.inference.views import Pyramid, View, tiles
from service.values import Image

# Longer side of the picture at each look, in pixels; the last look is at the picture's own size, within limits: a
# small picture is enlarged, a huge one shrunk. Looks closer to the last one than the least step are left out.
_LOOKS = (320, 640, 1280)
_LEAST_LAST_LOOK = 640
_LARGEST_ENLARGEMENT = 4.0
_LARGEST_LOOK = 4096
_LEAST_STEP = 1.3
_LARGEST_TURNED_LOOK = 1920

# Side of a face, in pixels of the look, from which on it is accepted there; at the last look smaller ones are taken.
_ACCEPTED_SIDE = 24.0
_LEAST_SIDE = 10.0

# A closer look may show a face larger than its candidate, by up to _LEAST_STEP (95 % of 176 doubtful LFW faces turned
# at random). Where there are faces enough beyond doubt, a candidate below this confidence is not given that benefit:
# most are none, and each costs more than a recognition. A lying face that is larger or alone is found all the same.
_DOUBTFUL = 0.5

# Side of the largest upright face, in pixels of the glance at the picture turned that shows lying faces which are
# larger; the glance's sides are rounded up to a step, so that few sizes occur. It is taken where the first look has a
# candidate, however faint, of so many sides of that face, whose box is so wide for its height: around 110 lying faces
# of LFW that upright looks did not show it was .70 at least, around half of what else was faint less (by hand).
_LYING_SIDE = 20.0
_LYING_STEP = 32
_HINT_SIDE = 0.7
_HINT_ASPECT = 0.65

# Of so many doubtful candidates of one look every orientation is tried: ten to twenty small detector passes each.
_TURNS = 24
_TURNS_IF_DESPERATE = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """One attempt to find faces: how the picture is turned, and at which sizes it is looked at."""

    views: tuple[View, ...]
    looks: Callable[[Image], list[float]]
    desperate: bool = False
    """Whether only faces beyond doubt count. The more is tried, the more often something happens to look like a
    face."""
    glances_turned: bool = False
    """Whether to look, on the turned picture, for a lying face larger than those found: upright looks may not show
    it."""


def looks_at(image: Image) -> list[float]:
    """Lengths of the longer side at which ``image`` is looked at, ascending."""
    longest = max(image.shape[:2])
    last = min(max(longest, _LEAST_LAST_LOOK), longest * _LARGEST_ENLARGEMENT, _LARGEST_LOOK)
    return [float(look) for look in _LOOKS if look * _LEAST_STEP <= last] + [float(last)]


def first_look(image: Image) -> list[float]:
    """The smallest look: enough for a face that fills the picture."""
    return looks_at(image)[:1]


def enlarged_look(image: Image) -> list[float]:
    """A look at a picture of moderate size larger than it is: small turned faces are hard to see otherwise."""
    last = looks_at(image)[-1]
    look = min(last * 2, max(image.shape[:2]) * _LARGEST_ENLARGEMENT, _LARGEST_TURNED_LOOK)
    return [look] if look >= last * _LEAST_STEP else []


def moderate_looks(image: Image) -> list[float]:
    """The looks at a picture up to a limit, for they are taken twice."""
    looks = looks_at(image)
    return [*looks[:-1], min(looks[-1], _LARGEST_TURNED_LOOK)]


# Tried in this order until faces are found: as it is; with room around a face that fills the picture; lying; both;
# enlarged. A face that stands on its head needs no turned view: detectors answer to it, and the leveller sets it right.
_TURNED = (View(1), View(3))
_PLANS = (
    Plan((View(),), looks_at, glances_turned=True),
    Plan((View(border=0.5),), first_look),
    Plan(_TURNED, moderate_looks, desperate=True),
    Plan(tuple(View(view.quarters, border=0.5) for view in _TURNED), first_look, desperate=True),
    Plan((View(), *_TURNED), enlarged_look, desperate=True),
)
_GLANCE = Plan((View(),), first_look)


class FaceFinder:
    """Finds faces of any size and orientation."""

    def __init__(self, detector: Detector, leveller: Leveller) -> None:
        self._detector = detector
        self._leveller = leveller

    def find(self, image: Image, limit: int) -> list[LevelFace]:
        """Faces of ``image``, the ``limit`` largest among them, in no order; each is the same whatever the limit.

        A face that lies is told among others where it is the largest; smaller ones may be missed beside upright ones.
        """
        pyramid = Pyramid(image)
        for plan in _PLANS:
            faces = self._climb(image, pyramid, limit, plan)
            if faces:
                return faces
        return []

    def glance(self, image: Image) -> list[LevelFace]:
        """Upright faces that the smallest look shows, in no order: for frames of a video, of which there are many."""
        return self._climb(image, Pyramid(image), MOST_CANDIDATES, _GLANCE)

    def prominent(self, image: Image, limit: int) -> tuple[list[LevelFace], bool]:
        """Faces beyond doubt that the smallest look shows, and whether ``find`` would look no further for ``limit``.

        They are those that ``find`` gives, to the last digit.
        """
        clear: list[LevelFace] = []
        vague: list[LevelFace] = []
        self._look(image, Pyramid(image), limit, _PLANS[0], 0, clear, vague)
        return clear, _settled(clear, vague, limit)

    def _climb(self, image: Image, pyramid: Pyramid, limit: int, plan: Plan) -> list[LevelFace]:
        """Faces of one plan. Those beyond doubt end the climb once there are ``limit`` of them.

        The others wait until every look was taken: a larger look may show what they really are.
        """
        clear: list[LevelFace] = []
        vague: list[LevelFace] = []
        for index in range(len(plan.looks(image))):
            self._look(image, pyramid, limit, plan, index, clear, vague)
            if _settled(clear, vague, limit):
                return clear
        for face in vague:
            if not _shown(face, clear):
                clear.append(face)
        return clear

    def _look(
        self,
        image: Image,
        pyramid: Pyramid,
        limit: int,
        plan: Plan,
        index: int,
        clear: list[LevelFace],
        vague: list[LevelFace],
    ) -> None:
        """Take look number ``index`` of a plan, and add what it shows to ``clear`` and ``vague``."""
        none_before = not clear
        looks = plan.looks(image)
        effort = Effort(_TURNS_IF_DESPERATE if plan.desperate else _TURNS, plan.desperate)
        least = _ACCEPTED_SIDE if index < len(looks) - 1 else _LEAST_SIDE
        accepted = least * max(image.shape[:2]) / looks[index]
        hints = plan.glances_turned and index == 0
        candidates = self._candidates(pyramid, looks[index], plan.views, self._detector.faint if hints else None)
        for candidate in candidates:
            if candidate.confidence < self._detector.threshold:
                break
            if candidate.side < accepted or _shown(candidate, clear) or _outgrown(candidate, clear, limit):
                continue
            face = self._leveller.level(image, candidate, effort)
            if face is not None and not _shown(face, clear):
                (clear if self._leveller.beyond_doubt(face) else vague).append(face)
        if none_before and clear and plan.glances_turned and (not hints or _hinted(candidates, clear)):
            self._glance_turned(image, pyramid, clear)

    def _glance_turned(self, image: Image, pyramid: Pyramid, clear: list[LevelFace]) -> None:
        """Add lying faces that are larger than all of ``clear``. The larger those are, the less it costs."""
        largest = max(face.side for face in clear)
        needed = _LYING_SIDE * max(image.shape[:2]) / max(largest, 1.0)
        look = min(math.ceil(needed / _LYING_STEP) * _LYING_STEP, first_look(image)[0])
        effort = Effort(_TURNS_IF_DESPERATE, strict=True)
        # One after the other: passes as small as these are not worth a helping thread.
        for candidate in chain.from_iterable(self._candidates(pyramid, look, (view,)) for view in _TURNED):
            if candidate.confidence < _DOUBTFUL or candidate.side < largest or _shown(candidate, clear):
                continue
            face = self._leveller.level(image, candidate, effort)
            if face is not None and self._leveller.beyond_doubt(face) and not _shown(face, clear):
                clear.append(face)

    def _candidates(
        self, pyramid: Pyramid, look: float, views: Sequence[View], least: float | None = None
    ) -> list[Detection]:
        """What the detector answers to every view, in pixels of the picture, most confident first."""
        works = []
        for view in views:
            canvas, way = view.take(pyramid, look)
            back = inverse(way)
            works += [
                partial(self._of_tile, tile, compose(back, shift(left, top)), least)
                for left, top, tile in tiles(canvas)
            ]
        found = [detection for detections in beside.together(works) for detection in detections]
        found.sort(key=lambda detection: (-detection.confidence, detection.box))
        return found[:MOST_CANDIDATES]

    def _of_tile(self, tile: Image, from_tile: Transform, least: float | None) -> list[Detection]:
        return [_moved(detection, from_tile) for detection in self._detector.detect(tile, least)]


def _moved(detection: Detection, transform: Transform) -> Detection:
    """``detection`` seen through a transform made of scaling, shifting and quarter turns."""
    x, y, width, height = detection.box
    corners = apply(transform, np.array([[x, y], [x + width, y + height]], np.float32))
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    box = (float(left), float(top), float(right - left), float(bottom - top))
    return Detection(box, detection.confidence, apply(transform, detection.points))


def _shown(found: Detection | LevelFace, faces: Sequence[LevelFace]) -> bool:
    """Whether ``found`` shows one of ``faces`` again, or a part of it."""
    x, y = found.centre
    return any(
        math.hypot(face.centre[0] - x, face.centre[1] - y) < SAME_CENTRE * max(face.side, found.side) for face in faces
    )


def _hinted(candidates: Sequence[Detection], clear: Sequence[LevelFace]) -> bool:
    """Whether a candidate, however faint, may be a lying face that is larger than all of ``clear``."""
    least = _HINT_SIDE * max(face.side for face in clear)
    return any(
        candidate.side >= least and candidate.box[2] >= _HINT_ASPECT * candidate.box[3] and not _shown(candidate, clear)
        for candidate in candidates
    )


def _outgrown(found: Detection | LevelFace, clear: Sequence[LevelFace], limit: int) -> bool:
    """Whether ``limit`` clear faces are larger beyond doubt, so that ``found`` need not be looked at closely."""
    growth = 1.0 if found.confidence < _DOUBTFUL else _LEAST_STEP
    return len(clear) >= limit and found.side * growth < sorted(face.side for face in clear)[-limit]


def _settled(clear: Sequence[LevelFace], vague: Sequence[LevelFace], limit: int) -> bool:
    """Whether no larger look can change which ``limit`` faces are the largest.

    Larger looks add smaller faces only (and, seldom, a larger one askew), but they decide about the vague ones.
    """
    return len(clear) >= limit and all(_outgrown(face, clear, limit) or _shown(face, clear) for face in vague)
