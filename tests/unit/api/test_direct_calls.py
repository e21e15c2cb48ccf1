"""Requests for calls go straight to them, everything else the framework's way."""

from __future__ import annotations

from collections.abc import Mapping

import anyio
import anyio.lowlevel
import orjson
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.application import DirectCalls
from service.api.calls import Endpoint

CALL = "/rest/2.0/face/v3/detect"


async def call(request: Request) -> Response:
    """Tells what it was sent."""
    return PlainTextResponse(b"call " + await request.body())


async def rest(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "rest"})


async def broken(request: Request) -> Response:
    """Fails in a way that nobody foresaw."""
    raise RuntimeError(request.url.path)


async def cookies(scope: Scope, _receive: Receive, send: Send) -> None:
    """Tells which cookies the framework is shown."""
    await send({"type": "cookies", "body": b"|".join(value for name, value in scope["headers"] if name == b"cookie")})


def answered(scope: Mapping[str, object] | None = None, endpoint: Endpoint = call, usual: ASGIApp = rest) -> bytes:
    """What comes of a request: the body of the call's answer, or ``rest``."""
    sent: list[Message] = []

    async def receive() -> Message:
        await anyio.lowlevel.checkpoint()
        return {"type": "http.request", "body": b"picture", "more_body": False}

    async def send(message: Message) -> None:
        await anyio.lowlevel.checkpoint()
        sent.append(message)

    whole = {"type": "http", "method": "POST", "path": CALL, "headers": [], "query_string": b"", **(scope or {})}
    anyio.run(DirectCalls(usual, {("POST", CALL): endpoint}), whole, receive, send)
    return b"".join(message.get("body", message["type"].encode() * (message["type"] == "rest")) for message in sent)


def test_a_call_is_answered_by_its_endpoint() -> None:
    assert answered() == b"call picture"


def test_a_failure_that_nobody_foresaw_is_answered_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    answer = orjson.loads(answered(endpoint=broken))
    assert answer["error_code"] == 1
    assert CALL in caplog.text
    assert "RuntimeError" in caplog.text


@pytest.mark.parametrize(
    "scope",
    [
        {"method": "GET"},
        {"method": "OPTIONS"},
        {"path": f"{CALL}/"},
        {"path": f"/face{CALL}", "root_path": "/face"},
        {"path": "/metrics"},
        {"type": "websocket"},
        {"type": "lifespan"},
    ],
    ids=str,
)
def test_everything_else_goes_the_usual_way(scope: dict[str, object]) -> None:
    assert answered(scope) == b"rest"


@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_the_framework_is_shown_no_quoted_cookie(kind: str) -> None:
    headers = [(b"cookie", b'a="\\\\"; b=c'), (b"x", b'"'), (b"cookie", b"d=e")]
    assert answered({"type": kind, "path": "/healthz", "headers": headers}, usual=cookies) == b"a=\\\\; b=c|d=e"
    assert headers[0][1] == b'a="\\\\"; b=c'
