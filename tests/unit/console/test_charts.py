"""Minutes, quantiles, and the shapes of the charts."""

from __future__ import annotations

import pytest

from service.console import charts
from service.metrics import CALL_SECONDS, Minute, RecentMinutes, quantile


def test_minutes_are_counted_and_gaps_are_empty() -> None:
    recent = RecentMinutes(minutes=10)
    for moment, failed in ((60.0, False), (61.0, True), (180.0, False)):
        recent.observe(0.02, failed=failed, now=moment)
    last = recent.last(4, now=200.0)
    assert [minute.number for minute in last] == [0, 1, 2, 3]
    assert [(minute.calls, minute.failures) for minute in last] == [(0, 0), (2, 1), (0, 0), (1, 0)]


def test_old_minutes_are_forgotten() -> None:
    recent = RecentMinutes(minutes=2)
    for number in range(5):
        recent.observe(0.02, failed=False, now=60.0 * number)
    assert [minute.calls for minute in recent.last(5, now=240.0)] == [0, 0, 0, 1, 1]


def test_quantiles_are_interpolated_and_bounded() -> None:
    buckets = [0] * (len(CALL_SECONDS) + 1)
    assert quantile(buckets, 0.5) is None
    buckets[3] = 4
    assert quantile(buckets, 0.5) == pytest.approx((CALL_SECONDS[2] + CALL_SECONDS[3]) / 2)
    assert quantile(buckets, 1.0) == CALL_SECONDS[3]
    assert quantile([0] * len(CALL_SECONDS) + [1], 0.5) == CALL_SECONDS[-1]


def test_bars_fill_the_height_and_lines_break_in_gaps() -> None:
    busy = Minute(1, calls=4, failures=1)
    busy.buckets[2] = 4
    minutes = [busy, Minute(2), Minute(3, calls=2), busy]
    bars = charts.requests(minutes)
    assert bars.highest == 4
    assert (bars.bars[0].y, bars.bars[0].height, bars.bars[0].failed_height) == (0.0, 120.0, 40.0)
    assert bars.bars[1].height == 0.0
    lines = charts.latencies(minutes)
    assert len(lines.median) == len(lines.p95) == 2
