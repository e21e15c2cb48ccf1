"""How much an app may ask, and what it has asked."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from dataclasses import dataclass
from datetime import date

from starlette.responses import Response

from service.console.apps import known
from service.console.site import Page, Site, Visit, redirect
from service.library.quotas import AppUsage
from service.values import LARGEST_LIMITS, Limits

DAYS = 14
"""Days of usage that are shown."""


@dataclass(frozen=True, slots=True)
class Day:
    """What an app asked on one day, by all processes."""

    day: date
    requests: int
    errors: int
    refused: int


def page(site: Site) -> Page:
    """The limits as a form, what was taken of them, and the last days."""

    def shown(visit: Visit) -> Response:
        app = known(site, visit)
        if app is None:
            return site.failed(visit, "This is not there, or not any more.", 404)
        usage = site.service.quotas.usage(app)
        limits, taken = dataclasses.asdict(usage.limits), usage.standing
        return site.render(
            visit,
            "quota.html",
            app=app,
            limits=limits,
            taken={"daily": taken.day_taken, "total": taken.total_taken},
            days=_days(usage),
            most=_MOST,
        )

    return shown


def change(site: Site) -> Page:
    """Take the limits of the form; an empty field is no limit."""

    def changed(visit: Visit) -> Response:
        app = known(site, visit)
        if app is None:
            return site.failed(visit, "This is not there, or not any more.", 404)
        try:
            limits = Limits(**{name: _limit(visit.form.get(name, ""), most) for name, most in _MOST.items()})
        except ValueError:
            return site.failed(visit, "A limit is a whole number from 1, or nothing.", 400)
        site.service.quotas.set_limits(app, limits)
        return redirect(f"/apps/{app.app_id}/quota")

    return changed


_MOST: dict[str, int] = dataclasses.asdict(LARGEST_LIMITS)


def _limit(text: str, most: int) -> int | None:
    """Raises ``ValueError`` for what is no limit."""
    text = text.strip()
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or len(text) > len(str(most)) or not 1 <= int(text) <= most:
        raise ValueError(text)
    return int(text)


def _days(usage: AppUsage) -> list[Day]:
    """Newest first."""
    sums: dict[date, list[int]] = defaultdict(lambda: [0, 0, 0])
    for each in usage.calls:
        for place, count in enumerate((each.requests, each.errors, each.refused)):
            sums[each.day][place] += count
    return [Day(day, *sums[day]) for day in sorted(sums, reverse=True)[:DAYS]]
