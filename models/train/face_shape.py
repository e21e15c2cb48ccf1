"""The rule that tells five face shapes apart, scaled to a population: writes ``models/heads/face_shape.npz``.

    python -m models.train.face_shape --pictures FOLDER --models MODEL_DIR

No data say which shape a face has, and people do not agree either. The directions below say what the words mean; the
photographs only say what is long, wide or pointed compared with others, and how to share them out.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.manifest import ROOT
from models.train.meshes import read_portraits
from service.inference.face_shape import SHAPES, shape_measures
from service.inference.mesh import load_canonical

Floats = NDArray[Any]

# What speaks for each shape, in standard deviations of: length / width, jaw / cheekbones, forehead / cheekbones,
# chin / jaw (blunt). E.g. a heart has a wide forehead above a narrow jaw and a pointed chin.
DIRECTIONS = {
    "square": (-0.2, 0.6, 0.0, 0.8),
    "triangle": (0.0, 0.7, -0.6, -0.4),
    "oval": (0.9, -0.2, 0.0, 0.1),
    "heart": (0.0, -0.6, 0.6, -0.5),
    "round": (-1.0, 0.0, 0.1, 0.1),
}

WANTED_SHARES = {"square": 0.16, "triangle": 0.12, "oval": 0.35, "heart": 0.17, "round": 0.20}
"""Our convention: oval is the commonest, the others occur."""

SHARPNESS = 1.5
"""Makes the typical best probability a bit above a half, as in the answers that the API's documents show."""

LARGEST_YAW = 25.0


def fit(measures: Floats) -> dict[str, Floats]:
    """Weights ``(4, 5)`` and bias ``(5,)`` for ``(n, 4)`` measures of frontal faces."""
    mean, scale = measures.mean(axis=0), measures.std(axis=0)
    directions = SHARPNESS * np.array([DIRECTIONS[shape] for shape in SHAPES]).T
    scores = (measures - mean) / scale @ directions
    wanted = np.array([WANTED_SHARES[shape] for shape in SHAPES])
    bias = np.zeros(len(SHAPES))
    for step in range(2000):
        shares = np.bincount((scores + bias).argmax(axis=1), minlength=len(SHAPES)) / len(scores)
        bias += (wanted - shares) / (1 + step / 100)
    weights = directions / scale[:, np.newaxis]
    return {"weights": weights.astype(np.float32), "bias": (bias - mean @ weights).astype(np.float32)}


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "heads" / "face_shape.npz")
    arguments = parser.parse_args()
    canonical = load_canonical()
    measures = [
        shape_measures(portrait.reader.mesh.points, canonical)
        for portrait in read_portraits(arguments.pictures, arguments.models)
        if abs(portrait.reader.angles.yaw) < LARGEST_YAW
    ]
    np.savez_compressed(arguments.out, allow_pickle=False, **fit(np.array(measures, np.float64)))
    print(f"{arguments.out}: {len(measures)} faces")


if __name__ == "__main__":
    main()
