"""The library of an app: groups, users, faces with their pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

from starlette.responses import Response

from service import auditing
from service.console.apps import known
from service.console.site import Page, Site, Visit, redirect
from service.errors import GroupExists, UserNotFound
from service.library.names import is_identifier
from service.library.users import ALL_GROUPS
from service.values import App

GROUPS_PER_PAGE = 100
USERS_PER_PAGE = 24


@dataclass(frozen=True, slots=True)
class ShownUser:
    """A user on the page of a group; ``face_token`` of the first face, if there is one."""

    user_id: str
    face_token: str | None
    faces: int


def _of_app(site: Site, page: Callable[[Visit, App], Response]) -> Page:
    """A page about the app of its path."""

    def found(visit: Visit) -> Response:
        app = known(site, visit)
        if app is None or visit.request.path_params.get("group") == ALL_GROUPS:
            return site.failed(visit, "This is not there, or not any more.", 404)
        auditing.current().app_pk = app.pk
        return page(visit, app)

    return found


def groups(site: Site) -> Page:
    """The groups of an app."""

    def page(visit: Visit, app: App) -> Response:
        start = _start(visit)
        names = site.service.groups.list(app, start, GROUPS_PER_PAGE + 1)
        if start and not names:  # deleted meanwhile: an empty page would say that there are none at all
            return redirect(_path(app))
        more = len(names) > GROUPS_PER_PAGE
        return site.render(
            visit,
            "groups.html",
            app=app,
            groups=names[:GROUPS_PER_PAGE],
            back=max(0, start - GROUPS_PER_PAGE) if start else None,
            forth=start + GROUPS_PER_PAGE if more else None,
        )

    return _of_app(site, page)


def add_group(site: Site) -> Page:
    """A new, empty group."""

    def page(visit: Visit, app: App) -> Response:
        name = visit.form.get("group", "").strip()
        if not is_identifier(name):
            return site.failed(visit, "A group's name has 1 to 128 letters, digits and underscores.", 400)
        try:
            site.service.groups.add(app, name)
        except GroupExists:
            return site.failed(visit, "There is a group of this name.", 400)
        return redirect(f"/library/{app.app_id}")

    return _of_app(site, page)


def users(site: Site) -> Page:
    """The users of a group, each with a picture."""

    def page(visit: Visit, app: App) -> Response:
        group, start = visit.name("group"), _start(visit)
        names = site.service.groups.users(app, group, start, USERS_PER_PAGE + 1)
        if start and not names:
            return redirect(_path(app, group))
        shown = [_shown(site, app, group, name) for name in names[:USERS_PER_PAGE]]
        return site.render(
            visit,
            "users.html",
            app=app,
            group=group,
            users=[user for user in shown if user is not None],
            back=max(0, start - USERS_PER_PAGE) if start else None,
            forth=start + USERS_PER_PAGE if len(names) > USERS_PER_PAGE else None,
        )

    return _of_app(site, page)


def _shown(site: Site, app: App, group: str, user: str) -> ShownUser | None:
    try:
        entries = site.service.faces.list(app, group, user)
    except UserNotFound:  # deleted since the page began
        return None
    return ShownUser(user, entries[0].token if entries else None, len(entries))


def faces(site: Site) -> Page:
    """The faces of a user."""

    def page(visit: Visit, app: App) -> Response:
        group, user = visit.name("group"), visit.name("user")
        (entry,) = site.service.users.get(app, group, user)
        entries = site.service.faces.list(app, group, user)
        return site.render(visit, "faces.html", app=app, group=group, user=entry, faces=entries)

    return _of_app(site, page)


def picture(site: Site) -> Page:
    """The stored crop of a face as JPEG, or a drawn placeholder where none was kept."""

    def page(visit: Visit, app: App) -> Response:
        crop = site.service.faces.portrait(app, visit.name("group"), visit.name("user"), visit.name("face"))
        if crop is None:
            return redirect("/static/no-picture.svg")
        return Response(crop, media_type="image/jpeg")

    return _of_app(site, page)


def ask(site: Site) -> Page:
    """Whether it is meant: the page before anything is deleted."""

    def page(visit: Visit, app: App) -> Response:
        names = [str(visit.request.path_params[part]) for part in ("group", "user", "face") if _has(visit, part)]
        return site.render(visit, "delete.html", app=app, names=names, up=_path(app, *names[:-1]))

    return _of_app(site, page)


def delete_group(site: Site) -> Page:
    """A group with everybody in it."""

    def page(visit: Visit, app: App) -> Response:
        site.service.groups.delete(app, visit.name("group"))
        return redirect(_path(app))

    return _of_app(site, page)


def delete_user(site: Site) -> Page:
    """A user with all faces."""

    def page(visit: Visit, app: App) -> Response:
        site.service.users.delete(app, visit.name("group"), visit.name("user"))
        return redirect(_path(app, visit.name("group")))

    return _of_app(site, page)


def delete_face(site: Site) -> Page:
    """One face; with the last one goes the user."""

    def page(visit: Visit, app: App) -> Response:
        group, user = visit.name("group"), visit.name("user")
        last = len(site.service.faces.list(app, group, user)) == 1
        site.service.faces.delete(app, group, user, visit.name("face"))
        return redirect(_path(app, group) if last else _path(app, group, user))

    return _of_app(site, page)


def _path(app: App, *names: str) -> str:
    return "/".join([f"/library/{app.app_id}", *(quote(name, safe="") for name in names)])


def _has(visit: Visit, part: str) -> bool:
    return part in visit.request.path_params


def _start(visit: Visit) -> int:
    text = visit.request.query_params.get("start", "0")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
