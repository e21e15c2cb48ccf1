"""Where the API's named landmarks lie on the mesh.

Every landmark is a place on a line of mesh vertices, given as a share of the line's length on the canonical face seen
from the front. That makes each one a fixed mixture of one or two vertices, so that all 150 are one sparse linear map of
the mesh and move, turn and grow with it exactly. Only the subject's right side is listed; the left is its mirror image.

Vertex numbers are those of MediaPipe's face mesh; which vertex lies where was read off drawn meshes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from service.inference.eyes import LID_VERTICES, Eye
from service.inference.landmark_names import NAMES_72, NAMES_150, mirrored_name
from service.inference.mesh import VERTICES, Canonical, Mesh, load_canonical
from service.values import Points

IRIS_POINTS = 5
RIGHT_IRIS = VERTICES
LEFT_IRIS = VERTICES + IRIS_POINTS


Knot = tuple[tuple[int, float], ...]
"""A mixture of vertices: pairs of vertex and share; shares sum to one and may lie outside 0..1 (extrapolation)."""


@dataclass(frozen=True, slots=True)
class Line:
    """A chain of knots, and the share of its length at which each name lies."""

    knots: tuple[Knot, ...]
    places: Mapping[str, float]


def _at(vertex: int) -> Knot:
    return ((vertex, 1.0),)


def _chain(*vertices: int) -> tuple[Knot, ...]:
    return tuple(_at(vertex) for vertex in vertices)


def _between(first: int, second: int, share: float) -> Knot:
    """``share`` of the way from one vertex to another; above 1 it lies beyond the second."""
    return ((first, 1 - share), (second, share))


def _evenly(pattern: str, numbers: range, start: float, end: float) -> dict[str, float]:
    """``pattern`` numbered at even steps from ``start`` to ``end``."""
    shares = np.linspace(start, end, len(numbers))
    return {pattern.format(number): float(share) for number, share in zip(numbers, shares, strict=True)}


def _points(**knots: Knot) -> tuple[Line, ...]:
    """Landmarks that are knots themselves."""
    return tuple(Line((knot,), {name: 0.0}) for name, knot in knots.items())


_UPPER_LID = _chain(33, 246, 161, 160, 159, 158, 157, 173, 133)
_LOWER_LID = _chain(33, 7, 163, 144, 145, 153, 154, 155, 133)

# The mesh draws a brow as two rows of vertices, of which the lower one runs through the hair: the lower edge lies half
# as far again below, the upper edge a little below the upper row, the inner end a little short of the last vertices.
_BROW_ROWS = ((63, 53), (105, 52), (66, 65))
_BROW_END = ((107, 0.45), (55, 0.45), (66, 0.05), (65, 0.05))
_UPPER_BROW = (_at(46), *(_between(upper, lower, 0.3) for upper, lower in _BROW_ROWS), _BROW_END)
_LOWER_BROW = (_at(46), *(_between(upper, lower, 1.4) for upper, lower in _BROW_ROWS), _BROW_END)

RIGHT_LINES: tuple[Line, ...] = (
    Line(
        _chain(127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152),
        {**_evenly("cheek_right_{}", range(1, 12), 0, 10 / 12), "chin_1": 11 / 12, "chin_2": 1.0},
    ),
    Line(_UPPER_LID, {"eye_right_corner_right": 0.0, "eye_right_corner_left": 1.0}),
    Line(_UPPER_LID, _evenly("eye_right_eyelid_upper_{}", range(1, 8), 1 / 8, 7 / 8)),
    Line(_LOWER_LID, _evenly("eye_right_eyelid_lower_{}", range(1, 8), 1 / 8, 7 / 8)),
    Line(_UPPER_BROW, {"eyebrow_right_corner_right": 0.0, "eyebrow_right_corner_left": 1.0}),
    Line(_UPPER_BROW, _evenly("eyebrow_right_upper_{}", range(1, 6), 1 / 6, 5 / 6)),
    Line(_LOWER_BROW, _evenly("eyebrow_right_lower_{}", range(1, 4), 1 / 4, 3 / 4)),
    Line(_chain(168, 6, 197, 195, 5, 4), _evenly("nose_bridge_{}", range(1, 4), 0.0, 0.7)),
    Line(_chain(61, 185, 40, 39, 37, 0), _evenly("mouth_lip_upper_outer_{}", range(1, 7), 1 / 6, 1.0)),
    Line(_chain(61, 146, 91, 181, 84, 17), _evenly("mouth_lip_lower_outer_{}", range(1, 7), 1 / 6, 1.0)),
    Line(_chain(78, 191, 80, 81, 82, 13), _evenly("mouth_lip_upper_inner_{}", range(1, 7), 1 / 6, 1.0)),
    Line(_chain(78, 95, 88, 178, 87, 14), _evenly("mouth_lip_lower_inner_{}", range(1, 7), 1 / 6, 1.0)),
    *_points(
        mouth_corner_right_outer=_at(61),
        mouth_corner_right_inner=_at(78),
        nose_right_contour_1=_at(245),
        nose_right_contour_2=_at(236),
        nose_right_contour_3=_at(131),
        nose_right_contour_4=_at(64),
        nose_right_contour_5=_at(98),
        nose_right_contour_6=_between(98, 97, 0.5),
        nose_right_contour_7=_at(97),
        nose_middle_contour=_at(2),
        nose_tip=_between(4, 1, 0.4),
        eye_right_eyeball_center=_at(RIGHT_IRIS),
        eye_right_eyeball_right=_at(RIGHT_IRIS + 3),
        eye_right_eyeball_left=_at(RIGHT_IRIS + 1),
    ),
)


def _mixture(line: Line, share: float, canonical: Canonical) -> Knot:
    """The knot at ``share`` of the line's length, measured on the canonical face seen from the front."""
    if len(line.knots) == 1:
        return line.knots[0]
    places = np.array([sum(share * canonical.points[vertex, :2] for vertex, share in knot) for knot in line.knots])
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(places, axis=0), axis=1))])
    wanted = share * lengths[-1]
    index = min(int(np.searchsorted(lengths, wanted, side="right")) - 1, len(line.knots) - 2)
    rest = float((wanted - lengths[index]) / (lengths[index + 1] - lengths[index]))
    here = [(vertex, portion * (1 - rest)) for vertex, portion in line.knots[index]]
    there = [(vertex, portion * rest) for vertex, portion in line.knots[index + 1]]
    return (*here, *there)


