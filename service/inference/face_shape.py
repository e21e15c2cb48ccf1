"""Measures of a face's outline that tell square, triangle, oval, heart and round faces apart.

There is no agreed truth for face shapes; ours is a rule on four ratios of the mesh turned to the front, scored by
``models/heads/face_shape.npz`` (made by ``models/train/face_shape.py``; what it measured: ``models/cards/heads.md``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.inference.mesh import Canonical, Points3, rigid_fit

SHAPES = ("square", "triangle", "oval", "heart", "round")

# Mesh vertices: pairs that span a width (subject's right, left), and the two ends of the face.
_CHEEKBONES = (234, 454)
_JAW = (172, 397)
_FOREHEAD = (54, 284)
_CHIN = (149, 378)
_TOP, _BOTTOM = 10, 152


def frontal(points: Points3, canonical: Canonical) -> NDArray[np.float64]:
    """The mesh ``(468, 3)`` turned to look straight ahead, in the canonical face's size."""
    rotation, scale = rigid_fit(canonical.points, points, canonical.weights)
    return np.asarray((points - points.mean(axis=0)) @ rotation / scale)


def shape_measures(points: Points3, canonical: Canonical) -> NDArray[np.float32]:
    """``(4,)``: length / width, jaw / cheekbones, forehead / cheekbones, chin / jaw, as seen from the front."""
    x, y, _ = frontal(points, canonical).T

    def width(pair: tuple[int, int]) -> float:
        return float(abs(x[pair[0]] - x[pair[1]]))

    cheekbones, jaw = width(_CHEEKBONES), width(_JAW)
    length = float(y[_BOTTOM] - y[_TOP])
    return np.array(
        [length / cheekbones, jaw / cheekbones, width(_FOREHEAD) / cheekbones, width(_CHIN) / jaw], np.float32
    )
