"""What all pages share: templates, languages, headers, and the guard that lets only the operator in."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from http import HTTPStatus
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote, urlsplit

import jinja2
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response

from service import __version__
from service.auditing import OK, Operation, operation
from service.console.ports import AuditLog, UseCases
from service.console.sessions import IDLE_SECONDS, Session
from service.console.texts import CHINESE
from service.errors import LibraryError, Overloaded, ServiceError, ServiceUnavailable
from service.library.names import is_identifier

ROOT = "/console"
SESSION_COOKIE = "aipface_console"
LANGUAGE_COOKIE = "aipface_language"
LANGUAGES = ("en", "zh")
TOKEN_FIELD = "form_token"  # noqa: S105 - a field's name
TOKEN_HEADER = "X-Form-Token"  # noqa: S105 - a header's name
MOST_FORM_BYTES = 65_536
_NAMES = ("app", "group", "user", "face")
"""Parameters of paths. Their values are ids by the API's rules for names."""
_UNLOGGED = ("/picture", "/delete")
"""Endings of paths whose ``GET`` is not written into the audit log: the page that shows pictures is logged instead of
each picture, and a deletion instead of the question whether to delete."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}

logger = logging.getLogger(__name__)


class BadForm(Exception):
    """A form did not come from a page of this session, or is none of ours."""

    sentence = "This form is not valid any more. Try again."
    status = 403


class LargeForm(BadForm):
    """A form is larger than any of ours."""

    sentence = "This is larger than a request may be."
    status = 413


@dataclass(frozen=True, slots=True)
class Visit:
    """One request to a page, by the operator (``session``) or, for the page that logs in, by anybody."""

    request: Request
    session: Session | None
    language: str
    form: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def name(self, part: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[part])


Page: TypeAlias = "Callable[[Visit], Response] | Callable[[Visit], Awaitable[Response]]"


class Site:
    """Renders and guards pages."""

    def __init__(self, service: UseCases, audit: AuditLog) -> None:
        """``audit`` is where what the operator does is written down."""
        self.service = service
        self._audit = audit
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("service.console"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["path"] = lambda name: quote(str(name), safe="")
        self._templates.filters["moment"] = lambda moment: f"{moment.astimezone():%Y-%m-%d %H:%M}"

    def render(self, visit: Visit, template: str, status: int = 200, **values: Any) -> Response:
        """A page in the visitor's language."""

        def translated(text: str, **parts: object) -> str:
            text = CHINESE.get(text, text) if visit.language == "zh" else text
            return text.format(**parts) if parts else text

        token = "" if visit.session is None else self.service.operator.sessions.token(visit.session)
        content = self._templates.get_template(template).render(
            t=translated,
            language=visit.language,
            in_english=_in(visit.request, "en"),
            in_chinese=_in(visit.request, "zh"),
            here=visit.request.url.path,
            logged_in=visit.session is not None,
            form_token=token,
            version=__version__,
            now=datetime.now(timezone.utc),
            **values,
        )
        return Response(content, status_code=status, media_type="text/html")

    def guarded(self, page: Page, most_bytes: int = MOST_FORM_BYTES) -> Callable[[Request], Awaitable[Response]]:
        """A page for the operator alone; forms must carry the session's token."""

        async def endpoint(request: Request) -> Response:
            operator = self.service.operator
            password_hash = operator.password.content
            if password_hash is None:
                return self._off(request)
            session = operator.sessions.read(cookie(request, SESSION_COOKIE), password_hash)
            visit = Visit(request, session, chosen_language(request))
            if session is None:
                return self._finished(visit, _to_login(request))
            try:
                visit = await self._received(visit, session, most_bytes)
            except ClientDisconnect:
                return Response(status_code=400)  # nobody is there to read it
            except BadForm as error:
                return self._finished(visit, self.failed(visit, error.sentence, error.status))
            response = self._finished(visit, await self._run(page, visit))
            if operator.sessions.is_closed(session):  # by this request, or while it was answered
                set_cookie(response, request, SESSION_COOKIE, "", 0)
            else:
                content = operator.sessions.write(session, password_hash)
                set_cookie(response, request, SESSION_COOKIE, content, IDLE_SECONDS)
            return response

        return endpoint

    def open(self, page: Page) -> Callable[[Request], Awaitable[Response]]:
        """A page for everybody, where a password was set."""

        async def endpoint(request: Request) -> Response:
            if self.service.operator.password.content is None:
                return self._off(request)
            visit = Visit(request, None, chosen_language(request))
            try:
                form = await _form(request, MOST_FORM_BYTES) if request.method == "POST" else {}
            except ClientDisconnect:
                return Response(status_code=400)  # nobody is there to read it
            except BadForm as error:
                return self._finished(visit, self.failed(visit, error.sentence, error.status))
            visit = Visit(request, None, visit.language, form)
            return self._finished(visit, await self._run(page, visit))

        return endpoint

    def _off(self, request: Request) -> Response:
        """There is no console; nothing is read of cookies then."""
        visit = Visit(request, None, _known_language(request, ""))
        return self._finished(visit, self.render(visit, "off.html", 404))

    def failed(self, visit: Visit, text: str, status: int) -> Response:
        """A page that says what went wrong, or JSON for a script."""
        if visit.request.headers.get("accept", "").startswith("application/json"):
            return Response(status_code=status)
        return self.render(visit, "failed.html", status, text=text, number=status, title=HTTPStatus(status).phrase)

    async def _received(self, visit: Visit, session: Session, most_bytes: int) -> Visit:
        """With its form, which must be of this session. Raises ``BadForm``."""
        if visit.request.method != "POST":
            return visit
        body = await _body(visit.request, most_bytes)
        form = _fields(visit.request, body)
        token = visit.request.headers.get(TOKEN_HEADER) or form.get(TOKEN_FIELD, "")
        if not _same_site(visit.request) or not self.service.operator.sessions.accepts(session, token):
            raise BadForm
        return Visit(visit.request, session, visit.language, form, body)

    async def _run(self, page: Page, visit: Visit) -> Response:
        """The page, as an operation of the audit log: what it changes, and whose faces it shows."""
        if not all(is_identifier(visit.name(part)) for part in _NAMES if part in visit.request.path_params):
            return self.failed(visit, "This is not there, or not any more.", 404)
        doing = _operation(visit.request)
        with operation(doing):
            response = await self._answered(page, visit)
        told = visit.request.method == "POST" or not visit.request.url.path.endswith(_UNLOGGED)
        if doing.app_pk is not None and told:
            self._audit.note(doing, OK if response.status_code < HTTPStatus.BAD_REQUEST else str(response.status_code))
        return response

    async def _answered(self, page: Page, visit: Visit) -> Response:
        try:
            if inspect.iscoroutinefunction(page):
                response: Response = await page(visit)
                return response
            answered: Response = await run_in_threadpool(page, visit)  # type: ignore[arg-type]
        except ServiceError as error:
            return self.failed(visit, _sentence(error), _status(error))
        except Exception:
            logger.exception("unexpected failure of a page", extra={"path": visit.request.url.path})
            return self.failed(visit, "Something went wrong; the log says what.", 500)
        return answered

    def _finished(self, visit: Visit, response: Response) -> Response:
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        if visit.request.query_params.get("lang") in LANGUAGES:
            set_cookie(response, visit.request, LANGUAGE_COOKIE, visit.language, 366 * 86400)
        return response


