"""Geometry of faces in the plane: pure functions on arrays, and the constants with their sources."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from service.values import Face, Image, Location, Points

Transform = NDArray[np.float64]
"""``(2, 3)`` affine map of the plane, applied to column vectors ``(x, y, 1)``."""

Box = tuple[float, float, float, float]
"""``(x, y, width, height)`` in pixels."""

IDENTITY: Transform = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])

CROP_SIDE = 112

# The reference points of the ArcFace family for a 112x112 crop, as published with InsightFace (``arcface_dst``).
ARCFACE_TEMPLATE: Points = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]],
    dtype=np.float32,
)

# How the 68 iBUG points make the five: means of the four lid points of each eye, the nose tip, and of the outer and
# inner point of each mouth corner (shared/models.md calls this L68; 99.45 % on LFW against 99.38 % of YuNet's points).
_FIVE_FROM_OUTLINE = ((37, 38, 40, 41), (43, 44, 46, 47), (30,), (48, 60), (54, 64))
_FIVE_AS_MEANS = np.zeros((5, 68), np.float32)
for _row, _indices in zip(_FIVE_AS_MEANS, _FIVE_FROM_OUTLINE, strict=True):
    _row[list(_indices)] = 1 / len(_indices)

_TINY = float(np.finfo(np.float32).tiny)

# Shrinking by more than this in one bilinear step skips pixels of the source and aliases.
_LARGEST_BILINEAR_STEP = 2.0

# OpenCV counts the pixels of what it warps in 16 bits (SHRT_MAX in its warpAffine).
_LONGEST_WARPED_SIDE = 32_766

SAME_CENTRE = 0.5
"""Two boxes show one face whose centres lie within this part of the larger one's side, that of a square of its area."""

# So many times may the sides differ of one face that was located in two sizes of a picture: some percent are usual.
_SAME_SIZE = 1.5

# Pixels beside those that a crop's corners fall on which interpolation reads.
_BILINEAR_MARGIN = 2


def similarity(source: Points, target: Points) -> Transform:
    """The similarity transform (rotation, uniform scale, shift) that maps ``source`` onto ``target`` best.

    Both are ``(n, 2)``. Least squares, which in the plane and without reflections is the solution of Umeyama (1991,
    "Least-squares estimation of transformation parameters between two point patterns"): of centred points, the sums of
    their dot and cross products over the spread of the first.
    """
    source_mean = np.add.reduce(source, axis=0, dtype=np.float64) / len(source)
    target_mean = np.add.reduce(target, axis=0, dtype=np.float64) / len(target)
    centred, aims = source - source_mean, target - target_mean
    spread = max(float(np.vdot(centred, centred)), _TINY)
    cos = float(np.vdot(centred, aims)) / spread
    sin = float(np.vdot(centred[:, 0], aims[:, 1]) - np.vdot(centred[:, 1], aims[:, 0])) / spread
    (x, y), (to_x, to_y) = source_mean.tolist(), target_mean.tolist()
    return np.array([[cos, -sin, to_x - cos * x + sin * y], [sin, cos, to_y - sin * x - cos * y]])


