"""Real weights and real faces for the attribute tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.manifest import load_pack
from service.inference.attributes import MODEL_FILES, AttributeModels, FaceReader
from service.inference.engine import Engine
from service.values import Face, Image
from tests.fixtures.pictures import Pictures

PROVIDERS = ("CPUExecutionProvider",)

Read = Callable[[Image], FaceReader]


@pytest.fixture(scope="session")
def files(model_dir: Path) -> dict[str, Path]:
    """Short name → weights of the pack ``core``."""
    found = {path.stem: path for path in (model_dir / "core").glob("*.onnx")}
    missing = sorted(set(MODEL_FILES) - set(found))
    if missing:
        pytest.skip(f"the pack core does not bring {', '.join(missing)}")
    return found


@pytest.fixture(scope="session")
def engine(files: dict[str, Path]) -> Engine:
    return Engine(load_pack("core"), files, PROVIDERS)


@pytest.fixture(scope="session")
def attribute_models(files: dict[str, Path]) -> AttributeModels:
    return AttributeModels.load(files, PROVIDERS)


@pytest.fixture(scope="session")
def read(engine: Engine, attribute_models: AttributeModels) -> Read:
    """Reads the largest face of a picture."""

    def reader(image: Image) -> FaceReader:
        return FaceReader(attribute_models, image, largest(engine, image))

    return reader


def largest(engine: Engine, image: Image) -> Face:
    (face,) = engine.detect(image, 1)
    return face


def load(pictures: Pictures, name: str, side: int = 640) -> Image:
    """The picture called ``name``, its longer side at most ``side``."""
    image = cv2.imread(str(pictures.path(name)))
    assert image is not None
    zoom = min(1.0, side / max(image.shape[:2]))
    return np.asarray(cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA), dtype=np.uint8)


@pytest.fixture(scope="session")
def astronaut(pictures: Pictures) -> Image:
    return load(pictures, "astronaut.png")


@pytest.fixture(scope="session")
def obama(pictures: Pictures) -> Image:
    return load(pictures, "obama.jpg")


@pytest.fixture(scope="session")
def biden(pictures: Pictures) -> Image:
    return load(pictures, "biden.jpg")
