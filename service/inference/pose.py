"""Head pose from a face's points alone: costs nothing, so that every answer can carry it.

Roll is the eye line's. Yaw and pitch come from a small quadratic regression on the points' shape, fitted by
``models/train/fit_pose.py`` to a pose network on photographs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from service.inference.geometry import apply, eye_line_roll, five_points, similarity
from service.values import Angles, Points

OUTLINE_POINTS = 68
FIVE_POINTS = 5
WEIGHTS = "heads/pose.npz"
"""Place of the fitted weights inside the ``models`` package."""

_MIRRORED_OUTLINE = (
    *range(16, -1, -1),  # contour
    *range(26, 16, -1),  # brows
    *(27, 28, 29, 30, 35, 34, 33, 32, 31),  # nose
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65),  # mouth
)
MIRRORED: dict[int, NDArray[np.intp]] = {
    OUTLINE_POINTS: np.array(_MIRRORED_OUTLINE, dtype=np.intp),
    FIVE_POINTS: np.array([1, 0, 2, 4, 3], dtype=np.intp),
}
"""By number of points: which point of the original each point of a mirrored picture is."""
_MIRROR = np.array([-1, 1], np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class ShapeRegression:
    """Yaw and pitch as a quadratic function of a shape's leading components.

    ``shape`` (n, 2): symmetric mean shape that points are brought onto by a similarity; ``components`` (k, 2n): what is
    read off the difference; ``weights`` (k + k(k+1)/2, 2): of those k numbers and their products; columns yaw, pitch.
    """

    shape: Points
    components: NDArray[np.float64]
    weights: NDArray[np.float64]
    offset: NDArray[np.float64]

    def angles(self, points: Points) -> tuple[float, float]:
        """(yaw, pitch) in degrees; a mirrored picture gives exactly (-yaw, pitch)."""
        yaw, pitch = self._regressed(points)
        other_yaw, other_pitch = self._regressed(points[MIRRORED[len(points)]] * _MIRROR)
        return (yaw - other_yaw) / 2, (pitch + other_pitch) / 2

    def _regressed(self, points: Points) -> tuple[float, float]:
        yaw, pitch = (features(self.components @ residual(points, self.shape)) @ self.weights + self.offset).tolist()
        return yaw, pitch


def residual(points: Points, shape: Points) -> NDArray[np.float64]:
    """How ``points`` differ from ``shape`` (n, 2) after the best similarity, flattened to (2n,)."""
    return np.asarray(apply(similarity(points, shape), points) - shape, dtype=np.float64).ravel()


def features(components: NDArray[np.float64]) -> NDArray[np.float64]:
    """``components`` (k,) followed by their products (k(k+1)/2,)."""
    rows, columns = _pairs(len(components))
    return np.concatenate([components, components[rows] * components[columns]])


@lru_cache(maxsize=4)
def _pairs(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of an upper triangle; making them takes longer than using them."""
    rows, columns = np.triu_indices(count)
    return rows, columns


class HeadPose:
    """Angles of a face from its 68 or its 5 points."""

    def __init__(self, regressions: dict[int, ShapeRegression]) -> None:
        self._regressions = regressions

    @classmethod
    def load(cls) -> HeadPose:
        """The fitted weights that ship with the ``models`` package."""
        source = resources.files("models").joinpath(WEIGHTS)
        with resources.as_file(source) as path, np.load(path, allow_pickle=False) as archive:
            parts = {
                count: [archive[f"{name}_{count}"] for name in ("shape", "components", "weights", "offset")]
                for count in (OUTLINE_POINTS, FIVE_POINTS)
            }
        return cls({count: ShapeRegression(*arrays) for count, arrays in parts.items()})

    def angles(self, points: Points) -> Angles:
        """Degrees, with the signs of :mod:`service.values`; yaw and pitch are cut to -90..90."""
        five = five_points(points) if len(points) == OUTLINE_POINTS else points
        yaw, pitch = (max(-90.0, min(90.0, angle)) for angle in self._regressions[len(points)].angles(points))
        return Angles(yaw, pitch, eye_line_roll(five))
