"""Fit the table from similarity to score of a pack.

    python -m models.train.fit_scores --pictures lfw --model-dir MODELS --write models/calibration/core.json

``--pictures`` is a folder as LFW lays it out (``Some_Person/Some_Person_0003.jpg``; "Labeled Faces in the Wild",
University of Massachusetts, for research and evaluation), or the operator's own pictures in that layout. All pairs of
pictures are compared, at most ten pictures a person. Anchors are the similarities at false accept rates (FAR) of 10 %
down to 1e-5, with 80 points at 1e-4 and ten points for each power of ten; half of the impostors get less than
``MEDIAN_SCORE``, and perfect similarity gets the highest score. A shape-preserving cubic (PCHIP: Fritsch and Carlson,
1980) makes the curve smooth and monotone between them. An anchor that fewer than ``LEAST_PAIRS`` impostor pairs
support is extrapolated by a generalised Pareto fit of the tail (Pickands, 1975; peaks over the 99.9 % quantile) and
marked so.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.interpolate import PchipInterpolator  # type: ignore[import-untyped]
from scipy.stats import genpareto  # type: ignore[import-untyped]

from models.fetch import ensure
from models.manifest import PackManifest, load_pack
from models.train.fit_projection import Gallery, embed_central_faces
from models.train.verification import Floats, all_against_all, few_of_each
from service.calibration.scores import FORMAT, HIGHEST_SCORE, ScoreTable

SCORE_AT_FAR = {1e-1: 50.0, 1e-2: 60.0, 1e-3: 70.0, 1e-4: 80.0, 1e-5: 90.0}
MEDIAN_SCORE = 25.0
LEAST_PAIRS = 20
TAIL = 1e-3
CUTS = (60.0, 70.0, 80.0, 90.0)
STEP = 0.01


@dataclass(frozen=True)
class Anchor:
    """One point that the curve goes through, and how it came about."""

    similarity: float
    score: float
    why: str


def anchors_of(impostor: Floats) -> list[Anchor]:
    """Where the curve goes through, from the similarities of impostor pairs, in rising order."""
    ordered = np.sort(impostor)
    found = [
        Anchor(-1.0, 0.0, "the lowest cosine"),
        Anchor(float(np.median(ordered)), MEDIAN_SCORE, "median of the impostor pairs"),
    ]
    for far, score in SCORE_AT_FAR.items():
        support = int(len(ordered) * far)
        if support >= LEAST_PAIRS:
            found.append(Anchor(float(ordered[len(ordered) - 1 - support]), score, f"FAR {far:g}, {support} pairs"))
        else:
            found.append(Anchor(_tail_quantile(ordered, far), score, f"FAR {far:g}, generalised Pareto tail"))
    found.append(Anchor(1.0, HIGHEST_SCORE, "the highest cosine"))
    return found


def _tail_quantile(ordered: Floats, far: float) -> float:
    threshold = float(ordered[int(len(ordered) * (1 - TAIL))])
    excess = ordered[ordered > threshold] - threshold
    shape, _, scale = genpareto.fit(excess, floc=0)
    return float(min(threshold + genpareto.ppf(1 - far / TAIL, shape, scale=scale), 0.99))


def curve_through(anchors: list[Anchor]) -> list[tuple[float, float]]:
    """The smooth curve, sampled every ``STEP`` of similarity and at the anchors."""
    smooth = PchipInterpolator([a.similarity for a in anchors], [a.score for a in anchors])
    places = np.union1d(np.round(np.arange(-1, 1 + STEP / 2, STEP), 6), np.round([a.similarity for a in anchors], 6))
    scores = np.clip(smooth(places), 0, HIGHEST_SCORE)
    return [(round(float(s), 6), round(float(v), 4)) for s, v in zip(places, scores, strict=True)]


def table(pack: PackManifest, gallery: Gallery, description: str) -> dict[str, object]:
    """The file's content: the curve with everything that says where it comes from and what it means."""
    people = gallery.people
    kept = few_of_each(people)
    genuine, impostor = all_against_all(gallery.embeddings[kept], list(np.asarray(people)[kept]))
    anchors = anchors_of(impostor)
    curve = curve_through(anchors)
    fitted = ScoreTable(curve, fitted=True)
    cuts = {f"{cut:g}": fitted.similarity(cut) for cut in CUTS}
    return {
        "format": FORMAT,
        "model_id": pack.model_id,
        "method": "FAR anchors, PCHIP between them; see models/train/fit_scores.py",
        "data": description,
        "people": len(set(people)),
        "genuine_pairs": len(genuine),
        "impostor_pairs": len(impostor),
        "anchors": [{"similarity": round(a.similarity, 4), "score": a.score, "why": a.why} for a in anchors],
        "measured_far": {cut: float((impostor >= at).mean()) for cut, at in cuts.items()},
        "measured_frr": {cut: float((genuine < at).mean()) for cut, at in cuts.items()},
        "curve": curve,
    }


def main() -> None:
    """Fit, print what the cuts mean, and write the table when asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--model-dir", type=Path, required=True)
    parser.add_argument("--pack", default="core")
    parser.add_argument("--data", default="LFW, the pictures of the first five folds of its standard pairs")
    parser.add_argument("--write", type=Path, help="table to write")
    arguments = parser.parse_args()
    pack = load_pack(arguments.pack)
    files = ensure(pack, arguments.model_dir)
    gallery = embed_central_faces(pack, files, sorted(arguments.pictures.rglob("*.jpg")))
    fitted = table(pack, gallery, arguments.data)
    for key in ("people", "genuine_pairs", "impostor_pairs", "anchors", "measured_far", "measured_frr"):
        print(key, json.dumps(fitted[key]))
    if arguments.write:
        arguments.write.write_text(json.dumps(fitted, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
