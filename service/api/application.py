"""The ASGI application: every route, the health endpoints, and answers for what has no route."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Mapping
from functools import partial

import anyio.to_thread
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service import __version__
from service.api import capture_keys, editing, feedback, metrics, openapi
from service.api.calls import JSON, LOG_ID_HEADER, REQUEST_SECONDS, Dispatcher, Endpoint
from service.api.documented import with_answers
from service.api.envelope import Stamp, dump
from service.api.linkface import routes as linkface_routes
from service.api.oauth import routes as oauth_routes
from service.api.ports import Check, Readiness, UseCases
from service.api.v1 import routes as v1_routes
from service.api.v2 import routes as v2_routes
from service.api.v2.responses import Plain
from service.api.v3 import private, scene
from service.api.v3 import routes as v3_routes
from service.api.v3.responses import Envelope
from service.api.v4 import routes as v4_routes
from service.api.v4.codes import CODES as V4_CODES
from service.errors import ServiceError, UnknownCall

DEFAULT_THREADS = 64
BACKLOG = 256
"""Requests that may wait for a thread before the next is answered "busy"."""
DEFAULT_MAX_BODY_BYTES = 10 * 2**20
DEFAULT_MAX_VIDEO_BYTES = 20 * 2**20
STOPPING = Readiness(ready=False, checks=(Check("stopping", ok=False, detail="the server stops"),))

logger = logging.getLogger(__name__)


class DirectCalls:
    """ASGI middleware that sends a request straight to its call when the path matches exactly.

    The framework would take 0.3 ms to match routes one by one and to resolve dependencies that no call has, and what
    its layers do for a call :class:`service.api.calls.Dispatcher` has done already. All other requests, and calls under
    a mounted path, go through the framework.
    """

    def __init__(self, app: ASGIApp, endpoints: Mapping[tuple[str, str], Endpoint]) -> None:
        self._app = app
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, as ASGI has it."""
        endpoint = self._endpoints.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if endpoint is None:
            await self._app(_with_plain_cookies(scope), receive, send)
            return
        try:
            response = await endpoint(Request(scope, receive, send))
        except Exception:
            logger.exception("unexpected failure at %s", scope["path"])
            response = _failure(ServiceError("unexpected"))
        await response(scope, receive, send)


def _with_plain_cookies(scope: Scope) -> Scope:
    """The same request with the quotation marks taken out of its cookies; no cookie of ours has any.

    The framework parses the cookies of every request on the event loop and unquotes those in quotation marks. Until
    CPython fixed CVE-2024-7592, that took time quadratic in their length: seconds for 60 KB.
    """
    headers: list[tuple[bytes, bytes]] = scope.get("headers", [])
    if not any(name == b"cookie" and b'"' in value for name, value in headers):
        return scope
    plain = [(name, value.replace(b'"', b"") if name == b"cookie" else value) for name, value in headers]
    return {**scope, "headers": plain}


def build_api(
    service: UseCases,
    *,
    threads: int = DEFAULT_THREADS,
    max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
    max_video_bytes: int = DEFAULT_MAX_VIDEO_BYTES,
    private_alias: bool = False,
    slow_seconds: float = 0.0,
    request_seconds: float = REQUEST_SECONDS,
    metrics_access: metrics.Exposure = "loopback",
) -> FastAPI:
    """Put the routes in front of the use cases.

    ``threads``: how many requests are worked on at once. ``private_alias``: whether to add the routes that ask for no
    token. ``slow_seconds``: calls that take longer are logged with their stages (0: none are). ``request_seconds``:
    requests that take longer are given up. ``metrics_access``: who may read ``/metrics``.
    """
    api = FastAPIOffline(  # its scripts come from this server, not from a public network
        title="aipface-server",
        version=__version__,
        summary="A self-hosted face recognition server that answers the Baidu AI face API.",
        redoc_url=None,
        redirect_slashes=False,
        # The framework's own spans would hold tokens; service.tracing makes others.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    dispatcher = Dispatcher(
        service,
        threads=threads,
        backlog=BACKLOG,
        max_body_bytes=max_body_bytes,
        slow_seconds=slow_seconds,
        request_seconds=request_seconds,
    )
    stack = api.build_middleware_stack
    api.build_middleware_stack = lambda: DirectCalls(stack(), dispatcher.endpoints)  # type: ignore[method-assign]
    api.include_router(v3_routes.router(dispatcher))
    api.include_router(v4_routes.router(dispatcher))
    api.include_router(v2_routes.router(dispatcher))
    api.include_router(v1_routes.router(dispatcher, max_video_bytes))
    api.include_router(scene.router(dispatcher))
    api.include_router(editing.router(dispatcher, Envelope()))
    api.include_router(feedback.router(dispatcher, Plain()))
    api.include_router(capture_keys.router(dispatcher, capture_keys.KeySet(V4_CODES)))
    if private_alias:
        logger.warning("private_alias is on: whoever reaches this port may use every app without a token")
        api.include_router(private.router(dispatcher))
    api.include_router(oauth_routes.router(service, dispatcher))
    api.include_router(linkface_routes.router(service, dispatcher, max_body_bytes))
    _add_health(api, service)
    metrics.add(api, service, metrics_access, partial(_failure, UnknownCall("no call lives at this path")))
    for status in (404, 405):
        api.add_exception_handler(status, _no_such_call)
    api.add_exception_handler(Exception, _unexpected)
    api.openapi = with_answers(api.openapi)  # type: ignore[method-assign] # how FastAPI wants it
    return api


def _add_health(api: FastAPI, service: UseCases) -> None:
    """``/healthz`` says that the process answers, ``/readyz`` that it can do its work, or why not.

    They run in threads of their own, because a service whose threads are all busy is still healthy.
    """

    async def healthz() -> Response:
        return Response(dump({"status": "ok"}), media_type=JSON)

    async def readyz() -> Response:
        try:
            if getattr(api.state, "draining", False):  # set by who stops the server
                readiness = STOPPING
            else:
                readiness = await anyio.to_thread.run_sync(service.readiness, abandon_on_cancel=True)
        except asyncio.CancelledError:  # it has stopped, and does not wait for a database that stands still
            readiness = STOPPING
        except Exception:
            logger.exception("the state of the service cannot be told")
            readiness = Readiness(ready=False, checks=(Check("readiness", ok=False, detail="failed; see the log"),))
        return Response(
            dump(dataclasses.asdict(readiness)), status_code=200 if readiness.ready else 503, media_type=JSON
        )

    for path, endpoint, summary in (
        ("/healthz", healthz, "Whether the process answers."),
        ("/readyz", readyz, "Whether the service can do its work, or why not."),
    ):
        statuses = openapi.answers(_200="Yes.") if path == "/healthz" else openapi.answers(_200="Yes.", _503="Not now.")
        api.add_api_route(
            path,
            endpoint,
            methods=["GET"],
            summary=summary,
            tags=["health"],
            response_class=Response,
            responses=statuses,
        )
        api.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False, response_class=Response)


async def _no_such_call(_request: Request, _error: Exception) -> Response:
    """Answer an unknown path or method with HTTP 200: clients take any other status for a broken connection."""
    return _failure(UnknownCall("no call lives at this path"))


async def _unexpected(_request: Request, error: Exception) -> Response:
    """Answer an exception that no route caught. The framework raises it again afterwards, which logs it once."""
    del error
    return _failure(ServiceError("unexpected"))


def _failure(error: ServiceError) -> Response:
    stamp = Stamp.now()
    content = Envelope().failure(error, stamp)
    return Response(content, media_type=JSON, headers={LOG_ID_HEADER: str(stamp.log_id)})
