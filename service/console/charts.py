"""Charts as shapes: numbers in, coordinates out; the template draws them as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from service.metrics import Minute, quantile

WIDTH, HEIGHT = 720, 160
"""Of a chart, in its own units."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One minute: failures stand at the foot, successes on top of them."""

    x: float
    width: float
    y: float
    height: float
    failed_y: float
    failed_height: float
    title: str


@dataclass(frozen=True, slots=True)
class Bars:
    """Requests by the minute."""

    bars: tuple[Bar, ...]
    highest: int
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class Lines:
    """Latency by the minute: points ``x,y x,y ...`` of the median and of what 95 % stay below."""

    median: tuple[str, ...]
    p95: tuple[str, ...]
    highest: float
    """Milliseconds at the top."""


def requests(minutes: Sequence[Minute]) -> Bars:
    """A bar for each minute."""
    highest = max([1, *(minute.calls for minute in minutes)])
    step = WIDTH / max(1, len(minutes))
    bars = []
    for place, minute in enumerate(minutes):
        whole, failed = HEIGHT * minute.calls / highest, HEIGHT * minute.failures / highest
        title = f"{_clock(minute)}: {minute.calls} ({minute.failures})"
        x, width = round(place * step, 1), round(step * 0.8, 1)
        y, height = round(HEIGHT - whole, 1), round(whole - failed, 1)
        bars.append(Bar(x, width, y, height, round(HEIGHT - failed, 1), round(failed, 1), title))
    return Bars(tuple(bars), highest, _clock(minutes[0]), _clock(minutes[-1]))


def latencies(minutes: Sequence[Minute]) -> Lines:
    """Two lines, broken where nothing was asked."""
    median = [quantile(minute.buckets, 0.5) for minute in minutes]
    p95 = [quantile(minute.buckets, 0.95) for minute in minutes]
    highest = max([0.01, *(value for value in p95 if value is not None)])
    return Lines(_pieces(median, highest), _pieces(p95, highest), round(highest * 1000, 1))


def _pieces(values: Sequence[float | None], highest: float) -> tuple[str, ...]:
    """Stretches of a line without gaps; a lone value becomes a short dash."""
    step = WIDTH / max(1, len(values))
    pieces: list[list[str]] = [[]]
    for place, value in enumerate(values):
        if value is None:
            pieces.append([])
            continue
        y = round(HEIGHT * (1 - value / highest), 1)
        if not pieces[-1]:
            pieces[-1].append(f"{place * step:.1f},{y}")
        pieces[-1].append(f"{(place + 0.8) * step:.1f},{y}")
    return tuple(" ".join(piece) for piece in pieces if piece)


def _clock(minute: Minute) -> str:
    return f"{datetime.fromtimestamp(minute.number * 60, timezone.utc).astimezone():%H:%M}"
