"""Fit the linear heads on the ``faceres`` embedding and write ``models/heads/*.npz``; print what they measure.

    python -m models.train.fit_heads --features attribute-heads.npz --pictures LFW --drawn FOLDER --models MODEL_DIR

``--features``: npz of ``<head>_X`` (n, 1024) and ``<head>_y`` (n,) for beauty, cartoon, mask, glasses, synthetic, and
``synthetic_source``. ``--pictures``: ordinary photographs (Labeled Faces in the Wild). They are the population of the
beauty percentiles, carry the glasses head over from gray to colour, and teach the cartoon and the synthetic head what
press photographs look like: without them the latter calls half of LFW synthetic. ``--drawn``: what ``draw_faces.mjs``
draws, one folder a style. Figures come from a head fitted on one half and judged on the other; the committed head is
fitted on all.
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
    """Embeddings of ordinary photographs, ``(n, 1024)`` each, and whose they are.

    ``near``: k 1.2 as served; ``gray``: k 1.2 turned gray; ``wide``: k 1.6.
    """

    near: Floats
    gray: Floats
    wide: Floats
    people: list[str]

    def second_half(self) -> Floats:
        """``(n,)`` bool: one of two halves that share no person."""
        names = sorted(set(self.people))
        second = set(np.random.default_rng(SEED).permutation(names)[len(names) // 2 :].tolist())
        return np.array([person in second for person in self.people])


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Embeddings of drawn faces at k 1.2, ``(n, 1024)``, and the style of each."""

    near: Floats
    styles: list[str]

    def second_half(self) -> Floats:
        """``(n,)`` bool: one of two halves that share no style."""
        return np.isin(self.styles, sorted(set(self.styles))[1::2])


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


def _ridge_head(features: Floats, votes: Floats) -> Linear:
    return ridge(features, votes, BEAUTY_PENALTY)


def judge_beauty(data: Mapping[str, Floats]) -> dict[str, Any]:
    """Held-back figures of the beauty head."""
    return _beauty_figures(*_beauty_answers(data))


