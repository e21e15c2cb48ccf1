"""How well embeddings tell people apart: accuracy over folds of pairs, TAR at a FAR over all against all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.intp]
Flags = NDArray[np.bool_]


def person_of(picture: str) -> str:
    """LFW's naming: ``Some_Person_0003`` shows ``Some_Person``."""
    return picture.rpartition("_")[0]


def read_pairs(path: Path, places: Mapping[str, int]) -> tuple[Ints, Flags]:
    """LFW's list of pairs as row numbers ``(folds, n, 2)`` and whether both show one person ``(folds, n)``.

    The first line states folds and pairs of either kind; then ``name n1 n2`` or ``name1 n1 name2 n2``, tab separated.
    ``places`` maps ``Some_Person_0003`` to its row; a missing picture raises ``KeyError``.
    """
    head, *lines = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    names = [(line[0], line[1], line[-2] if len(line) > 3 else line[0], line[-1]) for line in lines]
    rows = [[places[f"{one}_{int(i):04d}"], places[f"{other}_{int(j):04d}"]] for one, i, other, j in names]
    folds = int(head[0])
    same = np.array([one == other for one, _, other, _ in names]).reshape(folds, -1)
    return np.array(rows, dtype=np.intp).reshape(folds, -1, 2), same


def fold_accuracy(embeddings: Floats, pairs: Ints, same: Flags) -> float:
    """Mean share of right answers, each fold at the threshold that is best for the other folds."""
    similarity = (embeddings[pairs[..., 0]] * embeddings[pairs[..., 1]]).sum(axis=-1)
    shares = []
    for fold in range(len(pairs)):
        others = np.arange(len(pairs)) != fold
        threshold = _best_threshold(similarity[others].ravel(), same[others].ravel())
        shares.append(((similarity[fold] >= threshold) == same[fold]).mean())
    return float(np.mean(shares))


def _best_threshold(similarity: Floats, same: Flags) -> float:
    order = np.argsort(similarity)
    below = np.concatenate([[0], np.cumsum(~same[order])])  # impostors rejected by a threshold at each place
    above = same.sum() - np.concatenate([[0], np.cumsum(same[order])])  # genuine pairs accepted
    best = int(np.argmax((below + above)[:-1]))
    return float(similarity[order][best])


def acceptance_at(genuine: Floats, impostor: Floats, far: float) -> tuple[float, float]:
    """(TAR, threshold): share of genuine pairs above the threshold that the share ``far`` of impostors exceeds."""
    place = int(len(impostor) * far)
    threshold = float(np.partition(impostor, len(impostor) - 1 - place)[len(impostor) - 1 - place])
    return float((genuine > threshold).mean()), threshold
