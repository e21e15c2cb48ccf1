"""Composition of embeddings from parts, on small linear networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.manifest import EmbedderPart, EmbedderSpec
from service.inference.embedder import Embedder
from service.inference.session import Session, load_session
from service.values import Image
from tests.unit.inference.small_graphs import linear_graph

PIXELS = 3 * 112 * 112
RANDOM = np.random.default_rng(7)
MATRICES = {name: RANDOM.normal(0, 1, (PIXELS, size)).astype(np.float32) for name, size in (("one", 4), ("two", 6))}
PARTS = (EmbedderPart("one", 4, "rgb", 0.0, 1.0, 1.0), EmbedderPart("two", 6, "bgr", 127.5, 128.0, 0.7))


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Session]:
    """One network with a free batch size and one that takes a single crop."""
    folder = tmp_path_factory.mktemp("embedder")
    batches: dict[str, int | str] = {"one": "batch", "two": 1}
    paths = {name: linear_graph(folder / name, batches[name], 112, MATRICES[name]) for name in MATRICES}
    return {name: load_session(path, ["CPUExecutionProvider"]) for name, path in paths.items()}


def crops(count: int) -> list[Image]:
    return list(np.random.default_rng(8).integers(0, 256, (count, 112, 112, 3), dtype=np.uint8))


def unit(rows: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def test_parts_are_fed_weighed_and_fused_as_written(sessions: dict[str, Session]) -> None:
    images = np.stack(crops(3)).astype(float)
    rgb = images[..., ::-1].transpose(0, 3, 1, 2).reshape(3, -1)
    bgr = ((images - 127.5) / 128).transpose(0, 3, 1, 2).reshape(3, -1)
    expected = unit(np.hstack([unit(rgb @ MATRICES["one"]), unit(bgr @ MATRICES["two"]) * 0.7]))
    embedder = Embedder(sessions, EmbedderSpec("small", PARTS, None, 10, "outline"))
    np.testing.assert_allclose(embedder.embed(crops(3)), expected, atol=1e-5)


def test_single_model_is_a_fusion_of_one(sessions: dict[str, Session]) -> None:
    embedder = Embedder(sessions, EmbedderSpec("small", PARTS[:1], None, 4, "detector"))
    answer = embedder.embed(crops(2))
    assert answer.shape == (2, 4)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(answer, axis=1), 1, atol=1e-6)


def test_projection_is_applied(sessions: dict[str, Session], tmp_path: Path) -> None:
    matrix = RANDOM.normal(0, 1, (10, 3)).astype(np.float32)
    np.savez(tmp_path / "projection.npz", projection=matrix)
    plain = Embedder(sessions, EmbedderSpec("small", PARTS, None, 10, "outline")).embed(crops(2))
    spec = EmbedderSpec("small", PARTS, tmp_path / "projection.npz", 3, "outline")
    np.testing.assert_allclose(Embedder(sessions, spec).embed(crops(2)), unit(plain.astype(float) @ matrix), atol=1e-5)


def test_projection_of_another_shape_is_refused(sessions: dict[str, Session], tmp_path: Path) -> None:
    np.savez(tmp_path / "projection.npz", projection=np.zeros((10, 4), np.float32))
    with pytest.raises(ValueError, match="projection"):
        Embedder(sessions, EmbedderSpec("small", PARTS, tmp_path / "projection.npz", 3, "outline"))


def test_no_crops_and_wrong_crops(sessions: dict[str, Session]) -> None:
    embedder = Embedder(sessions, EmbedderSpec("small", PARTS, None, 10, "outline"))
    assert embedder.embed([]).shape == (0, 10)
    with pytest.raises(ValueError, match="112x112"):
        embedder.embed([np.zeros((100, 112, 3), np.uint8)])
