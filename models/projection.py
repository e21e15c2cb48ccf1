"""The linear map that brings fused embeddings to fewer dimensions.

The top right singular vectors of the (uncentred) embeddings keep dot products best in the least-squares sense, which
are what recognition compares (Eckart and Young 1936). The map is orthonormal, so it is the same for all weights of
later fits up to signs, which are fixed here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.floating[Any]]


def fit_projection(embeddings: Matrix, dimension: int) -> NDArray[np.float32]:
    """The ``(d, dimension)`` map for ``(n, d)`` embeddings of unit length; columns by falling singular value.

    Each column's sign makes its largest entry positive, so that two fits of the same data agree. Raises
    :class:`ValueError` when there are fewer than ``dimension`` embeddings or numbers in one.
    """
    if embeddings.ndim != 2 or min(embeddings.shape) < dimension:
        raise ValueError(f"{dimension} dimensions need as many embeddings of as many numbers, got {embeddings.shape}")
    _, _, right = np.linalg.svd(embeddings.astype(np.float64), full_matrices=False)
    vectors = right[:dimension].T
    largest = vectors[np.abs(vectors).argmax(axis=0), np.arange(dimension)]
    return np.ascontiguousarray(vectors * np.sign(largest), dtype=np.float32)


def project(embeddings: Matrix, projection: Matrix) -> NDArray[np.float32]:
    """``(n, dimension)`` float32 of unit length: what a pack with this projection answers."""
    rows = embeddings.astype(np.float32) @ projection.astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def save_projection(path: Path, projection: Matrix) -> None:
    """Write the npz that a manifest's ``projection`` names.

    Half precision: it moves an entry of a projected unit vector by less than 1e-4 and leaves every figure of the card
    as it is, at half the size.
    """
    np.savez_compressed(path, projection=projection.astype(np.float16))