def _mirror_point(point: int, canonical: Canonical) -> int:
    """The vertex or iris point on the other side; iris points count from the nose outwards on both sides."""
    if point < VERTICES:
        return int(canonical.mirror[point])
    return point + IRIS_POINTS if point < LEFT_IRIS else point - IRIS_POINTS


@lru_cache(maxsize=1)
def landmark_matrix() -> NDArray[np.float32]:
    """``(150, 478)``: each landmark's mixture of the points that ``refined_points`` returns; rows sum to one."""
    canonical = load_canonical()
    matrix = np.zeros((len(NAMES_150), VERTICES + 2 * IRIS_POINTS), np.float32)
    rows = {name: row for row, name in enumerate(NAMES_150)}
    for line in RIGHT_LINES:
        for name, share in line.places.items():
            other = mirrored_name(name)
            matrix[rows[name]] = 0
            for point, portion in _mixture(line, share, canonical):
                matrix[rows[name], point] += portion
                if other != name:
                    matrix[rows[other], _mirror_point(point, canonical)] += portion
    matrix.setflags(write=False)
    return matrix


def refined_points(mesh: Mesh, eyes: tuple[Eye, Eye]) -> Points:
    """``(478, 2)``: the mesh with its lids replaced by the eye model's, then five points of each iris."""
    right, left = eyes
    mirror = load_canonical().mirror
    points = np.concatenate([mesh.flat, right.iris, left.iris]).astype(np.float32)
    points[list(LID_VERTICES)] = right.lids
    points[mirror[list(LID_VERTICES)]] = left.lids
    return points


def landmarks_150(mesh: Mesh, eyes: tuple[Eye, Eye]) -> Points:
    """``(150, 2)`` in the order of ``NAMES_150``, in pixels of the picture; the first 72 are ``landmark72``."""
    return np.asarray(landmark_matrix() @ refined_points(mesh, eyes), dtype=np.float32)


def landmarks_4(points: Points) -> Points:
    """``(4, 2)`` of the API's ``landmark``: eye centres (the picture's left first), nose tip, mouth centre.

    ``points``: the 150 landmarks. The mouth centre is the middle between its outer corners.
    """
    rows = {name: row for row, name in enumerate(NAMES_72)}
    eyes = [points[rows[f"eye_{side}_eyeball_center"]] for side in ("right", "left")]
    corners = [points[rows[f"mouth_corner_{side}_outer"]] for side in ("right", "left")]
    return np.stack([*eyes, points[rows["nose_tip"]], (corners[0] + corners[1]) / 2]).astype(np.float32)
