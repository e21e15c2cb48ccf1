"""Fit the linear heads on the ``faceres`` embedding and write ``models/heads/*.npz``; print what they measure.

    python -m models.train.fit_heads --features attribute-heads.npz [--pictures FOLDER --models MODEL_DIR]

``--features``: npz of ``<head>_X`` (n, 1024) and ``<head>_y`` (n,) for beauty, cartoon, mask, glasses, synthetic, and
``synthetic_source``. ``--pictures``: ordinary photographs (Labeled Faces in the Wild). They are the population of the
beauty percentiles and teach the synthetic head what press photographs look like: without them it calls half of LFW
synthetic. Figures come from a head fitted on one half and judged on the other; the committed head is fitted on all.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.manifest import ROOT
from models.train.linear import Linear, logistic, ridge
from models.train.meshes import read_portraits

Floats = NDArray[Any]
Fit = Callable[[Floats, Floats], Linear]

SEED = 7
PICTURE_STEP = 4
"""Every fourth photograph is enough: about a thousand faces."""

# L2 penalties on standardised features, the best of five tried on the held-back half (card: heads).
BEAUTY_PENALTY = 1000.0
PENALTIES = {"cartoon": 30.0, "mask": 30.0, "glasses": 100.0, "synthetic": 30.0}

PERCENTILES = np.array([0.5, 1, 2, 5, *range(10, 95, 5), 95, 98, 99, 99.5], np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Photographs:
    """Embeddings of ordinary photographs at k 1.2 and 1.6, ``(n, 1024)`` each, and whose they are."""

    near: Floats
    wide: Floats
    people: list[str]


def halves(count: int) -> list[tuple[Floats, Floats]]:
    """Both (fit, judge) splits of ``count`` rows into two random halves."""
    order = np.random.default_rng(SEED).permutation(count)
    first, second = order[: count // 2], order[count // 2 :]
    return [(first, second), (second, first)]


def held_back(features: Floats, targets: Floats, fit: Fit) -> Floats:
    """The answers for every row from a head that has not seen the row's half."""
    answers: dict[int, Floats] = {}
    for seen, unseen in halves(len(targets)):
        answers.update(zip(unseen.tolist(), fit(features[seen], targets[seen])(features[unseen]), strict=True))
    return np.stack([answers[row] for row in range(len(targets))])


def area_under_curve(scores: Floats, positive: Floats) -> float:
    """Chance that a positive scores higher than a negative (Mann and Whitney's U over all pairs)."""
    ranks = np.argsort(np.argsort(scores))
    count = int(positive.sum())
    return float((ranks[positive].sum() - count * (count - 1) / 2) / (count * (~positive).sum()))


def beauty(data: Mapping[str, Floats], photographs: Photographs | None) -> tuple[dict[str, Floats], dict[str, Any]]:
    """Ridge on the mean of 60 raters' votes, told as a percentile of photographs and portraits in equal shares."""
    features, votes = data["beauty_X"].astype(np.float32), data["beauty_y"].astype(np.float64)

    def fit(rows: Floats, targets: Floats) -> Linear:
        return ridge(rows, targets, BEAUTY_PENALTY)

    answers = held_back(features, votes, fit)[:, 0]
    head = fit(features, votes)
    knots = np.percentile(answers, PERCENTILES)
    if photographs is not None:
        knots = _pooled_percentiles(answers, head(photographs.near)[:, 0])
    figures = {
        "rows": len(votes),
        "correlation": float(np.corrcoef(answers, votes)[0, 1]),
        "mean absolute error of 1..5": float(np.abs(answers - votes).mean()),
    }
    return {**_arrays(head), "knots": knots.astype(np.float32), "percentiles": PERCENTILES}, figures


def _pooled_percentiles(first: Floats, second: Floats) -> Floats:
    """Percentiles of the mixture of two samples with equal weight, whatever their sizes."""
    values = np.concatenate([first, second])
    weights = np.concatenate([np.full(len(first), 0.5 / len(first)), np.full(len(second), 0.5 / len(second))])
    order = np.argsort(values)
    return np.asarray(np.interp(PERCENTILES / 100, np.cumsum(weights[order]), values[order]))


