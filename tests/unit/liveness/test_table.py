"""The liveness table: reference points, monotone curve, refusal of other weights; the log-odds and windows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.manifest import ROOT, load_pack
from models.train.fit_liveness import REFERENCE, fit, lower_tail
from service.calibration.errors import CalibrationError
from service.calibration.liveness import THRESHOLDS, LivenessTable, Part
from service.inference.liveness import APERIODICITY, RECIPES, clamped, log_odds, window

PACKS = ("core", "extended")


def table_path(pack: str) -> Path:
    return ROOT / "calibration" / f"liveness-{pack}.json"


def hashes(pack: str) -> dict[str, str]:
    return {name: file.sha256 for name, file in load_pack(pack).files.items()}


@pytest.mark.parametrize("pack", PACKS)
def test_the_committed_table_belongs_to_the_pack_and_names_known_networks(pack: str) -> None:
    table = LivenessTable.load(table_path(pack), hashes(pack))
    assert all(name in RECIPES or name == APERIODICITY for name in table.names)
    assert all((part.sha256 == "") == (part.name == APERIODICITY) for part in table.parts)


@pytest.mark.parametrize("pack", PACKS)
def test_the_committed_table_holds_the_documents_reference_points(pack: str) -> None:
    content = json.loads(table_path(pack).read_text(encoding="utf-8"))
    rates = content["fitted"]["rates"]
    assert {f"{served:g}": rate for served, rate in REFERENCE}.items() <= rates.items()
    measured = content["fitted"]["cross_fitted_frr"]
    # twice the documented rate is what chance allows where forty people decide
    assert measured[f"{THRESHOLDS['frr_1e-2']:g}"] == pytest.approx(1e-2, rel=0.5)
    assert measured[f"{THRESHOLDS['frr_1e-3']:g}"] <= 3e-3


CORE = LivenessTable.load(table_path("core"), hashes("core"))


def test_other_weights_are_refused() -> None:
    changed = hashes("core") | {"fr_liveness": "0" * 64}
    with pytest.raises(CalibrationError, match="other weights of fr_liveness"):
        LivenessTable.load(table_path("core"), changed)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 2, "parts": [], "knots": [[0, 0.1], [1, 0.2]]}'])
def test_a_damaged_table_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "table.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CalibrationError):
        LivenessTable.load(path, {})
    with pytest.raises(CalibrationError):
        LivenessTable.load(tmp_path / "none.json", {})


@pytest.mark.parametrize("knots", [[(0.0, 0.1)], [(0.0, 0.5), (0.0, 0.6)], [(0.0, 0.5), (1.0, 0.4)], [(0, 0), (1, 1)]])
def test_a_curve_that_does_not_rise_is_refused(knots: list[tuple[float, float]]) -> None:
    with pytest.raises(CalibrationError):
        LivenessTable([Part("a", "", 0, 1)], knots)


NAN = float("nan")


@pytest.mark.parametrize("knots", [[(NAN, 0.1), (1, 0.2)], [(0, 0.1), (1, NAN)], [(0, 0.1), (float("inf"), 0.2)]])
def test_knots_that_are_no_numbers_are_refused(knots: list[tuple[float, float]]) -> None:
    with pytest.raises(CalibrationError):
        LivenessTable([Part("a", "", 0, 1)], knots)


@pytest.mark.parametrize(("mean", "deviation"), [(NAN, 1.0), (0.0, NAN), (0.0, float("inf")), (0.0, 0.0)])
def test_measures_that_are_no_numbers_are_refused(mean: float, deviation: float) -> None:
    with pytest.raises(CalibrationError):
        LivenessTable([Part("a", "", mean, deviation)], [(0, 0.1), (1, 0.2)])


@given(st.floats(-60, 60), st.floats(0.001, 20))
def test_more_live_scores_higher_and_stays_within_bounds(log_odds_value: float, step: float) -> None:
    table = CORE
    for raised in np.eye(len(table.parts)):
        measured = np.full(len(table.parts), log_odds_value)
        low, high = table.score(measured), table.score(measured + step * raised)
        assert 0 <= low <= high <= 1


def test_the_fit_puts_the_documented_share_of_people_below_each_threshold() -> None:
    people = np.random.default_rng(3).logistic(5, 2, (200_000, 2))
    moments, knots, _ = fit(people)
    table = LivenessTable([Part("", "", *moment) for moment in moments], knots)
    served = table.served(table.combined(people))
    for cut, rate in REFERENCE:
        assert (served < cut).mean() == pytest.approx(rate, rel=0.5)


def test_the_tail_of_a_known_distribution_is_found() -> None:
    values = -np.random.default_rng(5).exponential(2.0, 100_000)
    tail = lower_tail(values)
    assert tail.shape == pytest.approx(0, abs=0.06)
    assert tail.quantile(1e-4) == pytest.approx(2 * np.log(1e-4), rel=0.08)


@given(st.lists(st.floats(-50, 50), min_size=3, max_size=3))
def test_log_odds_are_those_of_the_softmax(logits: list[float]) -> None:
    values = np.array(logits, np.float32)
    odds = log_odds(values, 1)
    others = np.logaddexp(np.float64(values[0]), np.float64(values[2]))
    assert odds == pytest.approx(float(values[1]) - others, abs=1e-6)


@given(
    st.tuples(st.floats(-50, 400), st.floats(-50, 400), st.floats(1, 500), st.floats(1, 500)),
    st.integers(2, 400),
    st.integers(2, 400),
)
def test_the_window_lies_in_the_picture(box: tuple[float, float, float, float], width: int, height: int) -> None:
    left, top, right, bottom = clamped(box, 2.7, width, height)
    assert 0 <= left < right <= width
    assert 0 <= top < bottom <= height
    for recipe in RECIPES.values():
        seen = window(np.zeros((height, width, 3), np.uint8), box, recipe)
        assert seen.shape == (recipe.side, recipe.side, 3)


def test_the_window_keeps_its_size_at_the_border() -> None:
    left, top, right, bottom = clamped((0, 0, 50, 60), 2.0, 400, 400)
    assert (left, top) == (0, 0)
    assert abs(right - 100) <= 1
    assert abs(bottom - 120) <= 1


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("left", [3.0, 60.0, 115.0])
def test_the_window_of_a_picture_that_is_too_long_for_opencv(axis: int, left: float) -> None:
    """It mirrors at the borders that the picture has, as in any other picture."""
    part = np.random.default_rng(1).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    for before in (0, 32_767 - 100):
        # What is added continues the picture as the window would.
        widths = [(0, 0), (0, 0), (0, 0)]
        widths[axis] = (before, 0) if before else (0, 32_767)
        long = np.pad(part, widths, mode="reflect")
        place = [left, left, 80.0, 75.0]
        moved = [*place]
        moved[1 - axis] += before
        for name, recipe in RECIPES.items():
            if recipe.window == "reflected":
                expected = window(part, (place[0], place[1], place[2], place[3]), recipe)
                found = window(long, (moved[0], moved[1], moved[2], moved[3]), recipe)
                np.testing.assert_array_equal(found, expected, err_msg=name)
