"""The machinery behind every call: receive, authenticate, permit, parse, run, present.

A generation of the API declares its calls as values (``Call``) and how its answers look (``Dialect``); ``Dispatcher``
does the rest. Everything but receiving happens in a worker thread, in one hop: the event loop never waits for a
model, the database or the decoding of a large body.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NoReturn, Protocol, TypeAlias, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.lowlevel import current_token
from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service import auditing, deadline, metrics, tracing
from service.access import permissions
from service.api import body, caller, openapi, subject
from service.api.body import Hold, Parameters, Received
from service.api.caller import Head
from service.api.envelope import Stamp
from service.api.extensions import DISCONNECTED
from service.api.ports import UseCases
from service.api.threads import LeftBehind, Outcome
from service.auditing import OK, Operation
from service.errors import DeadlineExceeded, Overloaded, ServiceError, ServiceUnavailable
from service.inference.admission import Abandoned, caller_left
from service.values import App

JSON = openapi.JSON
FORMS = "v2"
"""The generation whose clients send forms; the others read them, too."""

LOG_ID_HEADER = "X-Log-Id"

REQUEST_SECONDS = 120.0
"""A request that takes longer is given up, unless the setting ``request_timeout`` says otherwise."""

EARLY_BYTES = 2**20
"""Bytes: the token of a request with a larger body is checked before the body is read."""

EARLY_BYTES_IF_SCARCE = 2**16
"""The same limit where little memory for bodies is left. An early check takes a worker thread twice, which costs
``detect`` an eighth of its rate (by hand)."""

MOST_HELD_BYTES = 512 * 2**20
"""Most bytes of all bodies together that are arriving or not answered yet: fifty of the largest size, hundreds of usual
ones. It keeps strangers, who may send slowly, from filling the memory. Operators tune ``queue_limit`` instead of it."""

LEAST_PICTURE_BYTES = 8192
"""Bytes: larger bodies are taken to hold a picture, whose answer needs a permit to compute."""

A = TypeVar("A")
R = TypeVar("R")

Identify: TypeAlias = Callable[[UseCases, Head, Received], "tuple[App, Parameters | None]"]
"""Tells which app sent a request, with the parameters if the body had to be decoded for that."""

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
"""Answers the requests for one call."""

_NOTHING = (b"", b"{}", b"[]", b"null")
_LONGEST_NOTHING = 16

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call(Generic[A, R]):
    """One call of the API: where it lives, who may make it, and its three steps.

    ``parse`` checks every parameter before any work is done; ``run`` is the use case; ``present`` makes the
    ``result`` of the answer. ``name`` is the official Python SDK's; ``example`` is a body that works. A call without a
    ``permission`` may be made by every app. Parameters of a ``GET`` stand in the query or, as V2's documents have it,
    in a body.

    Make each call a constant of its own (``_DETECT = Call(...)``), not an element of a ``tuple[Call[Any, Any], ...]``
    literal: only then does the type checker compare the types of its steps with each other.
    """

    path: str
    name: str
    summary: str
    permission: str | None
    parse: Callable[[Parameters], A]
    run: Callable[[UseCases, App, A], R]
    present: Callable[[A, R], object]
    example: Mapping[str, object] | Sequence[Mapping[str, object]]
    methods: tuple[str, ...] = ("POST",)
    max_body_bytes: int = 0
    """Largest body of a call that takes more than the server's usual ``max_body_bytes``."""


class Dialect(Protocol):
    """How a generation of the API writes its answers."""

    def success(self, result: object, stamp: Stamp) -> bytes:
        """The body of an answer."""
        ...

    def failure(self, error: ServiceError, stamp: Stamp) -> bytes:
        """The body that tells of an error."""
        ...

    def code(self, error: ServiceError) -> int:
        """The error's number in that body."""
        ...


