"""Our own mean face for head pose: generalised Procrustes over meshes of many people, made symmetric.

    python -m models.train.canonical_face --pictures FOLDER --models MODEL_DIR

``FOLDER`` holds pictures with one face in the middle (Labeled Faces in the Wild does, also below it). Writes
``models/heads/canonical_face.npz``: ``points`` (468, 3) float32, ``weights`` (468,) float32, ``mirror`` (468,) int16.
The picture's axes are kept: x right, y down, z away from the camera.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from models.manifest import ROOT
from models.train.meshes import read_portraits
from service.inference.mesh import CANONICAL_FILE, VERTICES, rigid_fit

Floats = NDArray[Any]

ROUNDS = 4
"""Procrustes converges to the fourth digit in three."""

_OUTER_RIGHT_EYE, _OUTER_LEFT_EYE, _FOREHEAD, _CHIN = 33, 263, 10, 152


def unit(points: Floats) -> Floats:
    """Centred and with a root mean square distance of one from the centre."""
    centred = points - points.mean(axis=-2, keepdims=True)
    size = np.sqrt((centred**2).sum(axis=-1, keepdims=True).mean(axis=-2, keepdims=True))
    return np.asarray(centred / size)


def procrustes(meshes: Floats) -> tuple[Floats, Floats]:
    """The mean shape ``(468, 3)`` of ``(n, 468, 3)`` meshes, and the meshes turned onto it."""
    meshes = unit(meshes)
    mean, even = meshes[0], np.ones(VERTICES, np.float32)
    for _ in range(ROUNDS):
        turned = np.stack([mesh @ rigid_fit(mesh, mean, even)[0].T for mesh in meshes])
        mean = unit(turned.mean(axis=0))
    return mean, turned


def upright(mean: Floats) -> Floats:
    """The rotation ``(3, 3)`` that levels the eyes and puts forehead and chin at one depth.

    That is our zero of pitch. On LFW it agrees to half a degree with ``fr_pose``, a network trained on measured poses.
    """
    x = mean[_OUTER_LEFT_EYE] - mean[_OUTER_RIGHT_EYE]
    x /= np.linalg.norm(x)
    y = mean[_CHIN] - mean[_FOREHEAD]
    y -= x * (x @ y)
    y /= np.linalg.norm(y)
    return np.stack([x, y, np.cross(x, y)])


def mirror_of(shape: Floats) -> tuple[Floats, NDArray[Any]]:
    """The shape with its plane of symmetry at x = 0, and for every vertex the one on the other side."""
    flip = np.array([-1.0, 1.0, 1.0])
    for _ in range(5):
        distances = ((shape[:, np.newaxis] - (shape * flip)[np.newaxis]) ** 2).sum(axis=-1)
        mirror = distances.argmin(axis=1)
        turn, _ = rigid_fit((shape * flip)[mirror], shape, np.ones(VERTICES, np.float32))
        # the shape and its mirror image differ by twice the angle to the plane of symmetry
        half, _ = cv2.Rodrigues(-0.5 * cv2.Rodrigues(turn)[0])
        shape = unit(shape @ half.T)
        shape[:, 0] -= (shape[:, 0] + shape[mirror, 0]).mean() / 2
    if not np.array_equal(mirror[mirror], np.arange(VERTICES)):
        raise ValueError("left and right vertices do not pair up: too few or too skewed meshes")
    return unit((shape + (shape * flip)[mirror]) / 2), mirror


def canonical(meshes: Floats) -> dict[str, Floats]:
    """What the file holds, for ``(n, 468, 3)`` meshes."""
    mean, turned = procrustes(meshes)
    spread = ((turned - mean) ** 2).sum(axis=-1).mean(axis=0)
    shape, mirror = mirror_of(mean @ upright(mean).T)
    weights = 1 / (spread + spread[mirror] + 2 * np.median(spread) * 0.1)
    return {
        "points": shape.astype(np.float32),
        "weights": (weights / weights.mean()).astype(np.float32),
        "mirror": mirror.astype(np.int16),
    }


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / CANONICAL_FILE)
    arguments = parser.parse_args()
    meshes = [portrait.reader.mesh.points for portrait in read_portraits(arguments.pictures, arguments.models)]
    np.savez_compressed(arguments.out, allow_pickle=False, **canonical(np.stack(meshes)))
    print(f"{arguments.out}: mean of {len(meshes)} faces")


if __name__ == "__main__":
    main()
