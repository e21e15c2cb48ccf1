"""Fits ``models/heads/pose.npz``: yaw and pitch from a face's points, with the face mesh as the teacher.

Usage: ``python -m models.train.fit_pose --pictures FOLDER --models MODEL_DIR``. FOLDER holds one folder of photographs
per person (LFW: http://vis-www.cs.umass.edu/lfw/). The largest face of each picture is found by the core pack, whose
mesh (``service.inference.mesh``) tells yaw and pitch; a quadratic regression on the points' shape learns both, so that
``detect`` tells the mesh's angles without paying for the mesh. Every face is used a second time mirrored. A fifth of
the people is held back, and the error there is printed.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.manifest import PackManifest, load_pack
from service.inference.detector import YuNet
from service.inference.finder import FaceFinder
from service.inference.geometry import apply, eye_line_roll, five_points, rotation_about, similarity
from service.inference.landmarks import Landmarks
from service.inference.mesh import MeshModel
from service.inference.orientation import LevelFace, Leveller
from service.inference.pose import FIVE_POINTS, MIRRORED, OUTLINE_POINTS, ShapeRegression, features, residual
from service.inference.session import Session, load_session
from service.values import Image, Points

Values = NDArray[np.float64]

COMPONENTS = {OUTLINE_POINTS: 14, FIVE_POINTS: 5}
RIDGE = 1e-3
HELD_BACK = 5
_TARGET = Path(__file__).resolve().parents[1] / "heads" / "pose.npz"


@dataclass(frozen=True)
class Example:
    """One face: who it is, its points in the picture, and the teacher's yaw and pitch with the project's signs."""

    person: str
    outline: Points
    five: Points
    yaw: float
    pitch: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True, help="model directory that holds the core pack")
    parser.add_argument("--per-person", type=int, default=4)
    arguments = parser.parse_args()
    examples = list(_examples(arguments.pictures, arguments.models, arguments.per_person))
    print(f"{len(examples)} faces")
    arrays = {}
    for count in (OUTLINE_POINTS, FIVE_POINTS):
        regression = _fit([example for example in examples if not _is_held_back(example.person)], count)
        _report(regression, [example for example in examples if _is_held_back(example.person)], count)
        for name in ("shape", "components", "weights", "offset"):
            arrays[f"{name}_{count}"] = getattr(regression, name).astype(np.float32)
    np.savez_compressed(_TARGET, **arrays)
    print(f"written: {_TARGET.name}, {_TARGET.stat().st_size} bytes")


def _is_held_back(person: str) -> bool:
    return zlib.crc32(person.encode()) % HELD_BACK == 0


def _examples(folder: Path, model_dir: Path, per_person: int) -> Iterator[Example]:
    pack = load_pack("core")
    sessions = {name: _session(pack, name, model_dir) for name in ("yunet", "fr_landmark", "facemesh")}
    mesh = MeshModel(sessions["facemesh"])
    detector = YuNet(sessions["yunet"], pack.detector, 0.5)
    if pack.landmarks is None:
        raise SystemExit("the core pack has no landmark network")
    finder = FaceFinder(detector, Leveller(detector, Landmarks(sessions["fr_landmark"], pack.landmarks)))
    for path in sorted(path for person in folder.iterdir() for path in sorted(person.glob("*.jpg"))[:per_person]):
        image = np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR), dtype=np.uint8)
        for face in finder.find(image, 1):
            yaw, pitch = _teach(mesh, image, face)
            yield Example(path.parent.name, face.outline, face.points, yaw, pitch)


def _session(pack: PackManifest, name: str, model_dir: Path) -> Session:
    return load_session(pack.files[name].path(model_dir), ["CPUExecutionProvider"])


def _teach(mesh: MeshModel, image: Image, face: LevelFace) -> tuple[float, float]:
    """(yaw, pitch) of the mesh fitted to the face."""
    angles = mesh.fit(image, face.picture_box, eye_line_roll(five_points(face.outline))).angles
    return angles.yaw, angles.pitch


def _points(example: Example, count: int) -> Points:
    return example.outline if count == OUTLINE_POINTS else example.five


def _fit(examples: list[Example], count: int) -> ShapeRegression:
    shapes = [_points(example, count) for example in examples]
    targets = np.array([(example.yaw, example.pitch) for example in examples])
    shapes += [shape[MIRRORED[count]] * np.array([-1, 1], np.float32) for shape in shapes]
    targets = np.concatenate([targets, targets * (-1, 1)])
    mean = _mean_shape(shapes)
    residuals = np.stack([residual(shape, mean) for shape in shapes])
    _, spread, directions = np.linalg.svd(residuals, full_matrices=False)
    # Components of unit variance, so that one ridge fits linear and quadratic terms.
    scale = spread[: COMPONENTS[count], np.newaxis] / np.sqrt(len(residuals))
    components = directions[: COMPONENTS[count]] / scale
    inputs = np.stack([features(row) for row in residuals @ components.T])
    weights, offset = _ridge(inputs, targets)
    return ShapeRegression(mean, components, weights, offset)


def _mean_shape(shapes: list[Points]) -> Points:
    """Procrustes mean: shapes brought onto it by similarities and averaged, thrice; symmetric, level, of unit size."""
    mean = _normal(shapes[0])
    for _ in range(3):
        mean = _normal(np.mean([apply(similarity(shape, mean), shape) for shape in shapes], axis=0))
    return mean


def _normal(shape: Points) -> Points:
    """``shape`` centred, its eye line level, averaged with its mirror image, of unit size."""
    five = five_points(shape) if len(shape) == OUTLINE_POINTS else shape
    level = apply(rotation_about((0.0, 0.0), -eye_line_roll(five)), shape)
    level = level - level.mean(axis=0)
    level = (level + level[MIRRORED[len(shape)]] * np.array([-1, 1], np.float32)) / 2
    return np.asarray(level / np.sqrt((level**2).sum(axis=1).mean()), dtype=np.float32)


def _ridge(inputs: Values, targets: Values) -> tuple[Values, Values]:
    centre, middle = inputs.mean(axis=0), targets.mean(axis=0)
    moved = inputs - centre
    square = moved.T @ moved + RIDGE * len(inputs) * np.eye(inputs.shape[1])
    weights = np.linalg.solve(square, moved.T @ (targets - middle))
    return weights, middle - centre @ weights


def _report(regression: ShapeRegression, examples: list[Example], count: int) -> None:
    answers = np.array([regression.angles(_points(example, count)) for example in examples])
    truth = np.array([(example.yaw, example.pitch) for example in examples])
    for column, name in enumerate(("yaw", "pitch")):
        error = np.abs(answers[:, column] - truth[:, column])
        correlation = np.corrcoef(answers[:, column], truth[:, column])[0, 1]
        print(f"{count} points, {name}: {len(examples)} held-back faces, MAE {error.mean():.2f}, r {correlation:.3f}")


if __name__ == "__main__":
    main()
