"""Everything that is read off a face besides who it is, behind one object: attributes, quality, liveness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.inference import geometry
from service.inference.attributes import MODEL_FILES, AttributeModels, FaceReader
from service.inference.liveness import RECIPES, LivenessMeter
from service.inference.occlusion import OcclusionMeter
from service.inference.quality import Quality, QualityMeter
from service.inference.session import Runtime, load_session
from service.values import Face, Image

OCCLUSION_FILE = "heads/occlusion.onnx"
"""Place of our own network inside the ``models`` package."""


class Analyst:
    """The networks beside detector and embedder, loaded. Safe to share between threads."""

    def __init__(self, files: Mapping[str, Path], runtime: Runtime) -> None:
        """``files`` are the pack's weights by short name; needs those of ``MODEL_FILES`` and one for liveness."""
        self._models = AttributeModels.load(files, runtime)
        with resources.as_file(resources.files("models") / OCCLUSION_FILE) as path:
            occlusion = OcclusionMeter(load_session(path, runtime))
        self._quality = QualityMeter(occlusion)
        parts = [name for name in RECIPES if name in files]
        self._liveness = LivenessMeter({name: load_session(files[name], runtime) for name in parts})

    @staticmethod
    def needs() -> frozenset[str]:
        """Short names of the files without which there is nothing to analyse with."""
        return frozenset(MODEL_FILES)

    def reader(self, image: Image, face: Face) -> FaceReader:
        """Attributes and landmarks of one face of ``image`` (BGR), each computed when first asked for."""
        return FaceReader(self._models, image, face)

    def quality(self, image: Image, face: Face) -> Quality:
        """Occlusion, blur, illumination and completeness of one face of ``image`` (BGR)."""
        return self._quality.measure(image, face)

    def liveness(self, image: Image, face: Face, parts: Sequence[str]) -> NDArray[np.float64]:
        """``(parts,)``: what each of the named measures says of one face of ``image`` (BGR)."""
        return self._liveness.measures(image, face.box, parts, geometry.eye_line_roll(face.points))

    def warm_up(self, image: Image, face: Face) -> None:
        """Run everything once on a picture with a face at a known place."""
        reader = self.reader(image, face)
        _ = (reader.age, reader.emotion, reader.gender, reader.glasses, reader.landmarks, reader.eye_status)
        self.quality(image, face)
        self.liveness(image, face, self._liveness.parts)
