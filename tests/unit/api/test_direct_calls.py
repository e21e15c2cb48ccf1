"""Requests for calls go straight to them, everything else the framework's way."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from service.api.application import DirectCalls

CALL = "/rest/2.0/face/v3/detect"


async def call(request: Request) -> Response:
    """Tells what it was sent."""
    return PlainTextResponse(b"call " + await request.body())


async def rest(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "rest"})


def answered(**scope: object) -> bytes:
    """What comes of a request: the body of the call's answer, or ``rest``."""
    sent: list[Message] = []

    async def receive() -> Message:
        await anyio.lowlevel.checkpoint()
        return {"type": "http.request", "body": b"picture", "more_body": False}

    async def send(message: Message) -> None:
        await anyio.lowlevel.checkpoint()
        sent.append(message)

    whole = {"type": "http", "method": "POST", "path": CALL, "headers": [], "query_string": b"", **scope}
    anyio.run(DirectCalls(rest, {("POST", CALL): call}), whole, receive, send)
    return b"".join(message.get("body", message["type"].encode() * (message["type"] == "rest")) for message in sent)


def test_a_call_is_answered_by_its_endpoint() -> None:
    assert answered() == b"call picture"


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
    assert answered(**scope) == b"rest"
