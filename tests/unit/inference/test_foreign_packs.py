"""The engine on a pack of another make: SCRFD, one ArcFace network, no landmark network."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.manifest import DetectorSpec, EmbedderPart, EmbedderSpec, PackManifest, Preprocessing, load_pack
from service.inference.detector import STRIDES
from service.inference.engine import Engine
from service.inference.geometry import ARCFACE_TEMPLATE, apply, rotation_about
from tests.unit.inference.small_graphs import Array, constant_graph, linear_graph

SIDE = 320
POINTS = np.add(ARCFACE_TEMPLATE, np.array([104, 72], np.float32))
BOX = np.array([104, 72, 216, 216], np.float32)  # left, top, right, bottom


def scrfd_face(roll: float) -> dict[str, Array]:
    """Outputs of an SCRFD that sees one face, whatever it is shown; its points lie on the ArcFace template."""
    outputs: dict[str, Array] = {}
    for kind, width in (("score", 1), ("bbox", 4), ("kps", 10)):
        for stride in STRIDES:
            outputs[f"{kind}_{stride}"] = np.zeros((2 * (SIDE // stride) ** 2, width), np.float32)
    column, row = 10, 9
    anchor = 2 * (row * (SIDE // 16) + column)
    prior = np.array([column, row], np.float32) * 16
    points = apply(rotation_about((160, 144), roll), POINTS)
    outputs["score_16"][anchor] = 0.85
    outputs["bbox_16"][anchor] = np.concatenate([prior - BOX[:2], BOX[2:] - prior]) / 16
    outputs["kps_16"][anchor] = ((points - prior) / 16).ravel()
    return outputs


def foreign_pack() -> PackManifest:
    """The core pack's manifest with another detector and embedder."""
    return replace(
        load_pack("core"),
        name="foreign",
        detector=DetectorSpec("scrfd", "det", Preprocessing("rgb", (127.5,), (128.0,))),
        landmarks=None,
        embedder=EmbedderSpec("foreign", (EmbedderPart("sface", 8, "rgb", 127.5, 127.5, 1.0),), None, 8, "detector"),
    )


@pytest.mark.parametrize("roll", [0.0, 10.0])
def test_faces_without_an_outline(tmp_path: Path, roll: float) -> None:
    matrix = np.random.default_rng(0).normal(0, 1, (3 * 112 * 112, 8)).astype(np.float32)
    files = {
        "det": constant_graph(tmp_path / "det.onnx", [1, 3, "height", "width"], scrfd_face(roll)),
        "sface": linear_graph(tmp_path / "sface.onnx", "batch", 112, matrix),
    }
    engine = Engine(foreign_pack(), files, ["CPUExecutionProvider"])
    image = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    (face,) = engine.detect(image, 1)
    assert face.outline.shape == (0, 2)
    assert face.confidence == 1
    np.testing.assert_allclose(face.box, (104, 72, 112, 144), atol=1e-3)
    np.testing.assert_allclose(face.points, apply(rotation_about((160, 144), roll), POINTS), atol=1e-3)
    assert face.location.rotation == round(face.angles.roll)
    assert face.location.width == pytest.approx(112, rel=0.05)
    assert face.location.height == pytest.approx(144, rel=0.05)
    small, points = engine.portrait(image, face)
    assert points.shape == (5, 2)
    assert small.ndim == 3
    embedding = engine.embed([engine.align(image, face.points)])
    assert embedding.shape == (1, 8)
    assert np.linalg.norm(embedding) == pytest.approx(1, abs=1e-5)
    assert engine.model_id.startswith("foreign-8-")
