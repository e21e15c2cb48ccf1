"""How dark the eyes are against the skin: what tells sunglasses from other glasses and from shadow."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from service.inference import geometry
from service.inference.mesh import LEFT_EYE, RIGHT_EYE, Mesh, square
from service.values import Image

# Patch about an eye, in widths of the eye, and its height as a share of its side: the lens without the brow.
_PATCH = 1.3
_SIDE = 24
_ROWS = slice(4, 22)

# Vertices on skin that neither beard nor glasses reach: cheeks and forehead.
_SKIN = (50, 280, 205, 425, 101, 330, 36, 266, 151, 9)

# Gray levels added to the skin's, so that a black picture gives ratios and no infinities.
_FLOOR = 5.0

_BRIGHT = 85
"""Percentile of the patch that stands for the white of the eye or a reflection."""


def lens_measures(image: Image, mesh: Mesh) -> NDArray[np.float32]:
    """``(3,)``: mean, spread and bright end of the luma about the eyes, over the skin's luma; mean of both eyes."""
    skin = _skin_luma(image, mesh)
    patches = [_patch(image, mesh, corners) / skin for corners in (RIGHT_EYE, LEFT_EYE)]
    rows = [[patch.mean(), patch.std(), np.percentile(patch, _BRIGHT)] for patch in patches]
    return np.asarray(np.mean(rows, axis=0), dtype=np.float32)


def _patch(image: Image, mesh: Mesh, corners: tuple[int, int]) -> NDArray[np.float32]:
    first, second = mesh.flat[corners[0]], mesh.flat[corners[1]]
    middle, width = (first + second) / 2, float(np.linalg.norm(second - first))
    cut = square((float(middle[0]), float(middle[1])), _PATCH * width, mesh.eye_line, _SIDE)
    return _luma(geometry.warp(image, cut, (_SIDE, _SIDE)))[_ROWS]


def _skin_luma(image: Image, mesh: Mesh) -> float:
    """Median luma of the skin points inside the picture."""
    limit = np.array([image.shape[1] - 1, image.shape[0] - 1])
    x, y = np.clip(np.round(mesh.flat[list(_SKIN)]), 0, limit).astype(int).T
    return float(np.median(_luma(image[y, x][np.newaxis]))) + _FLOOR


def _luma(image: Image) -> NDArray[np.float32]:
    return cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2GRAY).astype(np.float32)
