"""Whether a face is fit to be recognised: blur, light, completeness, hidden parts. All but the last are formulas."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from service.inference import geometry
from service.inference.occlusion import Occlusion, OcclusionMeter
from service.values import Face, Image, Points

# The blur curve, fitted by benchmarks/quality.py on LFW (figures in models/cards/quality.md): the logarithm of the
# sharpness ratio at which blur is a half, and how steeply it falls.
_BLUR_HALF = -5.5
_BLUR_STEEPNESS = 4.0

# Where a crop tells nobody from anybody: networks answer such crops with nearly one embedding, so that two of them are
# of one person whoever they show. Logarithms of the sharpness ratio and of the variance of the Laplacian (gray levels
# squared) below which both must lie; the figures are in models/cards/quality.md. The second alone would also take dark
# faces, of which people can still be told; the least of 2,086 pictures of LFW, one a person, was 1.3.
_FORMLESS_SHARPNESS = -5.5
_FORMLESS_DETAIL = 0.0

# Inner part of the aligned crop that is surely face: the border holds background whose texture says nothing.
_INNER = slice(20, 98)

# Smoothing before the Laplacian, in pixels: without it the rounding to 8 bits (and any grain) outweighs what is left of
# the picture from a blur of 4 pixels on, and stronger blurs would no longer read as such.
_PRE_SMOOTHING = 1.0

# What rounding leaves in each variance (gray levels squared); keeps flat crops from dividing by nothing.
_DETAIL_FLOOR = 0.05
_CONTRAST_FLOOR = 1.0

# Room between face and border, in shares of the box's longer side. Points of a face that is cut off are squeezed into
# the picture and stand out by little; the detector's box, which reaches to the middle of the forehead, comes to lie on
# the border. Measured on LFW pictures cut at known places: benchmarks/quality.py, models/cards/quality.md.
_LEAST_OUTLINE_ROOM = -0.004
_LEAST_BOX_ROOM = 0.01

# How much of the forehead must be seen, in lengths of nose root to chin above the brows. The outline ends at the brows,
# and the box of a face cut through the forehead moves down with the cut. The hairline lies about 0.47 above the brows
# (median of LFW, and the canon of facial thirds): two thirds of the forehead.
_LEAST_FOREHEAD = 0.33
_BROWS, _NOSE_ROOT, _CHIN = slice(17, 27), 27, 8


@dataclass(frozen=True, slots=True)
class Quality:
    """What ``face_field=quality`` tells.

    ``blur`` 0 sharp .. 1 blurred; ``illumination`` 0 .. 255 mean luma of the face; ``completeness`` 1 when all of the
    face lies inside the picture, else 0.
    """

    occlusion: Occlusion
    blur: float
    illumination: float
    completeness: int


def sharpness(crop: Image) -> float:
    """Natural logarithm of the share of a crop's contrast that lies in its finest detail.

    ``crop``: aligned ``(112, 112, 3)`` BGR. The variance of the Laplacian (Pech-Pacheco et al., "Diatom
    autofocusing in brightfield microscopy", 2000) over the variance of the luma itself, so that a gain in contrast
    changes nothing; falls with every blur.
    """
    return _sharpness(*_variances(crop))


def formless(crop: Image) -> bool:
    """Whether an aligned ``(112, 112, 3)`` BGR crop is so blurred that nobody can be told from anybody by it."""
    detail, contrast = _variances(crop)
    return math.log(detail + _DETAIL_FLOOR) < _FORMLESS_DETAIL and _sharpness(detail, contrast) < _FORMLESS_SHARPNESS


def _sharpness(detail: float, contrast: float) -> float:
    return math.log((detail + _DETAIL_FLOOR) / (contrast + _CONTRAST_FLOOR))


def _variances(crop: Image) -> tuple[float, float]:
    """Of the smoothed Laplacian and of the luma itself, in the inner part of an aligned crop."""
    luma = cv2.cvtColor(np.ascontiguousarray(crop[_INNER, _INNER]), cv2.COLOR_BGR2GRAY).astype(np.float32)
    smooth = cv2.GaussianBlur(luma, (0, 0), _PRE_SMOOTHING)
    return float(cv2.Laplacian(smooth, cv2.CV_32F).var()), float(luma.var())


def blur(crop: Image) -> float:
    """0 (sharp) .. 1 (blurred) for an aligned ``(112, 112, 3)`` BGR crop: a logistic curve of :func:`sharpness`."""
    return 1 / (1 + math.exp(_BLUR_STEEPNESS * (sharpness(crop) - _BLUR_HALF)))


def illumination(image: Image, span: Points) -> float:
    """Mean luma (ITU-R BT.601, 0..255) inside the hull of ``span`` ``(n, 2)``, as far as it lies in the picture."""
    hull = cv2.convexHull(span.astype(np.float32))[:, 0]
    height, width = image.shape[:2]
    left, top = np.clip(np.floor(hull.min(axis=0)), 0, (width - 1, height - 1)).astype(int)
    right, bottom = np.clip(np.ceil(hull.max(axis=0)) + 1, (left + 1, top + 1), (width, height)).astype(int)
    inside = np.zeros((bottom - top, right - left), np.uint8)
    cv2.fillPoly(inside, [np.round(hull - (left, top)).astype(np.int32)], 255)
    part = np.ascontiguousarray(image[top:bottom, left:right])
    if not inside.any():  # a face that lies wholly outside: take what is nearest to it
        inside[:] = 255
    blue, green, red, _ = cv2.mean(part, inside)
    return float(0.114 * blue + 0.587 * green + 0.299 * red)


def completeness(image: Image, face: Face) -> int:
    """1 when outline, detector's box and most of the forehead lie inside the picture, else 0; hair does not count."""
    x, y, width, height = geometry.lying(face.box, geometry.eye_line_roll(face.points))
    corners = np.array([[x, y], [x + width, y + height]], np.float32)
    size = max(width, height)
    inside = _room(corners, image) >= _LEAST_BOX_ROOM * size and _room(_span(face), image) >= _LEAST_OUTLINE_ROOM * size
    if inside and len(face.outline):
        inside = _room(_forehead(face.outline), image) >= 0
    return int(inside)


def _forehead(outline: Points) -> Points:
    """The point ``(1, 2)`` between brows and hairline that must be seen, from the 68 points of the outline."""
    up = outline[_NOSE_ROOT] - outline[_CHIN]
    return np.asarray((outline[_BROWS].mean(axis=0) + _LEAST_FOREHEAD * up)[np.newaxis], np.float32)


def _room(points: Points, image: Image) -> float:
    """Distance of the outermost of ``points`` from the nearest border in pixels; negative outside."""
    height, width = image.shape[:2]
    return float(min(points.min(), width - points[:, 0].max(), height - points[:, 1].max()))


def _alignment(face: Face) -> Points:
    """The five points that the occlusion network was trained on: those of the outline where there is one."""
    return geometry.five_points(face.outline) if len(face.outline) else face.points


def _span(face: Face) -> Points:
    """Points whose hull is the face: the outline, or the corners of the box in a pack without outlines."""
    if len(face.outline):
        return face.outline
    x, y, width, height = face.box
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], np.float32)


class QualityMeter:
    """Puts the measures together; holds the occlusion network."""

    def __init__(self, occlusion: OcclusionMeter) -> None:
        self._occlusion = occlusion

    def measure(self, image: Image, face: Face) -> Quality:
        """All measures of one face of ``image`` (BGR)."""
        crop = geometry.warp(image, geometry.crop_square(face.points), (geometry.CROP_SIDE, geometry.CROP_SIDE))
        return Quality(
            occlusion=self._occlusion.measure(image, _alignment(face)),
            blur=blur(crop),
            illumination=illumination(image, _span(face)),
            completeness=completeness(image, face),
        )