def set_cookie(response: Response, request: Request, name: str, value: str, seconds: int) -> None:
    """A cookie of the console alone, out of reach of scripts and other sites; the browser drops it with 0 seconds."""
    # A proxy that ends TLS says so; whoever else says so only loses the cookie on a plain connection.
    secure = "https" in {request.url.scheme, request.headers.get("x-forwarded-proto", "")}
    response.set_cookie(name, value, max_age=seconds, path=ROOT, httponly=True, samesite="strict", secure=secure)


def cookie(request: Request, name: str) -> str:
    """What the browser sent under a name, "" for nothing; ours are never quoted, so that nothing is unquoted here.

    The framework's reader unquotes every cookie, and until CPython mended CVE-2024-7592 in a time that grows with the
    square of its length: 60 KB of anybody's would stop the event loop for seconds.
    """
    for header in request.headers.getlist("cookie"):
        for each in header.split(";"):
            known, _, value = each.partition("=")
            if known.strip() == name:
                return value.strip()
    return ""


def chosen_language(request: Request) -> str:
    """Of the query, else of the cookie, else of the browser."""
    return _known_language(request, cookie(request, LANGUAGE_COOKIE))


def _known_language(request: Request, remembered: str) -> str:
    for wish in (request.query_params.get("lang"), remembered):
        if wish in LANGUAGES:
            return str(wish)
    return "zh" if request.headers.get("accept-language", "").lower().startswith("zh") else "en"


def _in(request: Request, language: str) -> str:
    """The query of this page in another language: whatever else it asks for stays."""
    return f"?{request.url.include_query_params(lang=language).query}"


def redirect(path: str) -> Response:
    """To another page of the console, with GET."""
    return RedirectResponse(f"{ROOT}{path}", status_code=303)


def _operation(request: Request) -> Operation:
    """Who visits what: ``console library delete``, from an address, about the group and the user in the path."""
    named = {part: str(request.path_params[part]) for part in ("group", "user") if part in request.path_params}
    parts = request.url.path.removeprefix(ROOT).strip("/").split("/")
    # Names, which may be "delete" too, stand behind the first word; "-" keeps what follows from being one.
    words = [word for word in (*parts[:1], *parts[1 + len(request.path_params) :]) if word and word != "-"]
    return Operation(
        f"console:{request.client.host if request.client else ''}",
        " ".join(["console", *words[:2]]),
        groups=tuple(named[part] for part in ("group",) if part in named),
        users=tuple(named[part] for part in ("user",) if part in named),
    )


def _to_login(request: Request) -> Response:
    if request.method != "GET":
        return redirect("/login") if "text/html" in request.headers.get("accept", "") else Response(status_code=401)
    return redirect(f"/login?next={quote(request.url.path, safe='/')}")


def _same_site(request: Request) -> bool:
    """Whether the browser, where it tells, says that the form came from a page of ours."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:  # browsers send it over HTTPS, and no page can make it up
        return site in {"same-origin", "none"}
    origin = request.headers.get("origin")
    try:
        return origin is None or urlsplit(origin).netloc == request.headers.get("host")
    except ValueError:  # no address at all
        return False


async def _body(request: Request, most_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most_bytes:
            raise LargeForm
    return bytes(body)


async def _form(request: Request, most_bytes: int) -> dict[str, str]:
    body = await _body(request, most_bytes)
    if not _same_site(request):
        raise BadForm
    return _fields(request, body)


def _fields(request: Request, body: bytes) -> dict[str, str]:
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return {}
    try:
        return dict(parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=100))
    except ValueError:  # not UTF-8, or more fields than any form of ours has
        raise BadForm from None


def _status(error: ServiceError) -> int:
    if isinstance(error, ServiceUnavailable):
        return 503
    return 404 if isinstance(error, LibraryError) else 400


def _sentence(error: ServiceError) -> str:
    if isinstance(error, Overloaded):
        return "The service is busy. Try again in a moment."
    if isinstance(error, ServiceUnavailable):
        return "The service cannot answer now; the overview says why."
    if isinstance(error, LibraryError):
        return "This is not there, or not any more."
    return "This is not possible."
