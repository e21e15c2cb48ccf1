"""The first page: is everything in order, and how much is there."""

from __future__ import annotations

from starlette.responses import Response

from service.console.site import Page, Site, Visit


def overview(site: Site) -> Page:
    """Health and size of the service."""

    def page(visit: Visit) -> Response:
        readiness = site.service.readiness()
        return site.render(visit, "overview.html", readiness=readiness, state=site.service.state())

    return page
