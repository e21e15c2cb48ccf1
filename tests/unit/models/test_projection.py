"""The projection to fewer dimensions keeps similarities, and the committed one fits its pack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from models.manifest import load_pack
from models.projection import fit_projection, project, save_projection
from tests.unit.models.graphs import pattern


def faces_like(count: int, dimension: int, rank: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Unit vectors that lie, but for a little noise, in ``rank`` dimensions."""
    rows = pattern(count, rank) @ pattern(rank, dimension) + 0.001 * pattern(count, dimension)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def test_similarities_survive_when_the_data_have_no_more_dimensions() -> None:
    faces = faces_like(200, 64, 12)
    projection = fit_projection(faces[:100], 12)
    small = project(faces[100:], projection)
    assert small.shape == (100, 12)
    np.testing.assert_allclose(np.linalg.norm(small, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(small @ small.T, faces[100:] @ faces[100:].T, atol=0.01)


def test_the_map_is_orthonormal_and_does_not_hang_on_order() -> None:
    faces = faces_like(200, 64, 20)
    projection = fit_projection(faces, 12)
    np.testing.assert_allclose(projection.T @ projection, np.eye(12), atol=1e-5)
    np.testing.assert_allclose(fit_projection(faces[::-1], 12), projection, atol=1e-4)


def test_too_few_embeddings_are_refused() -> None:
    with pytest.raises(ValueError, match="12 dimensions need"):
        fit_projection(faces_like(10, 64, 8), 12)


def test_half_precision_is_enough(tmp_path: Path) -> None:
    faces = faces_like(100, 64, 20)
    projection = fit_projection(faces, 12)
    save_projection(tmp_path / "map.npz", projection)
    with np.load(tmp_path / "map.npz") as archive:
        stored = archive["projection"]
    assert stored.dtype == np.float16
    np.testing.assert_allclose(project(faces, stored), project(faces, projection), atol=1e-3)


def test_the_committed_projection_fits_core() -> None:
    embedder = load_pack("core").embedder
    assert embedder.projection is not None
    with np.load(embedder.projection) as archive:
        projection = archive["projection"].astype(np.float32)
    assert projection.shape == (sum(part.dimension for part in embedder.parts), embedder.dimension)
    np.testing.assert_allclose(projection.T @ projection, np.eye(embedder.dimension), atol=1e-3)
