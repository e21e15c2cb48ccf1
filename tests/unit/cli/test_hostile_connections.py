"""Clients that never end a head and never read an answer, over real sockets and by both event loops."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import pytest
import uvicorn
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from service.cli.connections import HEADER_BYTES, Patience, bounded_protocol
from tests.fixtures.lived import patience

Loop: TypeAlias = 'Literal["asyncio", "uvloop"]'

LONG = 600
"""Seconds that no test takes."""
WAIT_SECONDS = 30.0
ANSWER = bytes(2**22)
KERNEL_BYTES = 2**16
"""Of the system's buffers, that what is not read soon stands in ours."""
FIELDS = b"X: " + b"y" * 1017 + b"\r\n"
"""1 KiB of a head."""


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers by the path: in pieces, whole, or with how much it was sent."""
    if scope["type"] != "http":
        return
    request = Request(scope, receive)
    response: Response
    if request.url.path == "/pieces":
        response = StreamingResponse(ANSWER[at : at + 2**16] for at in range(0, len(ANSWER), 2**16))
    elif request.url.path == "/whole":
        response = Response(ANSWER)
    else:
        response = PlainTextResponse(str(len(await request.body())))
    await response(scope, receive, send)


@dataclass(frozen=True)
class Line:
    """A connection, and the server at its other end."""

    client: socket.socket
    server: uvicorn.Server

    def hung_up(self) -> bool:
        """Whether the server gives it up; the client does not see that before what it has not read."""
        return any(not self.server.server_state.connections for _ in patience(WAIT_SECONDS))


@contextlib.contextmanager
def connected(loop: Loop, patient: Patience, idle_seconds: int) -> Iterator[Line]:
    """A line to a server of its own; little of what is sent can hide in the system's buffers."""
    with socket.socket() as listener, socket.socket() as client:
        for each in (listener, client):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BYTES)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        config = uvicorn.Config(
            application,
            loop=loop,
            http=bounded_protocol(patient),
            log_config=None,
            ws="none",
            lifespan="off",
            timeout_keep_alive=idle_seconds,
            timeout_graceful_shutdown=1,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            client.settimeout(WAIT_SECONDS)
            client.connect(listener.getsockname())
            yield Line(client, server)
        finally:
            client.close()
            server.should_exit = True
            thread.join()


def head(path: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *fields, "", ""]).encode()


@pytest.fixture(params=["asyncio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Loop:
    """Both that the server may run on."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    name: Loop = request.param
    return name


@pytest.mark.parametrize("pipelined", [1, 3])
def test_a_head_has_its_limit_while_an_earlier_answer_is_not_read(loop: Loop, pipelined: int) -> None:
    with connected(loop, Patience(LONG, LONG), LONG) as line:
        line.client.sendall(head("/pieces") * pipelined + b"GET / HTTP/1.1\r\n")
        with pytest.raises(ConnectionError):
            line.client.sendall(FIELDS * 4096)


@pytest.mark.parametrize("asked", [head("/pieces") * 8, head("/whole", "Connection: close")], ids=["8", "the last"])
def test_who_does_not_read_is_hung_up_on(loop: Loop, asked: bytes) -> None:
    with connected(loop, Patience(LONG, LONG), 1) as line:
        line.client.sendall(asked)
        assert line.client.recv(1)
        assert line.hung_up()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("fields", [b"", b"Connection: close\r\n"])
def test_who_reads_slowly_gets_everything(loop: Loop, fields: bytes) -> None:
    with connected(loop, Patience(LONG, LONG), 1) as line:
        line.client.sendall(b"GET /whole HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n")
        line.client.settimeout(WAIT_SECONDS)
        received = 0
        while received < len(ANSWER):
            time.sleep(0.01)
            content = line.client.recv(2**14)
            assert content, received
            received += len(content)


def test_a_late_head_ends_the_connection_although_an_answer_is_not_read(loop: Loop) -> None:
    with connected(loop, Patience(0.5, LONG), LONG) as line:
        line.client.sendall(head("/whole"))
        assert line.client.recv(1)
        line.client.sendall(b"GET / HTTP/1.1\r\n")
        assert line.hung_up()


def test_a_head_that_is_too_large_is_told_so_when_nothing_is_being_answered(loop: Loop) -> None:
    with connected(loop, Patience(LONG, LONG), LONG) as line:
        line.client.sendall(head("/") + b"GET / HTTP/1.1\r\n")
        assert line.client.recv(4096).startswith(b"HTTP/1.1 200 ")
        line.client.sendall(FIELDS * 60)
        line.client.sendall(FIELDS * 10)
        assert line.client.recv(4096).startswith(b"HTTP/1.1 431 ")


def test_a_wish_for_another_protocol_takes_no_body(loop: Loop) -> None:
    wish = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
    body = b"\r\nUpgrade: stays\r\n"
    with connected(loop, Patience(LONG, LONG), LONG) as line:
        for _ in range(2):
            line.client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 18\r\n" + wish + b"\r\n" + body)
            assert line.client.recv(2**16).endswith(b"\r\n\r\n18")


def test_bodies_count_to_no_head(loop: Loop) -> None:
    body = bytes(3 * HEADER_BYTES)
    with connected(loop, Patience(LONG, LONG), LONG) as line:
        for _ in range(3):
            line.client.sendall(head("/", f"Content-Length: {len(body)}") + body)
            answer = line.client.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert answer.endswith(str(len(body)).encode())
