"""From similarity to score: the curve's promises, the committed table, and what the loader refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.manifest import load_pack
from service.calibration.errors import CalibrationError
from service.calibration.fitting import anchors_of, curve_through
from service.calibration.scores import CONSERVATIVE_CURVE, HIGHEST_SCORE, ScoreTable

CORE = load_pack("core")
CONTENT: dict[str, Any] = json.loads((CORE.calibration or Path()).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def table() -> ScoreTable:
    return ScoreTable.load(CORE.calibration, CORE.model_id)


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_more_similar_scores_no_less(first: float, second: float) -> None:
    table = ScoreTable.load(CORE.calibration, CORE.model_id)
    low, high = sorted((first, second))
    assert table.score(low) <= table.score(high)


@given(st.floats(0, HIGHEST_SCORE))
def test_the_inverse_reaches_the_score(score: float) -> None:
    table = ScoreTable.load(CORE.calibration, CORE.model_id)
    least = table.similarity(score)
    assert table.score(least + 2e-6) >= score - 1e-9
    assert table.score(least - 0.01) <= score


def test_similarity_alone_never_earns_100(table: ScoreTable) -> None:
    assert table.score(1.0) == table.score(1.0000005) == HIGHEST_SCORE < 100
    assert table.similarity(100) > 1.5
    assert table.similarity(0) < -1


def test_the_committed_table_means_what_it_says(table: ScoreTable) -> None:
    """80 points at a false accept rate of 1e-4, ten points for each power of ten, on the data it was fitted on."""
    assert table.fitted
    for score, far in ((60, 1e-2), (70, 1e-3), (80, 1e-4), (90, 1e-5)):
        assert CONTENT["measured_far"][str(score)] == pytest.approx(far, rel=0.05)
    assert table.score(0.0) < 30
    assert table.score(0.66) > 90


def test_the_curve_is_smooth() -> None:
    curve = np.array(CONTENT["curve"])
    slopes = np.diff(curve[:, 1]) / np.diff(curve[:, 0])
    assert np.all(slopes > 0)
    # Points of score per unit of similarity, from one step to the next: no jumps, only the bend at the median.
    assert np.abs(np.diff(slopes)).max() < 100


def test_anchors_follow_the_impostors() -> None:
    impostor = np.random.default_rng(1).normal(0, 0.1, 200_000).astype(np.float32)
    anchors = {anchor.score: anchor for anchor in anchors_of(impostor)}
    assert anchors[80.0].similarity == pytest.approx(0.372, abs=0.01)  # the normal distribution's 1e-4 quantile
    assert "Pareto" in anchors[90.0].why
    assert anchors[90.0].similarity == pytest.approx(0.426, abs=0.03)
    ScoreTable(curve_through(list(anchors.values())), fitted=True)


def test_without_a_table_the_conservative_curve_serves() -> None:
    table = ScoreTable.load(None, "anything")
    assert not table.fitted
    assert table.score(0.40) == 80
    assert CONSERVATIVE_CURVE[-1] == (1.0, HIGHEST_SCORE)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_id": "core-192-000000000000"}, "was fitted on"),
        ({"format": 2}, "format 2"),
        ({"curve": [[-1, 0], [0, 50], [0, 60], [1, 99]]}, "rise strictly"),
        ({"curve": [[-1, 0], [1, 100]]}, "99.99"),
        ({"curve": [[-0.5, 0], [1, 99]]}, "-1 to 1"),
        ({"curve": [[-1, 0], [float("nan"), 50], [1, 99]]}, "rise strictly"),
        ({"curve": [[-1, 0], [0, float("nan")], [1, 99]]}, "rise strictly"),
        ({"curve": "nonsense"}, "cannot be read"),
    ],
)
def test_refused_tables(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(json.dumps({**CONTENT, **change}), encoding="utf-8")
    with pytest.raises(CalibrationError, match=words):
        ScoreTable.load(path, CORE.model_id)


def test_a_missing_or_broken_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    with pytest.raises(CalibrationError):
        ScoreTable.load(path, CORE.model_id)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(CalibrationError):
        ScoreTable.load(path, CORE.model_id)