class Dispatcher:
    """Runs calls in worker threads, at most ``threads`` at once with ``backlog`` waiting for one."""

    def __init__(
        self,
        service: UseCases,
        *,
        threads: int,
        backlog: int,
        max_body_bytes: int,
        slow_seconds: float = 0.0,
        request_seconds: float = REQUEST_SECONDS,
    ) -> None:
        """A request is given up after ``request_seconds``, its body's arrival included.

        A call that takes longer than ``slow_seconds`` is logged with what it spent where; 0 logs none.
        """
        self._service = service
        self._threads = threads
        self._limiter = anyio.CapacityLimiter(threads)
        self._inside = 0
        """Requests that have a thread or wait for one. The limiter would tell those that wait only after a while."""
        self._backlog = backlog
        self._max_body_bytes = max_body_bytes
        self.room = body.Room(MOST_HELD_BYTES)
        self._slow_seconds = slow_seconds
        self._request_seconds = request_seconds
        self._left_behind = LeftBehind()
        self.endpoints: dict[tuple[str, str], Endpoint] = {}
        """By method and path: what answers a call."""

    async def answer(
        self, request: Request, call: Call[Any, Any], dialect: Dialect, identify: Identify = caller.identify
    ) -> Response:
        """Answer a request. Always HTTP 200: clients take any other status for a broken connection."""
        stamp = Stamp.now()
        with tracing.call(call.name, request.headers, stamp.log_id) as span:
            return await self._answered(request, call, dialect, identify, stamp, span)

    async def _answered(
        self,
        request: Request,
        call: Call[Any, Any],
        dialect: Dialect,
        identify: Identify,
        stamp: Stamp,
        span: tracing.Call,
    ) -> Response:
        started = time.perf_counter()
        error: ServiceError | None = None
        spent: metrics.Spent = []
        operation = Operation("", call.name, log_id=stamp.log_id)
        try:
            most = max(self._max_body_bytes, call.max_body_bytes)
            with self.limited(), contextlib.ExitStack() as held:
                head = Head.of(request)
                try:
                    known = await self._check_early(request, head, identify)
                except ServiceError:
                    await body.discard(request, most, self._request_seconds)
                    raise
                hold = held.enter_context(self.room.share(most, known=known))
                try:
                    received = await self._receive(request, most, hold)
                finally:
                    spent.append(("body", time.perf_counter() - started))
                if self._is_too_much(request):  # others were quicker to send theirs
                    self._refuse()
                work = partial(self._answer, call, dialect, identify, head, received, stamp, spent, operation)
                in_thread = self._on_picture if received.size >= LEAST_PICTURE_BYTES else self.in_thread
                content = await in_thread(partial(_unless_left, hung_up(request), work))
        except (ClientDisconnect, Abandoned):
            return Response(status_code=400)  # nobody is there to read it
        except ServiceError as expected:
            # Its traceback leads to this frame, which refers to it: a circle around the whole body.
            error = expected.with_traceback(None)
            content = dialect.failure(expected, stamp)
        except Exception:
            error = ServiceError("unexpected")
            logger.exception("unexpected failure of a call", extra={"call": call.name, "log_id": stamp.log_id})
            content = dialect.failure(error, stamp)
        seconds = time.perf_counter() - started
        code = 0 if error is None else dialect.code(error)
        metrics.observe_call(metrics.call_label(call.path), code, seconds, failed=error is not None)
        span.ended(code, failed=error is not None)
        self._log(call, stamp, error, seconds)
        self._log_slow(call, stamp, seconds, spent)
        if operation.app_pk is not None:  # else nobody is known to have asked
            self._service.audit.note(operation, OK if error is None else str(code))
        headers = {LOG_ID_HEADER: str(stamp.log_id), **closing(error)}
        return Response(content, media_type=JSON, headers=headers)

    async def _check_early(self, request: Request, head: Head, identify: Identify) -> bool:
        """Authenticate the sender of a large body before the body is read; whether that was done.

        Raises what the request would be refused with. Where no thread is free, the body is read first (``False``),
        since waiting for a thread would use up the time that the client has to send it.
        """
        if self._is_too_much(request):
            self._refuse()
        least = EARLY_BYTES if self.room.ample else EARLY_BYTES_IF_SCARCE
        large = body.announced_bytes(request) >= least or "transfer-encoding" in request.headers
        if not large or head.token is None or identify is not caller.identify:
            return False
        if self._inside + self._left_behind.count >= self._threads:
            return False
        await self.in_thread(partial(caller.by_token, self._service, head.token))
        return True

    def _is_too_much(self, request: Request) -> bool:
        """Whether the request brings a picture and the queue for permits is full."""
        return self._service.admission.crowded and body.announced_bytes(request) >= LEAST_PICTURE_BYTES

    @staticmethod
    def _refuse() -> NoReturn:
        metrics.REFUSED["arrival"].inc()
        raise Overloaded

    @contextlib.contextmanager
    def limited(self) -> Iterator[None]:
        """Serve a request within the block. Raises ``DeadlineExceeded`` at the deadline, wherever the block stands."""
        try:
            with anyio.move_on_after(self._request_seconds) as scope, deadline.within(self._request_seconds):
                yield
        except asyncio.CancelledError:  # not by our scope: the server stops, and has waited for as long as it may
            raise DeadlineExceeded("the server stops") from None
        if scope.cancelled_caught:
            raise DeadlineExceeded("the request took too long")

    async def in_thread(self, work: Callable[[], R]) -> R:
        """Run blocking work. Raises ``Overloaded``, and what the work raises.

        A request that is cancelled is answered at once. Its work goes on until it notices that. Meanwhile it occupies a
        place in the backlog, so that the number of threads stays bounded.
        """
        left = self._left_behind.count
        waiting = max(0, self._inside + left - self._threads)
        if waiting + left >= self._backlog:
            metrics.REFUSED["thread"].inc()
            raise Overloaded
        self._inside += 1
        try:
            with self._left_behind.watching(work) as watched:
                work_done = partial(Outcome[R], watched)
                try:
                    outcome = await anyio.to_thread.run_sync(work_done, limiter=self._limiter, abandon_on_cancel=True)
                except RuntimeError as error:  # what the work raises is in its outcome
                    raise ServiceUnavailable(f"no thread can be had: {error}") from None
            return outcome.take()
        finally:
            self._inside -= 1

    async def _receive(self, request: Request, max_body_bytes: int, hold: Hold) -> Received:
        received = await body.receive(request, max_body_bytes, hold)
        if request.method == "GET" and not received.too_large:
            if _says_nothing(received):
                return Received(query=request.scope["query_string"])
            received.query = request.scope["query_string"]
        left = _left(request)
        # Where nobody tells, asking makes the server read on behind a large body; else it would notice no hanging up.
        if left() if left is not None else await request.is_disconnected():
            raise ClientDisconnect
        return received

    async def _on_picture(self, work: Callable[[], R]) -> R:
        with self._service.admission.coming():
            return await self.in_thread(work)

    def _answer(
        self,
        call: Call[Any, Any],
        dialect: Dialect,
        identify: Identify,
        head: Head,
        received: Received,
        stamp: Stamp,
        spent: metrics.Spent,
        operation: Operation,
    ) -> bytes:
        """Runs in a worker thread. Notes in ``operation`` the app and whom it asks about as soon as they are known."""
        with metrics.RUNNING.track_inprogress(), metrics.spent_in_stages(spent):
            app, parameters = identify(self._service, head, received)
            operation.actor, operation.app_pk = f"app:{app.app_id}", app.pk
            permissions.check(app, call.permission)
            with self._service.quotas.admitted(app, call.path):
                if parameters is None:
                    parameters = body.decode(received)
                operation.groups, operation.users = subject.groups(parameters), subject.users(parameters)
                arguments = call.parse(parameters)
                with auditing.operation(operation):
                    outcome = call.run(self._service, app, arguments)
                return dialect.success(call.present(arguments, outcome), stamp)

    @staticmethod
    def _log(call: Call[Any, Any], stamp: Stamp, error: ServiceError | None, seconds: float) -> None:
        logger.info(
            "call",
            extra={
                "call": call.name,
                "log_id": stamp.log_id,
                "outcome": "success" if error is None else type(error).__name__,
                "milliseconds": round(seconds * 1000, 1),
            },
        )

    def _log_slow(self, call: Call[Any, Any], stamp: Stamp, seconds: float, spent: metrics.Spent) -> None:
        """Log where a slow call's time went. ``body`` is the time until its body had arrived.

        Time that no stage accounts for was spent in Python, or waiting for a thread or for the index to catch up with
        the change log. Stages that two threads ran at the same time may add up to more than the call took.
        """
        if not 0 < self._slow_seconds < seconds:
            return
        metrics.SLOW.inc()
        stages: dict[str, float] = {}
        for stage, took in tuple(spent):
            stages[stage] = stages.get(stage, 0.0) + took
        told: dict[str, object] = {f"{stage}_ms": round(took * 1000, 1) for stage, took in stages.items()}
        told = {"call": call.name, "log_id": stamp.log_id, "milliseconds": round(seconds * 1000, 1), **told}
        logger.warning("slow call", extra=told)


