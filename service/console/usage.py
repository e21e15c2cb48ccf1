"""How much is asked and how fast it is answered; and what was done."""

from __future__ import annotations

from starlette.responses import Response

from service.console import charts
from service.console.ports import AuditLog
from service.console.site import Page, Site, Visit
from service.metrics import RECENT, call_figures

SPANS = (60, 180)
"""Minutes that can be looked at."""

AUDIT_ENTRIES = 200


def usage(site: Site) -> Page:
    """Charts of the last hours and a table of all calls, of this process."""

    def page(visit: Visit) -> Response:
        wish = visit.request.query_params.get("minutes", "")
        span = next((span for span in SPANS if str(span) == wish), SPANS[0])
        minutes = RECENT.last(span)
        return site.render(
            visit,
            "usage.html",
            span=span,
            spans=SPANS,
            requests=charts.requests(minutes),
            latencies=charts.latencies(minutes),
            calls=call_figures(),
            width=charts.WIDTH,
            height=charts.HEIGHT,
        )

    return page


def audit(site: Site, log: AuditLog) -> Page:
    """The newest entries of the audit log."""

    def page(visit: Visit) -> Response:
        entries = [entry.draft for entry in log.latest(AUDIT_ENTRIES)]
        return site.render(visit, "audit.html", entries=entries)

    return page
