"""The console as an ASGI application, to be mounted at ``/console``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from service.console import apps, library, login, overview, quotas, register, trial, usage
from service.console.in_process import InProcessApi
from service.console.ports import AuditLog, UseCases
from service.console.site import HEADERS, ROOT, Page, Site

STATIC = Path(__file__).with_name("static")


class StaticPages(StaticFiles):
    """Scripts, styles and pictures of the package, with the headers of the pages."""

    async def get_response(self, path: str, scope: object) -> Response:
        response = await super().get_response(path, scope)  # type: ignore[arg-type]
        for name, value in HEADERS.items():
            response.headers[name] = value
        response.headers["Cache-Control"] = "no-cache"
        return response


def build_console(service: UseCases, api: ASGIApp, *, max_body_bytes: int, audit: AuditLog) -> Starlette:
    """The pages over ``service``; trials go through ``api``, as a client's requests would.

    ``max_body_bytes`` is what a request of the API may hold; ``audit`` is where what was done is written down.
    """
    site = Site(service, audit)
    trials = trial.Trials(site, InProcessApi(api, service.tokens))
    # Two pictures at most, and what JSON and the options add.
    most_bytes = 2 * max_body_bytes
    routes = [
        *_open(site, audit),
        _route(site, "/logout", login.logout(site), "POST"),
        _route(site, "/", overview.overview(site)),
        _route(site, "/apps", apps.listing(site)),
        _route(site, "/apps", apps.create(site), "POST"),
        _route(site, "/apps/{app}/quota", quotas.page(site)),
        _route(site, "/apps/{app}/quota", quotas.change(site), "POST"),
        _route(site, "/apps/{app}/{action:str}", apps.change(site), "POST"),
        *_library(site),
        _route(site, "/try", trials.page),
        Route("/try", site.guarded(trials.answer, most_bytes), methods=["POST"]),
        _route(site, "/live", trials.live),
        _route(site, "/register", register.page(site)),
        Route("/register", site.guarded(register.enter(site), register.MOST_BYTES), methods=["POST"]),
        _route(site, "/usage", usage.usage(site)),
        _route(site, "/audit", usage.audit(site, audit)),
        Mount("/static", StaticPages(directory=STATIC)),
        Route("/{rest:path}", site.guarded(_nothing(site))),
    ]
    return Starlette(routes=routes)


def to_the_console(_request: Request) -> Response:
    """From ``/console`` to ``/console/``."""
    return RedirectResponse(f"{ROOT}/", status_code=308)


def _open(site: Site, audit: AuditLog) -> list[Route]:
    return [
        Route("/login", site.open(login.ask(site)), methods=["GET"]),
        Route("/login", site.open(login.login(site, audit)), methods=["POST"]),
    ]


def _library(site: Site) -> list[Route]:
    group, user = "/library/{app}/{group}", "/library/{app}/{group}/{user}"
    return [
        _route(site, "/library/{app}", library.groups(site)),
        _route(site, "/library/{app}", library.add_group(site), "POST"),
        _route(site, group, library.users(site)),
        _route(site, f"{group}/-/delete", library.ask(site)),  # a user may be called "delete", none is called "-"
        _route(site, f"{group}/-/delete", library.delete_group(site), "POST"),
        _route(site, user, library.faces(site)),
        _route(site, f"{user}/delete", library.ask(site)),
        _route(site, f"{user}/delete", library.delete_user(site), "POST"),
        _route(site, f"{user}/{{face}}/picture", library.picture(site)),
        _route(site, f"{user}/{{face}}/delete", library.ask(site)),
        _route(site, f"{user}/{{face}}/delete", library.delete_face(site), "POST"),
    ]


def _route(site: Site, path: str, page: Page, method: str = "GET") -> Route:
    endpoint: Callable[[Request], Awaitable[Response]] = site.guarded(page)
    return Route(path, endpoint, methods=[method])


def _nothing(site: Site) -> Page:
    return lambda visit: site.failed(visit, "There is no such page.", 404)
