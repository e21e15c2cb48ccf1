"""Embeddings of many crops at once are those of the crops one by one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from models.manifest import load_pack
from service.inference.engine import Engine
from service.values import Image

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def engine(model_dir: Path) -> Engine:
    """The core pack on the CPU."""
    pack = load_pack("core")
    return Engine(pack, {name: file.path(model_dir) for name, file in pack.files.items()}, ["CPUExecutionProvider"])


def crops(count: int) -> list[Image]:
    """Crops of a photograph, around a face and beside it."""
    photo = np.ascontiguousarray(data.astronaut()[..., ::-1])  # type: ignore[no-untyped-call]
    random = np.random.default_rng(2)
    found = []
    for _ in range(count):
        x, y = random.integers(0, 350, 2)
        side = int(random.integers(60, 160))
        found.append(np.asarray(cv2.resize(photo[y : y + side, x : x + side], (112, 112)), dtype=np.uint8))
    return found


def test_batched_embedding_is_single_embedding(engine: Engine) -> None:
    images = crops(9)
    together = engine.embed(images)
    alone = np.concatenate([engine.embed([image]) for image in images])
    assert together.shape == (9, engine.dimension)
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)


def test_batches_beyond_the_largest_are_split(engine: Engine) -> None:
    (image,) = crops(1)
    together = engine.embed([image] * 40)
    np.testing.assert_allclose(together, np.repeat(engine.embed([image]), 40, axis=0), atol=TOLERANCE)
