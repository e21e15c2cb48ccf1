"""Draws what was read off the faces of a picture, so that a person can judge it at a glance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np

from service.inference.attributes import likeliest
from service.inference.geometry import Transform, apply, corners_of, warpable
from service.inference.quality import Quality
from service.intake.report import FaceReport
from service.values import Angles, Face, Image, Location, Points

_OVERVIEW_SIDE = 900
_PANEL_SIDE = 420
_PANEL_REACH = 1.9
_TEXT_WIDTH = 400
_LINE = 19
_FONT, _FONT_SCALE = cv2.FONT_HERSHEY_SIMPLEX, 0.48
_PAPER, _INK = (250, 250, 250), (30, 30, 30)
_BOX_COLOUR, _POINT_COLOUR, _OUTLINE_COLOUR = (60, 200, 60), (60, 60, 240), (230, 160, 40)
_AXES = ((60, 60, 230), (60, 190, 60), (230, 110, 40))
_REGION_COLOURS = np.array(
    [
        *([0, 0, 0], [160, 190, 230], [40, 90, 160], [40, 160, 90], [230, 120, 40]),
        *([230, 40, 140], [60, 200, 220], [80, 60, 220], [140, 60, 220], [30, 30, 90]),
    ],
    np.uint8,
)
"""By ``Region``, BGR."""
_REGION_OPACITY = 0.45


@dataclass(frozen=True, slots=True, eq=False)
class Inspected:
    """One face and all that was read off it; landmarks and label map in pixels of the picture."""

    face: Face
    report: FaceReport
    neighbour: str | None = None
    """What its similarity to the first face of the picture means, as text; ``None`` for that face itself."""


def contact_sheet(image: Image, faces: Sequence[Inspected]) -> Image:
    """The picture with numbered boxes, then a row for each face: points, regions, values. BGR."""
    rows = [_overview(image, faces)]
    rows += [_row(image, number, inspected) for number, inspected in enumerate(faces, start=1)]
    width = max(row.shape[1] for row in rows)
    return np.concatenate([_padded(row, width) for row in rows])


def _overview(image: Image, faces: Sequence[Inspected]) -> Image:
    scale = min(1.0, _OVERVIEW_SIDE / max(image.shape[:2]))
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    canvas: Image = np.array(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    for number, inspected in enumerate(faces, start=1):
        corners = corners_of(inspected.face.location) * scale
        _polygon(canvas, corners, _BOX_COLOUR)
        _text(canvas, str(number), (int(corners[0, 0]), int(corners[0, 1]) - 6), _BOX_COLOUR)
    return canvas


def _row(image: Image, number: int, inspected: Inspected) -> Image:
    """Two views of the face, upright as in the picture, and the values beside them."""
    face, report = inspected.face, inspected.report
    zoom = _zoom(face)
    size = (_PANEL_SIDE, _PANEL_SIDE)
    part, part_zoom = warpable(image, zoom, size)
    plain = np.asarray(cv2.warpAffine(part, part_zoom, size, flags=cv2.INTER_LINEAR, borderValue=_PAPER), np.uint8)
    regions = plain.copy()
    if report.parsing is not None:
        parsing, part_zoom = warpable(report.parsing, zoom, size)
        labels = cv2.warpAffine(parsing, part_zoom, size, flags=cv2.INTER_NEAREST)
        drawn = labels > 0
        mixed = regions[drawn] * (1 - _REGION_OPACITY) + _REGION_COLOURS[labels[drawn]] * _REGION_OPACITY
        regions[drawn] = mixed.astype(np.uint8)
    _polygon(plain, apply(zoom, corners_of(face.location)), _BOX_COLOUR)
    for x, y in apply(zoom, face.outline):
        cv2.circle(plain, (round(float(x)), round(float(y))), 2, _OUTLINE_COLOUR, -1, cv2.LINE_AA)
    if report.landmarks is not None:
        for x, y in apply(zoom, report.landmarks):
            cv2.circle(plain, (round(float(x)), round(float(y))), 1, _POINT_COLOUR, -1, cv2.LINE_AA)
    _axes(regions, apply(zoom, face.points).mean(axis=0), report.angles or face.angles)
    lines = [f"face {number}", *_values(inspected)]
    text = np.full((max(_PANEL_SIDE, (len(lines) + 1) * _LINE), _TEXT_WIDTH, 3), _PAPER, np.uint8)
    for place, line in enumerate(lines, start=1):
        _text(text, line, (8, place * _LINE), _INK)
    views = _taller(np.concatenate([plain, regions], axis=1), len(text))
    return np.asarray(np.concatenate([views, text], axis=1), np.uint8)


def _zoom(face: Face) -> Transform:
    """From the picture to a panel around the face."""
    corners = corners_of(face.location)
    middle = corners.mean(axis=0)
    scale = _PANEL_SIDE / (max(face.location.width, face.location.height, 1.0) * _PANEL_REACH)
    move = np.asarray(_PANEL_SIDE / 2 - middle * scale, np.float64)
    return np.array([[scale, 0, move[0]], [0, scale, move[1]]])


def _values(inspected: Inspected) -> list[str]:
    face, report = inspected.face, inspected.report
    angles = report.angles or face.angles
    lines = [
        f"confidence {face.confidence:.3f}  box {_box(face.location)}",
        f"yaw {angles.yaw:.1f}  pitch {angles.pitch:.1f}  roll {angles.roll:.1f}",
    ]
    skipped = {"landmarks", "parsing", "quality", "angles", "rejection"}
    for field in fields(report):
        value = getattr(report, field.name)
        if field.name not in skipped and value is not None:
            lines.append(f"{field.name} {_told(value)}")
    if report.quality is not None:
        lines += _quality(report.quality)
    if inspected.neighbour is not None:
        lines.append(inspected.neighbour)
    return lines


def _box(location: Location) -> str:
    return f"{location.width:.0f}x{location.height:.0f} turned {location.rotation}"


def _told(value: Any) -> str:
    if isinstance(value, tuple):  # classes that exclude each other
        value = likeliest(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    if hasattr(value, "type"):
        return f"{value.type} {value.probability:.2f}"
    return "  ".join(f"{field.name} {getattr(value, field.name):.2f}" for field in fields(value))


def _quality(quality: Quality) -> list[str]:
    parts = [f"{field.name} {getattr(quality.occlusion, field.name):.2f}" for field in fields(quality.occlusion)]
    pairs = ["  ".join(parts[start : start + 2]) for start in range(0, len(parts), 2)]
    whole = f"blur {quality.blur:.2f}  illumination {quality.illumination:.0f}  completeness {quality.completeness}"
    return [whole, "hidden:", *(f"  {pair}" for pair in pairs)]


def _axes(canvas: Image, origin: Points, angles: Angles) -> None:
    """The head's three axes: red to the subject's left, green down, blue out of the face."""
    yaw, pitch, roll = (math.radians(value) for value in (angles.yaw, angles.pitch, angles.roll))
    about_x = np.array([[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]])
    about_y = np.array([[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]])
    about_z = np.array([[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]])
    turned = about_z @ about_y @ about_x @ np.diag([1.0, 1.0, -1.0])
    for axis, colour in zip(turned.T, _AXES, strict=True):
        tip = origin + axis[:2] * _PANEL_SIDE / 6
        cv2.arrowedLine(canvas, _pixel(origin), _pixel(tip), colour, 2, cv2.LINE_AA)


def _polygon(canvas: Image, corners: Points, colour: tuple[int, int, int]) -> None:
    cv2.polylines(canvas, [np.rint(corners).astype(np.int32)], isClosed=True, color=colour, thickness=2)


def _text(canvas: Image, text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> None:
    cv2.putText(canvas, text, place, _FONT, _FONT_SCALE, colour, 1, cv2.LINE_AA)


def _pixel(point: Points) -> tuple[int, int]:
    return round(float(point[0])), round(float(point[1]))


def _padded(row: Image, width: int) -> Image:
    return np.pad(row, ((0, 12), (0, width - row.shape[1]), (0, 0)), constant_values=_PAPER[0])


def _taller(row: Image, height: int) -> Image:
    return np.pad(row, ((0, max(0, height - len(row))), (0, 0), (0, 0)), constant_values=_PAPER[0])
