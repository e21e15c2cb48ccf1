"""From the measures of a face to the served liveness score 0..1, by a table that belongs to the weights.

Each measure (a network's log-odds, the aperiodicity) is standardised over real people. The sum is mapped so that the
share of real people below a served score is what the API's documents state for that score: a false reject rate of 1e-4
at 0.05, 1e-3 at 0.3, 1e-2 at 0.9.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.calibration.errors import CalibrationError

THRESHOLDS: Mapping[str, float] = {"frr_1e-4": 0.05, "frr_1e-3": 0.3, "frr_1e-2": 0.9}
"""What the API answers as ``thresholds``: served scores at these false reject rates (the documents' sample answer)."""

FORMAT = 1

# Beyond the outermost knots the curve goes on as it was, but never flatter than this (logits per standard deviation).
_LEAST_SLOPE = 0.25


@dataclass(frozen=True, slots=True)
class Part:
    """One measure: its name, its weight file's hash, and mean and standard deviation over real people.

    ``sha256`` is empty for a formula without weights.
    """

    name: str
    sha256: str
    mean: float
    deviation: float


class LivenessTable:
    """A fitted table. ``knots``: (standardised sum, served score), both rising strictly, scores within 0..1."""

    def __init__(self, parts: Sequence[Part], knots: Sequence[tuple[float, float]]) -> None:
        sums, served = np.array(knots, dtype=np.float64).T
        if len(sums) < 2 or not (np.all(np.diff(sums) > 0) and np.all(np.diff(served) > 0)):
            raise CalibrationError("the knots of a liveness table must rise strictly")
        measured = all(np.isfinite(part.mean) and 0 < part.deviation < np.inf for part in parts)
        if not (served[0] > 0 and served[-1] < 1 and measured and np.all(np.isfinite(sums))):
            raise CalibrationError("a liveness table holds values outside their range")
        self.parts = tuple(parts)
        self.names = tuple(part.name for part in parts)
        self._means = np.array([part.mean for part in parts])
        self._deviations = np.array([part.deviation for part in parts])
        self._sums = sums
        self._logits = np.log(served / (1 - served))

    @classmethod
    def load(cls, path: Path, hashes: Mapping[str, str]) -> LivenessTable:
        """Reads a table and refuses it unless it was fitted on these weights.

        ``hashes``: SHA-256 of each weight file by name. Raises :class:`CalibrationError` when the file is missing,
        malformed, or names a file that ``hashes`` lacks or has with another hash.
        """
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            form = content["format"]
            parts = [
                Part(str(p["name"]), str(p["sha256"]), float(p["mean"]), float(p["deviation"]))
                for p in content["parts"]
            ]
            knots = [(float(raw), float(served)) for raw, served in content["knots"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CalibrationError(f"liveness table {path.name} cannot be read: {error}") from None
        if form != FORMAT:
            raise CalibrationError(f"liveness table {path.name} has format {form}, this version reads {FORMAT}")
        for part in parts:
            if part.sha256 and hashes.get(part.name) != part.sha256:
                raise CalibrationError(f"liveness table {path.name} was fitted on other weights of {part.name}")
        return cls(parts, knots)

    def combined(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of the standardised measures: ``(..., parts)`` → ``(...)``."""
        total: NDArray[np.float64] = ((log_odds - self._means) / self._deviations).sum(axis=-1)
        return total

    def score(self, log_odds: NDArray[np.float64]) -> float:
        """The served score, 0..1, of one face: ``(parts,)`` in the order of ``names``. Monotone in each measure."""
        return float(self.served(self.combined(log_odds)))

    def served(self, combined: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Served scores of standardised sums, any shape: straight lines between the knots in logits of the score."""
        values = np.asarray(combined, dtype=np.float64)
        logits = np.interp(values, self._sums, self._logits)
        logits += np.minimum(values - self._sums[0], 0) * self._slope(0)
        logits += np.maximum(values - self._sums[-1], 0) * self._slope(-2)
        return np.asarray(1 / (1 + np.exp(-np.clip(logits, -60, 60))))

    def _slope(self, start: int) -> float:
        rise = self._logits[start + 1] - self._logits[start]
        return max(float(rise / (self._sums[start + 1] - self._sums[start])), _LEAST_SLOPE)
