"""From the cosine similarity of two embeddings to the public score 0..100, by a table that belongs to the weights.

The scale is that of the cloud's documents: 80 at a false accept rate (FAR) of 1e-4, and ten points for each power of
ten around it: 60 at 1e-2, 70 at 1e-3, 90 at 1e-5. ``service.calibration.fitting`` fits a table.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from service.calibration.errors import CalibrationError

FORMAT = 1

IDENTITY_SCORE = 100.0
"""The score of the same face of the same picture, which is known by its token; nothing else gets it. Callers test for
it."""

HIGHEST_SCORE = 99.99
"""Highest score that similarity alone leads to."""

LOWEST_SIMILARITY = -1.0
"""Of the cosine; rounding may go a little below, which counts as this."""

# Added below the inverse, so that ``score(similarity(x)) >= x`` cannot fail by a rounding error in an index.
_ROUNDING = 1e-6

CONSERVATIVE_CURVE: tuple[tuple[float, float], ...] = (
    (-1.0, 0.0),
    (0.0, 12.0),
    (0.15, 45.0),
    (0.24, 60.0),
    (0.32, 70.0),
    (0.40, 80.0),
    (0.48, 90.0),
    (1.0, HIGHEST_SCORE),
)
"""For packs that no table was fitted for (``buffalo_*``, whose files could not be had where this was written).

ArcFace networks trained on millions of people are published with cosine thresholds of 0.3 to 0.4 at a FAR of 1e-4; the
upper end is taken for 80, so that the true rate is rather lower than stated. Fit a table of your own to know.
"""


class ScoreTable:
    """A monotone curve through ``(similarity, score)`` knots, linear in between."""

    def __init__(self, knots: Sequence[tuple[float, float]], *, fitted: bool) -> None:
        """``fitted`` tells whether the curve was fitted to these weights. Raises ``CalibrationError`` on bad knots."""
        similarities, scores = np.array(knots, dtype=np.float64).T
        if len(similarities) < 2 or not (np.all(np.diff(similarities) > 0) and np.all(np.diff(scores) > 0)):
            raise CalibrationError("the knots of a score table must rise strictly")
        within = scores[0] >= 0 and scores[-1] <= HIGHEST_SCORE
        if not (similarities[0] <= LOWEST_SIMILARITY and similarities[-1] >= 1 and within):
            raise CalibrationError("a score table must lead from similarity -1 to 1 within scores 0 to 99.99")
        self.fitted = fitted
        self._similarities = similarities
        self._scores = scores

    @classmethod
    def load(cls, path: Path | None, model_id: str) -> ScoreTable:
        """Read the table of the weights ``model_id``; without a path, the conservative curve.

        Raises ``CalibrationError`` when the file is missing, malformed, or was fitted on other weights.
        """
        if path is None:
            return cls(CONSERVATIVE_CURVE, fitted=False)
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            form, fitted_on = content["format"], content["model_id"]
            knots = [(float(similarity), float(score)) for similarity, score in content["curve"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CalibrationError(f"score table {path.name} cannot be read: {error}") from None
        if form != FORMAT:
            raise CalibrationError(f"score table {path.name} has format {form}, this version reads {FORMAT}")
        if fitted_on != model_id:
            raise CalibrationError(
                f"score table {path.name} was fitted on {fitted_on}, and the weights are {model_id}: "
                "fit one with aipface calibrate"
            )
        return cls(knots, fitted=True)

    def score(self, similarity: float) -> float:
        """0..99.99 for a cosine similarity; rises with it."""
        return float(np.interp(similarity, self._similarities, self._scores))

    def similarity(self, score: float) -> float:
        """The least similarity that leads to ``score``; 2.0, which nothing reaches, for scores above the highest."""
        if score > HIGHEST_SCORE:
            return 2.0
        if score <= self._scores[0]:
            return LOWEST_SIMILARITY - _ROUNDING
        return float(np.interp(score, self._scores, self._similarities)) - _ROUNDING
