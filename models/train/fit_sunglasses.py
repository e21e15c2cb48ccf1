"""Fit the head that decides for sunglasses: the glasses head's logits and the darkness of the eyes.

    python -m models.train.fit_sunglasses --pictures LFW --models MODEL_DIR

Writes ``models/heads/sunglasses.npz``. The glasses head alone saw sunglasses of one data set only and finds 36 % of
those in LFW; ``lfw_notes.txt`` lists the ones there, opaque and tinted. Halves for the figures share no person.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.manifest import ROOT
from models.train.fit_heads import SEED, area_under_curve
from models.train.linear import Linear, logistic
from models.train.meshes import read_portraits
from models.train.people import noted

Floats = NDArray[Any]

STEP = 3
PENALTY = 1.0

RARITY = 2.0
"""Log-odds taken off: the fit weighs both classes alike, in pictures sunglasses are rare."""


def fit(measures: Floats, dark: Floats) -> Linear:
    """Two outputs, other and sunglasses; ``measures`` ``(n, 5)``, ``dark`` ``(n,)`` bool."""
    head = logistic(measures, dark.astype(int), PENALTY)
    return Linear(head.weights, head.bias - np.array([0.0, RARITY]))


def judge(measures: Floats, dark: Floats, people: list[str]) -> dict[str, Any]:
    """Figures from two halves of the people, each judged by a head fitted on the other."""
    names = np.random.default_rng(SEED).permutation(sorted(set(people)))
    second = np.isin(people, names[len(names) // 2 :])
    scores = np.zeros(len(dark))
    for seen in (second, ~second):
        answers = fit(measures[seen], dark[seen])(measures[~seen])
        scores[~seen] = answers[:, 1] - answers[:, 0]
    return {
        "faces": len(dark),
        "with sunglasses": int(dark.sum()),
        "found": float((scores[dark] > 0).mean()),
        "false alarms": float((scores[~dark] > 0).mean()),
        "AUC": area_under_curve(scores, dark),
    }


def main() -> None:
    """Command line: see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    arguments = parser.parse_args()
    listed = noted("opaque", "tinted")
    rows, dark, people = [], [], []
    for portrait in read_portraits(arguments.pictures, arguments.models, STEP, also=listed):
        rows.append(portrait.reader.sunglasses_measures)
        dark.append(f"{portrait.path.parent.name}/{portrait.path.name}" in listed)
        people.append(portrait.path.parent.name)
    measures, labels = np.array(rows, np.float64), np.array(dark)
    head = fit(measures, labels)
    arrays = {"weights": head.weights.astype(np.float32), "bias": head.bias.astype(np.float32)}
    np.savez_compressed(ROOT / "heads" / "sunglasses.npz", allow_pickle=False, **arrays)
    print(json.dumps(judge(measures, labels, people), indent=1))


if __name__ == "__main__":
    main()
