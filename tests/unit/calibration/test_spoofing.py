"""The served ``spoofing`` on the documents' scale."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from service.calibration.spoofing import LOG_ODDS, THRESHOLDS, served


def probability(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


def test_the_documents_values_stand_at_the_shares_that_they_mean() -> None:
    for log_odds, threshold in zip(LOG_ODDS, THRESHOLDS.values(), strict=True):
        assert served(probability(log_odds)) == pytest.approx(threshold)


def test_it_rises_and_stays_within_its_range() -> None:
    told = [served(float(each)) for each in np.linspace(0, 1, 1001)]
    assert all(0 < before < after < 1 for before, after in itertools.pairwise(told))


def test_what_the_head_is_sure_of_is_told_as_such() -> None:
    assert served(1.0) > 0.95
    assert served(0.99999) > 0.5
    assert 1e-6 < served(0.0) < 1e-4
