"""Linear heads that we trained ourselves: small committed files of the ``models`` package.

``models/train/fit_heads.py`` writes them; data, figures and limits: ``models/cards/heads.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class LinearHead:
    """``features @ weights + bias``; ``weights`` ``(features, outputs)``, ``bias`` ``(outputs,)``, float32."""

    weights: Floats
    bias: Floats

    def values(self, features: Floats) -> Floats:
        """``(outputs,)`` for one row of features."""
        return np.asarray(features @ self.weights + self.bias, dtype=np.float32)

    def probabilities(self, features: Floats) -> Floats:
        """Softmax of ``values``."""
        return softmax(self.values(features))


@dataclass(frozen=True, slots=True, eq=False)
class PercentileHead:
    """A ridge regression whose answer is told as a percentile of a reference population.

    ``knots`` ``(n,)`` are its answers, ascending, at the percentiles ``percentiles`` ``(n,)``, 0..100.
    """

    head: LinearHead
    knots: Floats
    percentiles: Floats

    def percentile(self, features: Floats) -> float:
        """0..100; beyond the outermost knots it stays at their percentiles."""
        return float(np.interp(float(self.head.values(features)[0]), self.knots, self.percentiles))


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """All heads. Outputs: glasses none/common/sun, the binary ones no/yes, shape in the order of ``SHAPES``."""

    beauty: PercentileHead
    glasses: LinearHead
    sunglasses: LinearHead
    mask: LinearHead
    cartoon: LinearHead
    synthetic: LinearHead
    face_shape: LinearHead


@lru_cache(maxsize=1)
def load_heads() -> Heads:
    """The committed heads; read once."""
    beauty = _read("beauty")
    return Heads(
        PercentileHead(_head(beauty), beauty["knots"], beauty["percentiles"]),
        *(_head(_read(name)) for name in ("glasses", "sunglasses", "mask", "cartoon", "synthetic", "face_shape")),
    )


def softmax(values: Floats) -> Floats:
    """Probabilities for logits along the last axis."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)


def _read(name: str) -> dict[str, Floats]:
    file = resources.files("models") / f"heads/{name}.npz"
    with resources.as_file(file) as path, np.load(path, allow_pickle=False) as data:
        return {key: data[key].astype(np.float32) for key in data.files}


def _head(data: dict[str, Floats]) -> LinearHead:
    return LinearHead(data["weights"], data["bias"])
