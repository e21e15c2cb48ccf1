"""Faces of a folder of photographs, meshed: what the training scripts of this folder start from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from models.manifest import load_pack
from service.inference.attributes import AttributeModels, FaceReader
from service.inference.engine import Engine
from service.values import Face, Image

PROVIDERS = ("CPUExecutionProvider",)
PRESENT = 0.99
"""Meshes that the network itself doubts teach nothing."""

PACK = "core"

MIRRORED_POINTS = [1, 0, 2, 4, 3]
"""The five points of a mirrored face in their own order: eyes, nose tip, mouth corners, picture-left first."""


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """One picture, its most central face, and a reader for it."""

    path: Path
    image: Image
    face: Face
    reader: FaceReader
    models: AttributeModels

    def mirrored(self) -> FaceReader:
        """A reader for the same face in the mirror image of the picture."""
        width = self.image.shape[1]
        x, y, across, down = self.face.box
        points = (self.face.points * [-1, 1] + [width - 1, 0])[MIRRORED_POINTS].astype(np.float32)
        face = replace(self.face, box=(width - x - across, y, across, down), points=points)
        return FaceReader(self.models, np.ascontiguousarray(self.image[:, ::-1]), face)


def read_portraits(
    folder: Path,
    model_dir: Path,
    step: int = 1,
    also: frozenset[str] = frozenset(),
    pattern: str = "*.jpg",
    least_presence: float = PRESENT,
) -> Iterator[Portrait]:
    """Every ``step``-th picture below ``folder``, in the order of names, that shows a face the mesh is sure of.

    ``also``: pictures read in any case, as ``<person>/<file>``.
    """
    pack = load_pack(PACK)
    files = {path.stem: path for path in (model_dir / PACK).glob("*.onnx")}
    engine, models = Engine(pack, files, PROVIDERS), AttributeModels.load(files, PROVIDERS)
    for number, path in enumerate(sorted(folder.rglob(pattern))):
        if number % step and f"{path.parent.name}/{path.name}" not in also:
            continue
        image = cv2.imread(str(path))
        if image is None:
            continue
        picture = np.asarray(image, dtype=np.uint8)
        faces = engine.detect(picture, 10)
        if not faces:
            continue
        face = min(faces, key=lambda found: _off_centre(found, picture))
        reader = FaceReader(models, picture, face)
        if reader.presence >= least_presence:
            yield Portrait(path, picture, face, reader, models)


def _off_centre(face: Face, image: Image) -> float:
    x, y, width, height = face.box
    return float(abs(x + width / 2 - image.shape[1] / 2) + abs(y + height / 2 - image.shape[0] / 2))