def _beauty_answers(data: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    features, votes = data["beauty_X"].astype(np.float32), data["beauty_y"].astype(np.float64)
    return held_back(features, votes, _ridge_head)[:, 0], votes


def _beauty_figures(answers: Floats, votes: Floats) -> dict[str, Any]:
    return {
        "rows": len(votes),
        "correlation": float(np.corrcoef(answers, votes)[0, 1]),
        "mean absolute error of 1..5": float(np.abs(answers - votes).mean()),
    }


def beauty(data: Mapping[str, Floats], photographs: Photographs) -> tuple[dict[str, Floats], dict[str, Any]]:
    """Ridge on the mean of 60 raters' votes, told as a percentile of photographs and portraits in equal shares."""
    answers, votes = _beauty_answers(data)
    head = _ridge_head(data["beauty_X"].astype(np.float32), votes)
    knots = _pooled_percentiles(answers, head(photographs.near)[:, 0])
    arrays = {**_arrays(head), "knots": knots.astype(np.float32), "percentiles": PERCENTILES}
    return arrays, _beauty_figures(answers, votes)


def _pooled_percentiles(first: Floats, second: Floats) -> Floats:
    """Percentiles of the mixture of two samples with equal weight, whatever their sizes."""
    values = np.concatenate([first, second])
    weights = np.concatenate([np.full(len(first), 0.5 / len(first)), np.full(len(second), 0.5 / len(second))])
    order = np.argsort(values)
    return np.asarray(np.interp(PERCENTILES / 100, np.cumsum(weights[order]), values[order]))


def classifier(name: str, data: Mapping[str, Floats]) -> tuple[dict[str, Floats], dict[str, Any]]:
    """Logistic head ``name``; the shares of each class that are recognised, and the AUC where there are two."""
    return _arrays(_logistic_head(name, data)), judge(name, data)


def glasses(data: Mapping[str, Floats], photographs: Photographs) -> tuple[dict[str, Floats], dict[str, Any]]:
    """As ``classifier``, then carried over from the gray crops of its features to the colour crops it is served with.

    Its bias moves by the mean difference of its answers on both crops of the photographs, so that gender, beauty, mask
    and glasses share one run of the network. A linear correction fitted on the photographs was no better.
    """
    head, figures = _logistic_head("glasses", data), judge("glasses", data)
    gray, colour = head(photographs.gray), head(photographs.near)
    pairs = zip(gray.T[1:], colour.T[1:], strict=True)
    figures["correlation of colour with gray"] = [float(np.corrcoef(a, b)[0, 1]) for a, b in pairs]
    return _arrays(Linear(head.weights, head.bias + (gray - colour).mean(axis=0))), figures


def judge(name: str, data: Mapping[str, Floats]) -> dict[str, Any]:
    """Held-back figures of the logistic head ``name`` from its own features, without photographs or drawn faces."""
    features, labels = data[f"{name}_X"].astype(np.float32), data[f"{name}_y"].astype(int)

    def fit(rows: Floats, targets: Floats) -> Linear:
        return logistic(rows, targets, PENALTIES[name])

    answers = held_back(features, labels, fit)
    figures = _recognised(answers, labels)
    if labels.max() > 1:
        figures["AUC of any"] = area_under_curve(-_none_log_odds(answers), labels > 0)
    return figures


def _logistic_head(name: str, data: Mapping[str, Floats]) -> Linear:
    return logistic(data[f"{name}_X"].astype(np.float32), data[f"{name}_y"].astype(int), PENALTIES[name])


def cartoon(
    data: Mapping[str, Floats], photographs: Photographs, drawn: Drawn
) -> tuple[dict[str, Floats], dict[str, Any]]:
    """Anime and people (features at k 1.3), more drawn faces and photographs (k 1.2); halves share no style or person.

    Anime alone teaches anime: such a head calls four in ten of the other drawn faces human.
    """
    features, labels = data["cartoon_X"].astype(np.float32), data["cartoon_y"].astype(int)
    answers = np.zeros((len(labels), 2))
    styles, alarms, portraits = np.zeros(len(drawn.styles)), np.zeros(len(photographs.people)), []
    seconds = (drawn.second_half(), photographs.second_half())
    for (seen, unseen), (style, person) in zip(halves(len(labels)), (seconds, tuple(~s for s in seconds)), strict=True):
        head = _cartoon_head(features[seen], labels[seen], photographs.near[~person], drawn.near[~style])
        answers[unseen] = head(features[unseen])
        styles[style], alarms[person] = head(drawn.near[style])[:, 1], head(photographs.near[person])[:, 1]
        portraits.append(head(data["beauty_X"].astype(np.float32))[:, 1])
    figures = _recognised(answers, labels)
    figures["unseen styles recognised"] = {
        style: float((styles[np.array(drawn.styles) == style] > 0).mean()) for style in sorted(set(drawn.styles))
    }
    figures["called drawn"] = {
        "photographs": float((alarms > 0).mean()),
        "portraits before plain backgrounds": float((np.array(portraits) > 0).mean()),
    }
    return _arrays(_cartoon_head(features, labels, photographs.near, drawn.near)), figures


def _cartoon_head(features: Floats, labels: Floats, real: Floats, drawn: Floats) -> Linear:
    rows = np.concatenate([features, real, drawn])
    more = np.concatenate([np.zeros(len(real), int), np.ones(len(drawn), int)])
    return logistic(rows, np.concatenate([labels, more]), PENALTIES["cartoon"])


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
    side = photographs.second_half()
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
    rows, people = [], []
    for portrait in read_portraits(folder, model_dir, PICTURE_STEP):
        face = portrait.reader
        rows.append([face.embedding(1.2), face.embedding(1.2, gray=True), face.embedding(1.6)])
        people.append(portrait.path.parent.name)
    near, gray, wide = np.stack(rows, axis=1)
    return Photographs(near, gray, wide, people)


def read_drawn(folder: Path, model_dir: Path) -> Drawn:
    """Embeddings of every face found in ``folder``'s PNG files; the mesh doubts drawn faces, they are taken anyway."""
    found = [
        (portrait.reader.embedding(1.2), portrait.path.parent.name)
        for portrait in read_portraits(folder, model_dir, pattern="*.png", least_presence=0.0)
    ]
    return Drawn(np.stack([embedding for embedding, _ in found]), [style for _, style in found])


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--drawn", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "heads")
    arguments = parser.parse_args()
    photographs = read_photographs(arguments.pictures, arguments.models)
    drawn = read_drawn(arguments.drawn, arguments.models)
    with np.load(arguments.features, allow_pickle=False) as data:
        write(arguments.out, data, photographs, drawn)


def write(folder: Path, data: Mapping[str, Floats], photographs: Photographs, drawn: Drawn) -> None:
    """Fit every head, write it below ``folder`` and print its figures."""
    fitted = {
        "beauty": beauty(data, photographs),
        "cartoon": cartoon(data, photographs, drawn),
        "mask": classifier("mask", data),
        "glasses": glasses(data, photographs),
        "synthetic": synthetic(data, photographs),
    }
    for name, (arrays, figures) in fitted.items():
        np.savez_compressed(folder / f"{name}.npz", allow_pickle=False, **arrays)
        print(name, json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
