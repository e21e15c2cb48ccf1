"""Fits the table from similarity to score (``service.calibration.scores``) to the embeddings of known people.

All pictures are compared with all others. Anchors are the similarities at false accept rates (FAR) of 10 % down to
1e-5, with 80 points at 1e-4 and ten points for each power of ten; half of the impostors get less than
``MEDIAN_SCORE``, and perfect similarity gets the highest score. A shape-preserving cubic (PCHIP: Fritsch and Carlson,
1980) makes the curve smooth and monotone between them. An anchor that fewer than ``LEAST_PAIRS`` impostor pairs
support is extrapolated by a generalised Pareto fit of the tail (Pickands, 1975: peaks over a threshold) and marked so.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.calibration.errors import CalibrationError
from service.calibration.scores import FORMAT, HIGHEST_SCORE, ScoreTable
from service.values import Embeddings

Floats = NDArray[np.floating[Any]]
Flags = NDArray[np.bool_]

SCORE_AT_FAR: Mapping[float, float] = {1e-1: 50.0, 1e-2: 60.0, 1e-3: 70.0, 1e-4: 80.0, 1e-5: 90.0}
MEDIAN_SCORE = 25.0
CUTS = (60.0, 70.0, 80.0, 90.0)
"""Scores whose error rates are told."""

PICTURES_A_PERSON = 10
"""Most pictures of one person that are compared, or a few public figures would decide the figure."""

LEAST_PAIRS = 20
"""Impostor pairs above a threshold from which on a rate counts as measured."""

LEAST_IMPOSTOR_PAIRS = 4000
"""About ninety people. Fewer say nothing of the rates that doors and payments stand on, not even by extrapolation."""

_TAIL = 1e-3
_LEAST_IN_TAIL = 50
_HIGHEST_ANCHOR = 0.99
_LEAST_SPREAD = 0.01
_STEP = 0.01
_BLOCK = 1024


@dataclass(frozen=True)
class Anchor:
    """One point that the curve goes through, and how it came about."""

    similarity: float
    score: float
    why: str


@dataclass(frozen=True)
class ErrorRates:
    """What a cut-off score means: false accept and false reject rate, 0..1, and how many impostor pairs passed."""

    score: float
    similarity: float
    far: float
    frr: float
    passed: int

    @property
    def measured(self) -> bool:
        """Whether enough impostor pairs passed to call ``far`` measured."""
        return self.passed >= LEAST_PAIRS


def few_of_each(people: Sequence[str], most: int = PICTURES_A_PERSON) -> Flags:
    """Marks the first ``most`` pictures of each person."""
    seen: dict[str, int] = {}
    marks = []
    for person in people:
        seen[person] = seen.get(person, 0) + 1
        marks.append(seen[person] <= most)
    return np.array(marks, dtype=np.bool_)


def all_against_all(embeddings: Embeddings, people: Sequence[str]) -> tuple[Floats, Floats]:
    """Similarities of all genuine and of all impostor pairs, float32; memory grows with the square of the pictures."""
    names = np.unique(np.asarray(people), return_inverse=True)[1]
    genuine, impostor = [np.zeros(0, np.float32)], [np.zeros(0, np.float32)]
    for start in range(0, len(names), _BLOCK):
        stop = min(start + _BLOCK, len(names))
        similarity = embeddings[start:stop] @ embeddings[start:].T
        later = np.arange(len(names) - start)[None, :] > np.arange(stop - start)[:, None]
        same = names[start:stop, None] == names[None, start:]
        genuine.append(similarity[later & same])
        impostor.append(similarity[later & ~same])
    return np.concatenate(genuine), np.concatenate(impostor)


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
    from scipy.stats import genpareto  # noqa: PLC0415 (slow, and no request needs it)

    share = max(_TAIL, _LEAST_IN_TAIL / len(ordered))
    threshold = float(ordered[int(len(ordered) * (1 - share))])
    excess = ordered[ordered > threshold] - threshold
    shape, _, scale = genpareto.fit(excess.astype(np.float64), floc=0)
    return float(min(threshold + genpareto.ppf(1 - far / share, shape, scale=scale), _HIGHEST_ANCHOR))


def curve_through(anchors: list[Anchor]) -> list[tuple[float, float]]:
    """The smooth curve, sampled every hundredth of similarity and at the anchors."""
    from scipy.interpolate import (  # noqa: PLC0415 (slow, and no request needs it)
        PchipInterpolator,
    )

    smooth = PchipInterpolator([a.similarity for a in anchors], [a.score for a in anchors])
    places = np.union1d(np.round(np.arange(-1, 1 + _STEP / 2, _STEP), 6), np.round([a.similarity for a in anchors], 6))
    scores = np.clip(smooth(places), 0, HIGHEST_SCORE)
    return [(round(float(s), 6), round(float(v), 4)) for s, v in zip(places, scores, strict=True)]


def error_rates(table: ScoreTable, genuine: Floats, impostor: Floats) -> list[ErrorRates]:
    """What each of ``CUTS`` means for these pairs."""
    rates = []
    for cut in CUTS:
        at = table.similarity(cut)
        passed = int((impostor >= at).sum())
        frr = float((genuine < at).mean()) if len(genuine) else float("nan")
        rates.append(ErrorRates(cut, at, passed / len(impostor), frr, passed))
    return rates


def fit(model_id: str, genuine: Floats, impostor: Floats, *, data: str, people: int) -> dict[str, Any]:
    """The content of a table's file: the curve with everything that says where it comes from and what it means.

    Raises ``CalibrationError`` when there are too few impostor pairs, or pairs so odd that no rising curve fits them.
    """
    if len(impostor) < LEAST_IMPOSTOR_PAIRS:
        raise CalibrationError(
            f"{len(impostor)} pairs of different people are too few; a table needs {LEAST_IMPOSTOR_PAIRS}, "
            "which about ninety people make"
        )
    spread = float(np.quantile(impostor, 1 - _TAIL) - np.median(impostor))
    anchors = anchors_of(impostor) if spread > _LEAST_SPREAD else []
    if not anchors or any(later.similarity - one.similarity < 1e-4 for one, later in itertools.pairwise(anchors)):
        raise CalibrationError(
            "different people's similarities do not spread as faces' do; are the people named right?"
        )
    curve = curve_through(anchors)
    rates = error_rates(ScoreTable(curve, fitted=True), genuine, impostor)
    return {
        "format": FORMAT,
        "model_id": model_id,
        "method": "FAR anchors, PCHIP between them; see service/calibration/fitting.py",
        "data": data,
        "people": people,
        "genuine_pairs": len(genuine),
        "impostor_pairs": len(impostor),
        "anchors": [{"similarity": round(a.similarity, 4), "score": a.score, "why": a.why} for a in anchors],
        "measured_far": {f"{rate.score:g}": rate.far for rate in rates},
        "measured_frr": {f"{rate.score:g}": rate.frr for rate in rates},
        "curve": curve,
    }