def _says_nothing(received: Received) -> bool:
    """Whether a body is empty, or what some programs send with every request."""
    return received.size == 0 or (received.size <= _LONGEST_NOTHING and received.content.strip() in _NOTHING)


def closing(error: ServiceError | None) -> Mapping[str, str]:
    """Extra headers of an answer. After a request that was given up the connection closes: its body may be unread."""
    return {"Connection": "close"} if isinstance(error, DeadlineExceeded) else {}


def _unless_left(left: Callable[[], bool], work: Callable[[], R]) -> R:
    """Run ``work`` in a worker thread, in which ``caller_left`` tells whether the client has ``left``."""
    caller_left.set(left)
    return work()


def hung_up(request: Request) -> Callable[[], bool]:
    """A function that tells, in any thread, whether the client has hung up. To be made on the event loop."""
    left = _left(request)
    return left or partial(anyio.from_thread.run, request.is_disconnected, token=current_token())


def _left(request: Request) -> Callable[[], bool] | None:
    """The same as our server's protocol offers it; ``None`` under another server."""
    left: Callable[[], bool] | None = request.scope.get("extensions", {}).get(DISCONNECTED)
    return left


def router(
    calls: Sequence[Call[Any, Any]],
    dialect: Dialect,
    dispatcher: Dispatcher,
    tag: str,
    identify: Identify = caller.identify,
) -> APIRouter:
    """Routes for the calls of one generation; ``identify`` tells who is asking."""
    routes = APIRouter(tags=[tag])
    for call, method in ((each, method) for each in calls for method in each.methods):
        endpoint = dispatcher.endpoints[method, call.path] = _endpoint(call, dialect, dispatcher, identify)
        routes.add_api_route(
            call.path,
            endpoint,
            methods=[method],
            name=call.name,
            operation_id=f"{tag}_{call.name}" + ("" if method == "POST" else f"_{method.lower()}"),
            summary=call.summary,
            response_class=Response,
            responses=openapi.answers(_200="The answer, errors included."),
            openapi_extra=openapi.operation(method, caller.TOKEN, call.example, forms=tag == FORMS),
        )
    return routes


def _endpoint(call: Call[Any, Any], dialect: Dialect, dispatcher: Dispatcher, identify: Identify) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        return await dispatcher.answer(request, call, dialect, identify)

    return endpoint