def classifier(name: str, data: Mapping[str, Floats]) -> tuple[dict[str, Floats], dict[str, Any]]:
    """Logistic head ``name``; the shares of each class that are recognised, and the AUC where there are two."""
    features, labels = data[f"{name}_X"].astype(np.float32), data[f"{name}_y"].astype(int)

    def fit(rows: Floats, targets: Floats) -> Linear:
        return logistic(rows, targets, PENALTIES[name])

    answers = held_back(features, labels, fit)
    figures = _recognised(answers, labels)
    if labels.max() > 1:
        some = labels > 0
        figures["AUC of any"] = area_under_curve(-_none_log_odds(answers), some)
    return _arrays(fit(features, labels)), figures


def _none_log_odds(answers: Floats) -> Floats:
    """Log-odds of class 0 against all others."""
    return np.asarray(answers[:, 0] - np.log(np.exp(answers[:, 1:]).sum(axis=1)))


def _recognised(answers: Floats, labels: Floats) -> dict[str, Any]:
    told = answers.argmax(axis=1)
    shares = [float((told[labels == label] == label).mean()) for label in range(labels.max() + 1)]
    figures: dict[str, Any] = {"rows": len(labels), "recognised": shares, "balanced accuracy": float(np.mean(shares))}
    if len(shares) == 2:
        figures["AUC"] = area_under_curve(answers[:, 1] - answers[:, 0], labels == 1)
    return figures


def synthetic(data: Mapping[str, Floats], photographs: Photographs) -> tuple[dict[str, Floats], dict[str, Any]]:
    """As ``classifier``, with photographs among the real faces; halves of the photographs share no person."""
    features, labels = data["synthetic_X"].astype(np.float32), data["synthetic_y"].astype(int)
    sources = data["synthetic_source"]
    names = sorted(set(photographs.people))
    second = set(np.random.default_rng(SEED).permutation(names)[len(names) // 2 :].tolist())
    side = np.array([person in second for person in photographs.people])
    answers = np.zeros((len(labels), 2))
    alarms = np.zeros(len(side))
    for (seen, unseen), unseen_side in zip(halves(len(labels)), (side, ~side), strict=True):
        head = _synthetic_head(features[seen], labels[seen], photographs.wide[~unseen_side])
        answers[unseen] = head(features[unseen])
        alarms[unseen_side] = head(photographs.wide[unseen_side])[:, 1]
    figures = _recognised(answers, labels)
    figures["called synthetic"] = {str(s): float((answers[sources == s, 1] > 0).mean()) for s in np.unique(sources)}
    figures["called synthetic"]["photographs"] = float((alarms > 0).mean())
    return _arrays(_synthetic_head(features, labels, photographs.wide)), figures


def _synthetic_head(features: Floats, labels: Floats, real: Floats) -> Linear:
    rows = np.concatenate([features, real])
    return logistic(rows, np.concatenate([labels, np.zeros(len(real), int)]), PENALTIES["synthetic"])


def _arrays(head: Linear) -> dict[str, Floats]:
    return {"weights": head.weights.astype(np.float32), "bias": head.bias.astype(np.float32)}


def read_photographs(folder: Path, model_dir: Path) -> Photographs:
    """Embeddings of every ``PICTURE_STEP``-th picture below ``folder``; the folder a picture lies in is the person."""
    near, wide, people = [], [], []
    for portrait in read_portraits(folder, model_dir, PICTURE_STEP):
        near.append(portrait.reader.embedding(1.2))
        wide.append(portrait.reader.embedding(1.6))
        people.append(portrait.path.parent.name)
    return Photographs(np.stack(near), np.stack(wide), people)


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--pictures", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--out", type=Path, default=ROOT / "heads")
    arguments = parser.parse_args()
    photographs = None
    if arguments.pictures and arguments.models:
        photographs = read_photographs(arguments.pictures, arguments.models)
    with np.load(arguments.features, allow_pickle=False) as data:
        fitted = {"beauty": beauty(data, photographs)}
        fitted |= {name: classifier(name, data) for name in ("cartoon", "mask", "glasses")}
        fitted["synthetic"] = synthetic(data, photographs) if photographs else classifier("synthetic", data)
    for name, (arrays, figures) in fitted.items():
        np.savez_compressed(arguments.out / f"{name}.npz", allow_pickle=False, **arrays)
        print(name, json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
