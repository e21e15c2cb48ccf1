"""The engine of the core pack, loaded once."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from models.manifest import load_pack
from service.inference.engine import Engine
from service.values import Image
from tests.fixtures.pictures import Pictures

PROVIDERS = ("CPUExecutionProvider",)


@pytest.fixture(scope="session")
def engine(model_dir: Path) -> Engine:
    """The core pack on the CPU."""
    pack = load_pack("core")
    return Engine(pack, {name: file.path(model_dir) for name, file in pack.files.items()}, PROVIDERS)


@pytest.fixture(scope="session")
def astronaut() -> Image:
    """One woman, frontal and upright; her face is about 100 pixels large, at (225, 120)."""
    return np.ascontiguousarray(data.astronaut()[..., ::-1])  # type: ignore[no-untyped-call]


@pytest.fixture(scope="session")
def crowd(pictures: Pictures) -> Image:
    """Six people, faces of about 100 pixels, some heads tilted."""
    return np.asarray(cv2.imread(str(pictures.path("t1.jpg"))), dtype=np.uint8)
