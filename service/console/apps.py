"""Apps and their keys."""

from __future__ import annotations

from starlette.responses import Response

from service.console.site import Page, Site, Visit, redirect
from service.errors import AppUnavailable
from service.values import App, AppCredentials

LONGEST_NAME = 100


def known(site: Site, visit: Visit) -> App | None:
    """The app that the path names, enabled or not."""
    app_id = visit.name("app")
    return next((app for app in site.service.apps.list() if app.app_id == app_id), None)


def listing(site: Site) -> Page:
    """All apps."""
    return lambda visit: _page(site, visit)


def create(site: Site) -> Page:
    """A new app; its secret is on the answered page and nowhere else."""

    def page(visit: Visit) -> Response:
        name = visit.form.get("name", "").strip()
        if not name or len(name) > LONGEST_NAME or not name.isprintable():
            return site.failed(visit, "A name has 1 to 100 characters.", 400)
        return _page(site, visit, site.service.apps.create(name))

    return page


def change(site: Site) -> Page:
    """Rotate the secret, let the app in, keep it out."""

    def page(visit: Visit) -> Response:
        app_id, action = visit.name("app"), visit.name("action")
        try:
            if action == "rotate":
                return _page(site, visit, site.service.apps.rotate(app_id))
            if action in {"enable", "disable"}:
                site.service.apps.set_enabled(app_id, enabled=action == "enable")
                return redirect("/apps")
        except AppUnavailable:
            pass
        return site.failed(visit, "This is not there, or not any more.", 404)

    return page


def _page(site: Site, visit: Visit, credentials: AppCredentials | None = None) -> Response:
    return site.render(visit, "apps.html", apps=site.service.apps.list(), credentials=credentials)
