"""Logging in and out."""

from __future__ import annotations

import logging
import math
import re
import threading

from starlette.responses import Response

from service.console.ports import AuditLog
from service.console.sessions import IDLE_SECONDS
from service.console.site import ROOT, SESSION_COOKIE, Page, Site, Visit, redirect, set_cookie

_OURS = re.compile(rf"{ROOT}/[\w./%-]*")

PATIENCE_SECONDS = 2.0

_one_at_a_time = threading.Lock()
"""Held while a password is checked, so that guessing takes 32 MB once and not many times. Whoever cannot get it within
``PATIENCE_SECONDS`` is refused, so that waiting does not occupy all threads.

A wrong password is counted, also in the database, before the next one is checked: a slow database slows log-ins down.
"""

logger = logging.getLogger(__name__)


def ask(site: Site) -> Page:
    """The form that asks for the password."""
    return lambda visit: site.render(visit, "login.html", wanted=visit.request.query_params.get("next", ""), problem="")


def login(site: Site, audit: AuditLog) -> Page:
    """Check the password and begin a session."""

    def page(visit: Visit) -> Response:
        operator = site.service.operator
        address = visit.request.client.host if visit.request.client else ""
        wanted = visit.form.get("next", "")
        wait = operator.throttle.wait(address)
        if wait or not _one_at_a_time.acquire(timeout=PATIENCE_SECONDS):
            return _too_many(site, visit, wanted, wait or math.ceil(PATIENCE_SECONDS))
        try:
            # Asked again with the lock held: those who waited for it at the same time may have failed meanwhile.
            wait = operator.throttle.wait(address)
            accepted = not wait and operator.password.accepts(visit.form.get("password", ""))
            if not wait and not accepted:
                operator.throttle.failed(address)
        finally:
            _one_at_a_time.release()
        if wait:
            return _too_many(site, visit, wanted, wait)
        if not accepted:
            logger.warning("a wrong password was given to the console", extra={"address": address})
            return site.render(visit, "login.html", 401, wanted=wanted, problem="This is not the password.")
        operator.throttle.succeeded(address)
        audit.record("console.login")
        logger.info("somebody logged in to the console", extra={"address": address})
        path = wanted.removeprefix(ROOT) if _OURS.fullmatch(wanted) else "/"
        response = redirect(path)
        cookie = operator.sessions.write(operator.sessions.open(), operator.password.content or "")
        set_cookie(response, visit.request, SESSION_COOKIE, cookie, IDLE_SECONDS)
        return response

    return page


def _too_many(site: Site, visit: Visit, wanted: str, wait: int) -> Response:
    problem = "Too many wrong passwords. Try again later."
    response = site.render(visit, "login.html", 429, wanted=wanted, problem=problem)
    response.headers["Retry-After"] = str(wait)
    return response


def logout(site: Site) -> Page:
    """End the session."""

    def page(visit: Visit) -> Response:
        if visit.session is not None:
            site.service.operator.sessions.close(visit.session)
        return redirect("/login")

    return page
