"""Simulated recaptures against the committed liveness table: a guard against getting worse, with wide tolerances.

The floors lie well below what was measured when they were written (about forty faces of the test pictures, one
recapture of each kind), so that only a real change of the networks, the windows or the table trips them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.recapture import PORTRAITS, Scorer, attacked, portraits, separation
from models.manifest import load_pack
from models.train.recapture import ATTACKS
from service.calibration.liveness import THRESHOLDS
from service.values import Image
from tests.fixtures.pictures import Pictures


@pytest.fixture(scope="module")
def scorer(model_dir: Path) -> Scorer:
    """The core pack's score."""
    return Scorer(load_pack("core"), model_dir)


@pytest.fixture(scope="module")
def faces(scorer: Scorer, pictures: Pictures) -> list[Image]:
    """Faces with their surroundings."""
    cuts = portraits(scorer.finder, [pictures.path(name) for name in PORTRAITS])
    assert len(cuts) >= 20
    return cuts


@pytest.fixture(scope="module")
def real(scorer: Scorer, faces: list[Image]) -> NDArray[np.float64]:
    """Served scores of the real pictures."""
    return scorer.scores(faces)


def test_people_pass(real: NDArray[np.float64]) -> None:
    assert (real >= THRESHOLDS["frr_1e-3"]).mean() >= 0.95
    assert (real >= THRESHOLDS["frr_1e-2"]).mean() >= 0.85


@pytest.mark.parametrize(
    ("kind", "least_area", "least_rejected"),
    [("print_close", 0.8, 0.1), ("print_edge", 0.85, 0.35), ("screen_close", 0.6, 0), ("screen_bezel", 0.75, 0.25)],
)
def test_recaptures_score_lower_than_people(
    scorer: Scorer, faces: list[Image], real: NDArray[np.float64], kind: str, least_area: float, least_rejected: float
) -> None:
    scores = scorer.scores(attacked(faces, kind))
    assert len(scores) >= 0.8 * len(faces)
    assert separation(real, scores) >= least_area
    assert (scores < THRESHOLDS["frr_1e-2"]).mean() >= least_rejected


@pytest.mark.parametrize("kind", ATTACKS)
def test_the_simulator_leaves_a_picture_of_use(faces: list[Image], kind: str) -> None:
    for before, after in zip(faces[:5], attacked(faces[:5], kind), strict=True):
        assert min(after.shape[:2]) >= min(before.shape[:2]) * 0.9
        assert after.dtype == np.uint8
        low, high = np.percentile(after, [5, 95])
        assert high - low > 30


@pytest.mark.parametrize("kind", ATTACKS)
def test_the_simulator_draws_the_same_for_the_same_seed(faces: list[Image], kind: str) -> None:
    first, second = (attacked(faces[:2], kind, seed=4) for _ in range(2))
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))
