"""Embeddings of aligned crops: one recognition network or several fused, as the pack's manifest composes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from models.manifest import EmbedderSpec
from models.specs import EmbedderPart
from service import beside
from service.inference.geometry import CROP_SIDE
from service.inference.preprocessing import planes
from service.inference.session import Array, Session
from service.values import Embeddings, Image

_TINY = np.finfo(np.float32).tiny

# Crops that go through a network in one run: bounds memory, and more gains nothing on a CPU.
_LARGEST_BATCH = 32


class Embedder:
    """Runs each part on the crops, weighs and concatenates, projects, and brings the rows to unit length."""

    def __init__(self, sessions: Mapping[str, Session], spec: EmbedderSpec) -> None:
        self._parts = [(sessions[part.file], part) for part in spec.parts]
        self._projection = None if spec.projection is None else load_projection(spec.projection)
        self.dimension = spec.dimension
        width = sum(part.dimension for part in spec.parts)
        if self._projection is not None and self._projection.shape != (width, spec.dimension):
            raise ValueError(f"the projection is {self._projection.shape}, the pack needs {(width, spec.dimension)}")

    def embed(self, crops: Sequence[Image]) -> Embeddings:
        """``(n, dimension)`` float32 of unit length for ``n`` BGR crops of 112x112."""
        if not crops:
            return np.zeros((0, self.dimension), np.float32)
        if any(crop.shape != (CROP_SIDE, CROP_SIDE, 3) for crop in crops):
            raise ValueError(f"aligned crops are {CROP_SIDE}x{CROP_SIDE}x3")
        batches = [crops[start : start + _LARGEST_BATCH] for start in range(0, len(crops), _LARGEST_BATCH)]
        return np.concatenate([self._embed(batch) for batch in batches])

    def _embed(self, crops: Sequence[Image]) -> Embeddings:
        outputs = beside.together([partial(_part, session, part, crops) for session, part in self._parts])
        fused = unit_rows(np.concatenate(outputs, axis=1))
        return fused if self._projection is None else unit_rows(fused @ self._projection)


def _part(session: Session, part: EmbedderPart, crops: Sequence[Image]) -> Array:
    """What one network contributes: ``(n, part.dimension)``, rows as long as its weight."""
    return np.asarray(unit_rows(session.run(planes(crops, part))[0]) * part.weight, dtype=np.float32)


def load_projection(path: Path) -> Array:
    """The matrix ``projection`` (sum of the parts' dimensions, dimension) of an npz file, as float32."""
    with np.load(path, allow_pickle=False) as archive:
        return np.ascontiguousarray(archive["projection"], dtype=np.float32)


def unit_rows(rows: Array) -> Array:
    """``rows`` divided by their lengths, float32; a row of zeros stays one."""
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, np.newaxis]
    return np.asarray(rows / np.maximum(lengths, _TINY), dtype=np.float32)
