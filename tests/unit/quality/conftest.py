"""The default pack's engine and the networks beside it, and the faces to measure."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from models.manifest import ROOT, load_pack
from service.inference.engine import Engine
from service.inference.occlusion import OcclusionMeter
from service.inference.quality import QualityMeter
from service.inference.session import load_session
from service.values import Face, Image
from tests.fixtures.pictures import Pictures

PROCESSOR = ("CPUExecutionProvider",)

ONE_FACE = ("astronaut.png", "obama.jpg", "obama2.jpg", "biden.jpg")
"""Photographs of one uncovered frontal face each."""


@pytest.fixture(scope="session")
def engine(model_dir: Path) -> Engine:
    """The default pack's engine."""
    pack = load_pack("core")
    return Engine(pack, {name: file.path(model_dir) for name, file in pack.files.items()}, PROCESSOR)


@pytest.fixture(scope="session")
def occlusion_meter() -> OcclusionMeter:
    """The committed occlusion network."""
    return OcclusionMeter(load_session(ROOT / "heads" / "occlusion.onnx", PROCESSOR))


@pytest.fixture(scope="session")
def quality_meter(occlusion_meter: OcclusionMeter) -> QualityMeter:
    """All measures."""
    return QualityMeter(occlusion_meter)


@pytest.fixture(scope="session")
def portraits(engine: Engine, pictures: Pictures) -> list[tuple[Image, Face]]:
    """Faces with their surroundings, at most 640 pixels, and where they are."""
    found = []
    for name in ONE_FACE:
        whole = np.asarray(cv2.imread(str(pictures.path(name)), cv2.IMREAD_COLOR), np.uint8)
        zoom = min(1.0, 640 / max(whole.shape[:2]))
        image = np.asarray(cv2.resize(whole, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), np.uint8)
        (face,) = engine.detect(image, 1)
        found.append((image, face))
    return found
