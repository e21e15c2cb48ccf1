"""How much of each face part is hidden: our own small network on an aligned crop.

Source of the weights: trained by ``models/train/fit_occlusion.py``; data, figures and limits in
``models/cards/occlusion.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from service.inference import geometry
from service.inference.session import Array, Session
from service.values import Image, Points

SIDE = 96
"""Side of the network's crop in pixels."""

# The ArcFace template cuts the chin; 0.66 of its size leaves room from above the brows to below the chin, with the
# eye line at three eighths of the height.
_SHRINK = 0.66
_CENTRE = np.array([SIDE / 2, 39.0], dtype=np.float32)
TEMPLATE: Points = np.asarray((geometry.ARCFACE_TEMPLATE - geometry.CROP_SIDE / 2) * _SHRINK + _CENTRE, np.float32)
"""Where the five alignment points lie in the crop, ``(5, 2)``."""


# Left and right parts change places in a mirrored crop; a face and its mirror image must read alike.
_MIRRORED = np.array([1, 0, 2, 3, 5, 4, 6])


@dataclass(frozen=True, slots=True)
class Occlusion:
    """Hidden share of each part, 0 (free) .. 1 (hidden); left and right are the subject's; fields in wire order."""

    left_eye: float
    right_eye: float
    nose: float
    mouth: float
    left_cheek: float
    right_cheek: float
    chin_contour: float


def crop_transform(points: Points) -> geometry.Transform:
    """Picture → crop, for five alignment points ``(5, 2)``."""
    return geometry.similarity(points, TEMPLATE)


def crop(image: Image, points: Points) -> Image:
    """What the network looks at: ``(96, 96, 3)`` BGR; black where the picture ends."""
    return geometry.warp(image, crop_transform(points), (SIDE, SIDE))


def to_input(crops: Array | Image) -> Array:
    """Crops ``(n, 96, 96, 3)`` BGR 0..255 as the network wants them: ``(n, 3, 96, 96)`` RGB, (x - 127.5) / 127.5."""
    planes = crops[..., ::-1].astype(np.float32).transpose(0, 3, 1, 2)
    return np.ascontiguousarray((planes - 127.5) / 127.5)


class OcclusionMeter:
    """The network; input ``(n, 3, 96, 96)``, output ``(n, 7)`` in the order of :class:`Occlusion`."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def measure(self, image: Image, points: Points) -> Occlusion:
        """The hidden shares of one face, from its five alignment points ``(5, 2)``."""
        return Occlusion(*(float(ratio) for ratio in self.ratios(crop(image, points))))

    def ratios(self, seen: Image) -> Array:
        """``(7,)`` for one crop ``(96, 96, 3)`` BGR: the mean of what the crop and its mirror image read."""
        (told, *_) = self._session.run(to_input(np.stack([seen, seen[:, ::-1]])))
        return np.asarray(np.clip((told[0] + told[1][_MIRRORED]) / 2, 0, 1), np.float32)
