"""Fits ``models/calibration/liveness-<pack>.json``: from what is measured to the served score.

    python -m models.train.fit_liveness --pack core --lfw FOLDER --models AIPFACE_HOME/models

Real people are the pictures of LFW (press photographs, taken before telephones had cameras worth the name: see the
card for what that means). The false reject rates 1e-2 and 5e-3 are plain quantiles; 1e-3 and below lie in a tail
that is modelled by a generalised Pareto distribution over the lowest twentieth (Pickands 1975), fitted with
probability-weighted moments (Hosking and Wallis 1987). The table says which of its knots were extrapolated.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.manifest import ROOT, load_pack
from models.train.people import Finder, load, noted, pictures, trimmed
from service.calibration.liveness import FORMAT, LivenessTable, Part
from service.inference.liveness import CORE_PARTS, EXTENDED_PARTS, RECIPES, LivenessMeter

PACK_PARTS = {"core": CORE_PARTS, "extended": EXTENDED_PARTS}

# The table "thresholds" of the API's documents: served score, false reject rate.
REFERENCE = ((0.05, 1e-4), (0.1, 5e-4), (0.3, 1e-3), (0.5, 5e-3), (0.9, 1e-2))
# Our own continuation, so that applications which cut at 0.995 keep nineteen of twenty people.
CONTINUATION = ((0.97, 2e-2), (0.995, 5e-2), (0.9995, 0.5))

TAIL_SHARE = 0.05
"""The lowest twentieth of real people is the tail that the Pareto distribution describes."""
PLAIN_FROM = 5e-3
"""From this rate on plain quantiles are taken: about twenty pictures lie below it."""
_LEAST_STEP = 1e-3

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Tail:
    """Exceedances below ``threshold``: share ``share`` of all, Pareto ``scale`` and ``shape`` (positive: heavy)."""

    threshold: float
    share: float
    scale: float
    shape: float

    def quantile(self, rate: float) -> float:
        """The value below which a share ``rate`` of all lies."""
        ratio = rate / self.share
        if abs(self.shape) < 1e-6:
            return self.threshold + self.scale * float(np.log(ratio))
        return self.threshold - self.scale / self.shape * float(ratio**-self.shape - 1)


def lower_tail(values: Floats, share: float = TAIL_SHARE) -> Tail:
    """Fits the tail of the lowest ``share`` of ``values`` ``(n,)`` by probability-weighted moments."""
    threshold = float(np.quantile(values, share))
    depths = np.sort(threshold - values[values < threshold])
    count = len(depths)
    first = float(depths.mean())
    plotting = (np.arange(1, count + 1) - 0.35) / count
    second = float(((1 - plotting) * depths).mean())
    shape = 2 - first / (first - 2 * second)
    return Tail(threshold, count / len(values), 2 * first * second / (first - 2 * second), shape)


def measure(pack_name: str, lfw: Path, model_dir: Path) -> tuple[Floats, list[str]]:
    """Measures ``(pictures, parts)`` of the central face of every picture, and the pictures' identities."""
    pack = load_pack(pack_name)
    names = PACK_PARTS[pack_name]
    meter = LivenessMeter({name: load(pack, name, model_dir) for name in names if name in RECIPES})
    finder = Finder(model_dir)
    rows, identities = [], []
    hidden = noted("reprint")
    for person in pictures(lfw):
        image = trimmed(person.image)
        seen = None if person.name in hidden else finder.central(image)
        if seen is not None:
            rows.append(meter.measures(image, seen.box, names))
            identities.append(person.identity)
    return np.array(rows), identities


def fit(log_odds: Floats) -> tuple[list[tuple[float, float]], list[tuple[float, float]], Tail]:
    """Mean and deviation of each part, the knots of the curve, and the tail of the standardised sum."""
    moments = [(float(column.mean()), float(column.std())) for column in log_odds.T]
    combined = sum((column - mean) / deviation for column, (mean, deviation) in zip(log_odds.T, moments, strict=True))
    sums = np.asarray(combined, dtype=np.float64)
    tail = lower_tail(sums)
    knots: list[tuple[float, float]] = []
    for served, rate in (*REFERENCE, *CONTINUATION):
        raw = tail.quantile(rate) if rate < PLAIN_FROM else float(np.quantile(sums, rate))
        if knots:  # where tail and quantiles meet they may disagree by a hair
            raw = max(raw, knots[-1][0] + _LEAST_STEP)
        knots.append((raw, served))
    return moments, knots, tail


def cross_fitted(log_odds: Floats, identities: list[str], folds: int = 5) -> dict[str, float]:
    """False reject rate at the served thresholds when the table was fitted on other people."""
    people = sorted(set(identities))
    fold_of = {person: index % folds for index, person in enumerate(people)}
    member = np.array([fold_of[person] for person in identities])
    served = np.empty(len(log_odds))
    for fold in range(folds):
        moments, knots, _ = fit(log_odds[member != fold])
        table = LivenessTable([Part("", "", *moment) for moment in moments], knots)
        served[member == fold] = table.served(table.combined(log_odds[member == fold]))
    return {f"{cut:g}": float((served < cut).mean()) for cut, _ in REFERENCE}


def document(pack_name: str, log_odds: Floats, identities: list[str]) -> dict[str, Any]:
    """The table as it is written."""
    pack = load_pack(pack_name)
    moments, knots, tail = fit(log_odds)
    names = PACK_PARTS[pack_name]
    hashes = {name: file.sha256 for name, file in pack.files.items()}
    return {
        "format": FORMAT,
        "parts": [
            {"name": name, "sha256": hashes.get(name, ""), "mean": round(mean, 4), "deviation": round(deviation, 4)}
            for name, (mean, deviation) in zip(names, moments, strict=True)
        ],
        "knots": [[round(raw, 4), served] for raw, served in knots],
        "fitted": {
            "data": "LFW, first five folds of the standard pairs, original 250x250 pictures",
            "pictures": len(log_odds),
            "people": len(set(identities)),
            "rates": {f"{served:g}": rate for served, rate in (*REFERENCE, *CONTINUATION)},
            "extrapolated": [served for served, rate in REFERENCE if rate < PLAIN_FROM],
            "method": "generalised Pareto over the lowest twentieth, probability-weighted moments",
            "tail": {name: round(getattr(tail, name), 4) for name in ("threshold", "share", "scale", "shape")},
            "cross_fitted_frr": cross_fitted(log_odds, identities),
        },
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", choices=sorted(PACK_PARTS), default="core")
    parser.add_argument("--lfw", type=Path, required=True)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=ROOT / "calibration")
    arguments = parser.parse_args()
    log_odds, identities = measure(arguments.pack, arguments.lfw, arguments.models)
    table = document(arguments.pack, log_odds, identities)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / f"liveness-{arguments.pack}.json"
    path.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
