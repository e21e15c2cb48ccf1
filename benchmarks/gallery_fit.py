"""Measure real embeddings and fit the model of ``benchmarks.gallery`` to them; writes ``gallery_statistics.npz``.

    python -m benchmarks.gallery_fit --lfw FOLDER [--embeddings FILE]

The embeddings are those of the `core` pack's fused networks: projected to 192 numbers, as served, and before the
projection, of which the 512 numbers along the longest principal axes are kept (no cosine changes by more than 0.001).
``--embeddings`` names a file to keep them in, since embedding takes minutes; it holds faces of people and is not part
of this project. For LFW see ``benchmarks.accuracy``.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.accuracy import all_against_all, embed_all, people_pictures
from benchmarks.gallery import FARS, FRRS, STATISTICS, Floats, Gallery, Statistics, similarities
from benchmarks.harness import weights
from models.manifest import load_pack
from service.inference.embedder import load_projection, unit_rows
from service.inference.engine import Engine

PEOPLE = 6000
"""So many are made to compare with the measured."""
POORNESS_STEPS = 65
ROUNDS = 12
ARCHETYPES = (250, 500, 1000, 2000)
LIKENESSES = (0.0, 0.1, 0.15, 0.2, 0.25, 0.3)
LEAST_GENUINE = 0.003
"""Genuine pairs below this share are mostly mislabelled or show a bystander."""


def embeddings_of(folder: Path, kept: Path | None) -> tuple[Floats, NDArray[np.int64]]:
    """Fused embeddings ``(n, 640)`` of the pictures, and the number of each one's person."""
    if kept is not None and kept.is_file():
        with np.load(kept, allow_pickle=False) as archive:
            return archive["emb"], archive["people"]
    pack = load_pack("core")
    width = sum(part.dimension for part in pack.embedder.parts)
    fused = replace(pack, embedder=replace(pack.embedder, projection=None, dimension=width))
    paths, people = people_pictures(folder, None)
    rows, found = embed_all(Engine(fused, weights("core"), ["CPUExecutionProvider"]), paths)
    if kept is not None:
        np.savez(kept, emb=rows, people=people[found])
    return rows, people[found]


def served(fused: Floats, dimension: int) -> Floats:
    """Embeddings of ``dimension`` numbers made of fused ones."""
    spec = load_pack("core").embedder
    if dimension == spec.dimension and spec.projection is not None:
        return unit_rows(fused @ load_projection(spec.projection))
    _, _, axes = np.linalg.svd(fused, full_matrices=False)
    return unit_rows(fused @ axes[:dimension].T)


def moments(rows: Floats, people: NDArray[np.int64]) -> Statistics:
    """Mean and variances along the principal axes, and the measured cosines; the rest is still to be fitted."""
    cosines, same = all_against_all(rows, people)
    _, axes = np.linalg.eigh(np.cov(rows.T))
    turned = rows @ axes[:, ::-1]
    _, numbers, counts = np.unique(people, return_inverse=True, return_counts=True)
    means = np.zeros((len(counts), turned.shape[1]))
    np.add.at(means, numbers, turned)
    means /= counts[:, None]
    several = counts[numbers] > 1
    # Each person of n pictures has n - 1 degrees of freedom.
    within = ((turned - means[numbers])[several] ** 2).sum(axis=0) / (several.sum() - (counts > 1).sum())
    genuine = np.sort(cosines[same])
    genuine = genuine[int(LEAST_GENUINE * len(genuine)) // 2 :]
    return Statistics(
        mean=turned.mean(axis=0).astype(np.float32),
        between=np.maximum(turned.var(axis=0) - within, 0.2 * within).astype(np.float32),
        within=within.astype(np.float32),
        poorness=np.linspace(0.7, 1.5, POORNESS_STEPS, dtype=np.float32),
        archetypes=1000,
        likeness=0.0,
        impostors=np.quantile(cosines[~same], [1 - far for far in FARS]).astype(np.float32),
        genuine=np.quantile(genuine, FRRS).astype(np.float32),
    )


def fit_poorness(statistics: Statistics) -> Statistics:
    """Move the quantiles of poorness until the made genuine pairs are distributed as the measured ones."""
    shares = np.linspace(0, 1, POORNESS_STEPS)
    for _ in range(ROUNDS):
        _, made = similarities(Gallery(statistics, PEOPLE, seed=2), PEOPLE, pairs=1)
        ratio = (1 / statistics.genuine - 1) / (1 / np.quantile(made, FRRS) - 1)
        moves = np.interp(shares, [1 - frr for frr in reversed(FRRS)], np.sqrt(ratio)[::-1])
        poorness = np.maximum.accumulate(statistics.poorness * np.clip(moves, 0.8, 1.25))
        statistics = replace(statistics, poorness=poorness.astype(np.float32))
    return statistics


def fit_likeness(statistics: Statistics) -> Statistics:
    """Choose number and weight of the archetypes so that the made strangers have the measured tail."""

    def distance(candidate: Statistics) -> float:
        strangers, _ = similarities(Gallery(candidate, PEOPLE, seed=2), PEOPLE)
        return float(np.abs(np.quantile(strangers, [1 - far for far in FARS]) - candidate.impostors).max())

    choices = [replace(statistics, archetypes=n, likeness=share) for n in ARCHETYPES for share in LIKENESSES]
    return min(choices, key=distance)


def main() -> int:
    """Measure, fit, write."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lfw", type=Path, required=True, help="folder of people's folders")
    options.add_argument("--embeddings", type=Path, help="where to keep the embeddings between runs")
    chosen = options.parse_args()
    fused, people = embeddings_of(chosen.lfw, chosen.embeddings)
    written: dict[str, Any] = {}
    for dimension in (192, 512):
        fitted = fit_poorness(fit_likeness(fit_poorness(moments(served(fused, dimension), people))))
        print(f"{dimension}: {fitted.archetypes} archetypes of weight {fitted.likeness}")
        written |= {f"{name}_{dimension}": value for name, value in asdict(fitted).items()}
    np.savez_compressed(STATISTICS, **written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
