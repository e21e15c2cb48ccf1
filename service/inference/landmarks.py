"""The 68-point outline of a face from a small regression network."""

from __future__ import annotations

import numpy as np

from models.manifest import LandmarkSpec
from service.inference.geometry import Box, Transform, apply, compose, inverse, warp
from service.inference.preprocessing import planes
from service.inference.session import Session
from service.values import Image, Points

POINTS = 68


class Landmarks:
    """Points of a face whose upright box is known.

    The network sees the box (times the manifest's margin) squeezed into its square input and answers 136 numbers:
    x, y of 68 iBUG points in 0..1 of what it sees.
    """

    def __init__(self, session: Session, spec: LandmarkSpec) -> None:
        self._session = session
        self._spec = spec
        side = session.input_shape[-1]
        if not isinstance(side, int):
            raise TypeError("a landmark network needs a fixed input size")
        self._side = side

    def locate(self, image: Image, levelling: Transform, box: Box) -> Points:
        """``(68, 2)`` in pixels of ``image``; ``box`` is given in the frame that ``levelling`` leads to."""
        crop_of = compose(stretch(box, self._spec.margin, self._side), levelling)
        crop = warp(image, crop_of, (self._side, self._side))
        (answer, *_) = self._session.run(planes([crop], self._spec.preprocessing))
        return apply(inverse(crop_of), answer.reshape(POINTS, 2) * self._side)


def stretch(box: Box, margin: float, side: int) -> Transform:
    """The transform that makes ``box``, enlarged ``margin`` times about its centre, a square of ``side`` pixels."""
    x, y, width, height = box
    left, top = x - width * (margin - 1) / 2, y - height * (margin - 1) / 2
    zoom_x, zoom_y = side / max(width * margin, 1e-3), side / max(height * margin, 1e-3)
    return np.array([[zoom_x, 0, -left * zoom_x], [0, zoom_y, -top * zoom_y]])