def rotation_about(centre: tuple[float, float], degrees: float) -> Transform:
    """The transform that turns the plane by ``degrees`` (clockwise in a picture, where y points down)."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = centre
    return np.array([[cos, -sin, x - cos * x + sin * y], [sin, cos, y - sin * x - cos * y]])


def scaling(factor: float, centre: tuple[float, float], target: tuple[float, float]) -> Transform:
    """The transform that enlarges ``factor`` times and brings ``centre`` to ``target``."""
    return np.array([[factor, 0, target[0] - factor * centre[0]], [0, factor, target[1] - factor * centre[1]]])


def shift(right: float, down: float) -> Transform:
    """The transform that moves the plane."""
    return np.array([[1.0, 0.0, right], [0.0, 1.0, down]])


def compose(second: Transform, first: Transform) -> Transform:
    """The transform that applies ``first``, then ``second``."""
    (a, b, x), (c, d, y) = second.tolist()
    (e, f, u), (g, h, v) = first.tolist()
    # Written out: for six numbers numpy takes longer to be called than to compute.
    return np.array(
        [[a * e + b * g, a * f + b * h, a * u + b * v + x], [c * e + d * g, c * f + d * h, c * u + d * v + y]]
    )


def inverse(transform: Transform) -> Transform:
    """The transform that undoes ``transform``. Raises ``ZeroDivisionError`` for one that cannot be undone."""
    (a, b, x), (c, d, y) = transform.tolist()
    area = a * d - b * c
    a, b, c, d = d / area, -b / area, -c / area, a / area
    return np.array([[a, b, -(a * x + b * y)], [c, d, -(c * x + d * y)]])


def apply(transform: Transform, points: Points) -> Points:
    """``points`` moved by ``transform``."""
    return np.asarray(points @ transform[:, :2].T + transform[:, 2], dtype=np.float32)


def scale_of(transform: Transform) -> float:
    """By how much ``transform`` lengthens (geometric mean over directions)."""
    (a, b, _), (c, d, _) = transform.tolist()
    return math.sqrt(abs(a * d - b * c))


def warp(image: Image, transform: Transform, size: tuple[int, int]) -> Image:
    """``image`` seen through ``transform`` (picture → crop) as a crop of ``size`` (width, height); black outside.

    A large face is first shrunk by averaging, so that the last, bilinear step takes every source pixel into account.
    """
    step = int(1 / max(scale_of(transform), 1e-6) / _LARGEST_BILINEAR_STEP * 2)
    if step >= _LARGEST_BILINEAR_STEP:
        image, transform = _shrink_below(image, transform, size, step)
    image, transform = warpable(image, transform, size)
    return np.asarray(cv2.warpAffine(image, transform, size, flags=cv2.INTER_LINEAR), dtype=np.uint8)


def warpable(image: Image, transform: Transform, size: tuple[int, int]) -> tuple[Image, Transform]:
    """``image`` and ``transform`` as OpenCV can warp them into a crop of ``size``.

    Of a picture that is too long for it only the part that the crop sees; any other stays as it is.
    """
    if max(image.shape[:2]) <= _LONGEST_WARPED_SIDE:
        return image, transform
    left, top, right, bottom = _seen(image, transform, size, _BILINEAR_MARGIN)
    return image[top:bottom, left:right], compose(transform, shift(left, top))


def _seen(image: Image, transform: Transform, size: tuple[int, int], margin: int) -> tuple[int, int, int, int]:
    """The part of ``image`` that a crop sees, ``margin`` pixels around it included: left, top, right, bottom.

    Right and bottom are exclusive; there is one pixel at least, whatever the crop sees.
    """
    width, height = size
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], dtype=np.float32)
    corners = apply(inverse(transform), frame)
    rows, columns = image.shape[:2]
    left, top = np.clip(np.floor(corners.min(axis=0)) - margin, 0, (columns - 1, rows - 1)).astype(int)
    right, bottom = np.clip(np.ceil(corners.max(axis=0)) + margin, (left + 1, top + 1), (columns, rows)).astype(int)
    return int(left), int(top), int(right), int(bottom)


def _shrink_below(image: Image, transform: Transform, size: tuple[int, int], step: int) -> tuple[Image, Transform]:
    """The part of ``image`` that a crop sees, made smaller ``step`` times, with the transform that fits it."""
    left, top, right, bottom = _seen(image, transform, size, step)
    part = image[top:bottom, left:right]
    target = (max(1, round(part.shape[1] / step)), max(1, round(part.shape[0] / step)))
    small = np.asarray(cv2.resize(part, target, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    zoom_x, zoom_y = part.shape[1] / target[0], part.shape[0] / target[1]
    # Pixel i of the small picture covers pixels zoom*i .. zoom*(i+1)-1 of the part: centres differ by (zoom-1)/2.
    unshrink = np.array([[zoom_x, 0, left + (zoom_x - 1) / 2], [0, zoom_y, top + (zoom_y - 1) / 2], [0, 0, 1]])
    return small, transform @ unshrink


def shrunk(image: Image, size: tuple[int, int]) -> Image:
    """``image`` resized to ``size`` (width, height), which is not larger; every pixel of it counts.

    Averaging in whole steps and then interpolating costs a third of averaging over fractions of pixels, and between a
    half and the whole interpolation leaves no pixel out.
    """
    step = min(image.shape[1] // size[0], image.shape[0] // size[1])
    if step >= _LARGEST_BILINEAR_STEP:
        even = image[: image.shape[0] // step * step, : image.shape[1] // step * step]
        whole = (even.shape[1] // step, even.shape[0] // step)
        image = np.asarray(cv2.resize(even, whole, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), dtype=np.uint8)


def five_points(outline: Points) -> Points:
    """The five alignment points ``(5, 2)`` of a 68-point outline ``(68, 2)``."""
    return np.asarray(_FIVE_AS_MEANS @ outline, dtype=np.float32)


def enlarged(face: Face, factor: float) -> Face:
    """``face`` as it lies in a picture whose sides are ``factor`` times longer."""
    place = face.location
    location = Location(
        place.left * factor, place.top * factor, place.width * factor, place.height * factor, place.rotation
    )
    x, y, width, height = face.box
    return replace(
        face,
        box=(x * factor, y * factor, width * factor, height * factor),
        points=face.points * np.float32(factor),
        outline=face.outline * np.float32(factor),
        location=location,
    )


def in_their_place(found: Sequence[Face], known: Sequence[Face]) -> list[Face]:
    """``found``, each that is one of ``known`` again, told a little differently, as it was known; in the same order.

    Each of ``known`` is one of ``found`` at most: the nearest. Two people's faces may overlap, one of them small.
    """
    pairs = sorted(
        (apart, place, at)
        for place, face in enumerate(found)
        for at, other in enumerate(known)
        if (apart := _apart(face, other)) is not None
    )
    same: dict[int, int] = {}
    for _, place, at in pairs:
        if place not in same and at not in same.values():
            same[place] = at
    return [known[same[place]] if place in same else face for place, face in enumerate(found)]


def _apart(face: Face, other: Face) -> float | None:
    """Pixels between the centres of two faces of one picture, ``None`` where they cannot be one face."""
    (x, y, width, height), (other_x, other_y, other_width, other_height) = face.box, other.box
    sides = math.sqrt(max(width * height, 0.0)), math.sqrt(max(other_width * other_height, 0.0))
    apart = math.hypot(x + width / 2 - other_x - other_width / 2, y + height / 2 - other_y - other_height / 2)
    if apart >= SAME_CENTRE * max(sides) or max(sides) > _SAME_SIZE * min(sides):
        return None
    return apart


def eye_line_roll(points: Points) -> float:
    """Roll in degrees (clockwise positive, -180..180) of the line from the first eye to the second of five points."""
    dx, dy = points[1] - points[0]
    return math.degrees(math.atan2(float(dy), float(dx)))


def lying(box: Box, roll: float) -> Box:
    """A face's ``box``, whose sides are those of the face as it stands, as the face lies in the picture.

    ``roll``: degrees of its eye line. The sides change places about the centre where it lies rather than stands.
    """
    if round(roll / 90) % 2 == 0:
        return box
    x, y, width, height = box
    return x + (width - height) / 2, y + (height - width) / 2, height, width


def crop_square(points: Points) -> Transform:
    """The transform of five points into the aligned 112x112 crop."""
    return similarity(points, ARCFACE_TEMPLATE)


def location_of(outline: Points, roll: float) -> Location:
    """The API's face box for points that span brow to chin and ear to ear.

    The box is tight in the frame turned by the rounded roll. Its top left corner *in the picture* is what ``left``
    and ``top`` tell: turning the plain box about that corner by ``rotation`` covers the face.
    """
    rotation = round(roll)
    upright = apply(rotation_about((0.0, 0.0), -rotation), outline)
    low, high = upright.min(axis=0), upright.max(axis=0)
    left, top = apply(rotation_about((0.0, 0.0), rotation), low[np.newaxis])[0]
    width, height = high - low
    return Location(float(left), float(top), float(width), float(height), rotation)


def corners_of(location: Location) -> Points:
    """``(4, 2)``: the corners of an answer's box in the picture, top left first, clockwise for an upright face."""
    box = np.array([[0, 0], [location.width, 0], [location.width, location.height], [0, location.height]], np.float32)
    return apply(compose(shift(location.left, location.top), rotation_about((0.0, 0.0), location.rotation)), box)


def visible_area(location: Location, image: Image) -> float:
    """How many pixels of ``image`` an answer's box covers."""
    height, width = image.shape[:2]
    frame = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    return float(cv2.intersectConvexConvex(corners_of(location), frame)[0])


def intersection_over_union(box: NDArray[np.float32], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Overlap of one box with each of ``boxes`` ``(n, 4)``, all as ``(x, y, width, height)``."""
    low = np.maximum(box[:2], boxes[:, :2])
    high = np.minimum(box[:2] + box[2:], boxes[:, :2] + boxes[:, 2:])
    sides = np.maximum(high - low, 0)
    shared = sides[:, 0] * sides[:, 1]
    union = box[2] * box[3] + boxes[:, 2] * boxes[:, 3] - shared
    return np.asarray(shared / np.maximum(union, _TINY), dtype=np.float32)
