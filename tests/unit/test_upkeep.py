"""A clock that is set deletes nothing that should have been kept."""

from __future__ import annotations

import pytest

from service.upkeep import Calendar

HOUR = 3600.0


class Clocks:
    """Two clocks that tests turn: the one that can be set, and the time that has passed."""

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0
        self.passed = 50.0

    def run(self, seconds: float) -> None:
        self.wall += seconds
        self.passed += seconds


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def calendar(clocks: Clocks) -> Calendar:
    return Calendar(lambda: clocks.wall, lambda: clocks.passed)


def test_time_that_passes_is_believed(clocks: Clocks, calendar: Calendar) -> None:
    for _ in range(100):
        clocks.run(24 * HOUR)
        assert not calendar.was_set


def test_corrections_are_believed(clocks: Clocks, calendar: Calendar) -> None:
    clocks.wall -= 40 * 60
    assert not calendar.was_set


@pytest.mark.parametrize("jump", [-365 * 24 * HOUR, -2 * HOUR, 2 * HOUR, 365 * 24 * HOUR])
def test_a_clock_that_was_set_is_not_believed_until_it_is_right(
    clocks: Clocks, calendar: Calendar, jump: float
) -> None:
    clocks.wall += jump
    assert calendar.was_set
    clocks.run(24 * HOUR)
    assert calendar.was_set
    clocks.wall -= jump
    assert not calendar.was_set


def test_the_real_clocks_agree() -> None:
    assert not Calendar().was_set
