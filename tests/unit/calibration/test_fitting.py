"""Fitting a score table: pairs, error rates, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from service.calibration.errors import CalibrationError
from service.calibration.fitting import all_against_all, error_rates, few_of_each, fit
from service.calibration.scores import ScoreTable

MODEL = "core-8-000000000000"


def _people(count: int, pictures: int, likeness: float) -> tuple[np.ndarray, list[str]]:
    """Embeddings of ``count`` made-up people, ``(n, 64)`` of unit length: a direction each, and noise."""
    rng = np.random.default_rng(7)
    rows = np.repeat(rng.normal(size=(count, 64)), pictures, axis=0) * likeness + rng.normal(
        size=(count * pictures, 64)
    )
    embeddings = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return embeddings, [f"person {number // pictures}" for number in range(count * pictures)]


def test_pairs_in_blocks_are_all_pairs_once() -> None:
    embeddings, people = _people(600, 2, 1.0)  # more rows than a block has
    genuine, impostor = all_against_all(embeddings, people)
    assert len(genuine) == 600
    assert len(impostor) == 1200 * 1199 // 2 - 600
    direct = (embeddings[0::2] * embeddings[1::2]).sum(axis=1)
    np.testing.assert_allclose(np.sort(genuine), np.sort(direct), atol=1e-6)


def test_a_fitted_table_means_what_it_says(tmp_path: Path) -> None:
    embeddings, people = _people(400, 3, 1.5)
    genuine, impostor = all_against_all(embeddings, people)
    content = fit(MODEL, genuine, impostor, data="made up", people=400)
    path = tmp_path / "table.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    rates = {rate.score: rate for rate in error_rates(ScoreTable.load(path, MODEL), genuine, impostor)}
    assert rates[80.0].far == pytest.approx(1e-4, rel=0.1)
    assert rates[80.0].measured
    assert not rates[90.0].measured
    assert "Pareto" in next(anchor["why"] for anchor in content["anchors"] if anchor["score"] == 90)
    assert rates[60.0].frr <= rates[90.0].frr


def test_too_few_people_are_refused() -> None:
    genuine, impostor = all_against_all(*_people(40, 2, 1.0))
    with pytest.raises(CalibrationError, match="too few"):
        fit(MODEL, genuine, impostor, data="made up", people=40)


def test_people_who_do_not_differ_are_refused() -> None:
    genuine, impostor = all_against_all(np.ones((200, 1), np.float32), [str(n) for n in range(200)])
    with pytest.raises(CalibrationError, match="named right"):
        fit(MODEL, genuine, impostor, data="made up", people=200)


def test_few_pictures_of_each_person_are_kept() -> None:
    assert few_of_each(["a", "b", "a", "a"], most=2).tolist() == [True, True, True, False]
