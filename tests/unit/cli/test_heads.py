"""What is taken for a request, however its bytes are cut: a wish for another protocol and trailers hide none."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import pytest
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from service.api.extensions import UNREAD_BODY
from service.cli.connections import HEADER_BYTES, BoundedProtocol, Patience, bounded_protocol

WISH = b"Connection: Upgrade, HTTP2-Settings\r\nUPGRADE: h2c\r\nEmpty:\r\nHTTP2-Settings: AAE\r\n"
"""As Java's ``java.net.http`` has it, in other letters and with an empty value."""
BODY = b"a\r\nUpgrade: stays\r\n\r\nGET /hidden HTTP/1.1\r\n\r\n"
CHUNKS = b"%x;a=b\r\n%s\r\n0\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nX: y\r\n\r\n" % (len(BODY), BODY)
LINE = b"POST /%d HTTP/1.1\r\nHost: x\r\n"
WHOLE = LINE % 1 + WISH + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
CHUNKED = LINE % 2 + WISH + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS
BODILESS = b"GET /3 HTTP/1.1\r\n" + WISH + b"\r\n"
PLAIN = LINE % 4 + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
PLAIN_CHUNKED = LINE % 5 + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS


class Heard(NamedTuple):
    """A request as the application has it."""

    path: str
    names: tuple[bytes, ...]
    body: bytes | None
    """Nothing where it did not come to its end."""


class Wire(asyncio.Transport):
    """What is answered, and how the connection ended."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.sent = b""
        self.ended = ""

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.sent += data

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.ended != ""

    def close(self) -> None:
        self.ended = self.ended or "closed"

    def abort(self) -> None:
        self.ended = "aborted"

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Line:
    """A connection in memory, with the application behind it."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.wire = Wire()
        config = uvicorn.Config(self.application, interface="asgi3", log_config=None, ws="none", proxy_headers=False)
        self.state = ServerState()
        kind = bounded_protocol(Patience(600, 600))
        self.protocol: BoundedProtocol = kind(config, self.state, {}, asyncio.get_running_loop())
        self.protocol.connection_made(self.wire)

    async def application(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            body = await request.body()
        except ClientDisconnect:
            body = None
            scope["extensions"][UNREAD_BODY]()
        self.heard.append(Heard(request.url.path, tuple(name for name, _ in scope["headers"]), body))
        await PlainTextResponse("heard")(scope, receive, send)

    async def feed(self, *pieces: bytes) -> None:
        """Each piece in a time of its own, with the answers that it leads to."""
        for piece in pieces:
            self.protocol.data_received(piece)
            await self.turns()

    async def turns(self) -> None:
        for _ in range(8):
            await asyncio.sleep(0)

    async def hang_up(self) -> None:
        self.protocol.connection_lost(None)
        await self.turns()
        assert not self.state.tasks


def heard(*pieces: bytes) -> tuple[list[Heard], bytes, str]:
    """The requests, the answers and the end of a connection that brings this."""

    async def told() -> tuple[list[Heard], bytes, str]:
        line = Line()
        await line.feed(*pieces)
        ended = line.wire.ended
        await line.hang_up()
        return line.heard, line.wire.sent, ended

    return asyncio.run(told())


async def _same(whole: bytes, cuts: Iterable[Sequence[int]], wanted: list[Heard]) -> None:
    for places in cuts:
        line = Line()
        await line.feed(*(whole[a:b] for a, b in zip((0, *places), (*places, len(whole)), strict=True)))
        assert line.heard == wanted, places
        assert line.wire.sent.count(b"HTTP/1.1 200 OK") == line.wire.sent.count(b"HTTP/1.1") == len(wanted), places
        assert line.wire.ended == "", places
        await line.hang_up()


REQUESTS = {
    "one": WHOLE,
    "chunks": CHUNKED,
    "no body": BODILESS * 2,
    "two": WHOLE + CHUNKED,
    "behind one without": PLAIN + WHOLE + PLAIN_CHUNKED,
    "before one without": CHUNKED + PLAIN + BODILESS + PLAIN_CHUNKED,
}
NAMES = (b"host", b"connection", b"empty", b"http2-settings")
WANTED = {
    b"/1": Heard("/1", (*NAMES, b"content-length"), BODY),
    b"/2": Heard("/2", (*NAMES, b"transfer-encoding"), BODY),
    b"/3": Heard("/3", NAMES[1:], b""),
    b"/4": Heard("/4", (b"host", b"content-length"), BODY),
    b"/5": Heard("/5", (b"host", b"transfer-encoding"), BODY),
}


def _wanted(requests: bytes) -> list[Heard]:
    found = sorted((at, each) for path, each in WANTED.items() for at in _places(requests, b" " + path + b" HTTP"))
    return [each for _, each in found]


def _places(text: bytes, part: bytes) -> list[int]:
    return [at for at in range(len(text)) if text.startswith(part, at)]


@pytest.mark.parametrize("requests", REQUESTS.values(), ids=REQUESTS)
def test_however_requests_are_cut_they_are_the_same(requests: bytes) -> None:
    every = range(1, len(requests))
    cuts: list[Sequence[int]] = [(), tuple(every), *((at,) for at in every), *pairwise(every)]
    asyncio.run(_same(requests, cuts, _wanted(requests)))


def test_a_wish_is_no_more_than_a_field_less_when_the_connection_ends_with_it() -> None:
    asked = LINE % 1 + b"Connection: close, Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n"
    for pieces in ((asked + b"ab",), (asked, b"ab")):
        requests, sent, ended = heard(*pieces)
        assert requests == [Heard("/1", (b"host", b"connection", b"content-length"), b"ab")]
        assert b"\r\nconnection: close\r\n" in sent
        assert ended == "closed"


@pytest.mark.parametrize(
    "head",
    [
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        LINE.replace(b"1.1", b"1.0") % 1 + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        LINE.replace(b"1.1", b"1.0") % 1 + WISH + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        LINE % 1 + WISH + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
    ids=["tunnel", "tunnel with a wish", "chunks of 1.0", "of 1.0 with a wish", "two lengths", "HTTP/2"],
)
def test_nothing_is_believed_behind_a_head_that_is_refused(head: bytes) -> None:
    behind = PLAIN
    for pieces in ((head + behind,), (head, behind), [bytes([each]) for each in head + behind]):
        requests, sent, ended = heard(*pieces)
        assert requests == []
        assert sent.startswith(b"HTTP/1.1 400 ")
        assert sent.count(b"HTTP/1.1") == 1
        assert ended == "closed"


def test_fields_behind_a_body_are_none_of_the_head() -> None:
    trailers = b"X-Forwarded-For: 1.2.3.4\r\nAuthorization: a\r\n"
    asked = LINE % 1 + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n" + trailers + b"\r\n"
    wanted = [Heard("/1", (b"host", b"transfer-encoding"), b"abc")]
    assert heard(asked)[0] == wanted
    assert heard(*(bytes([each]) for each in asked))[0] == wanted


@pytest.mark.parametrize(
    ("begins", "piece"),
    [(b"0\r\nX: ", b"y" * 4096), (b"0\r\n", b"a:b\r\n" * 800), (b"1;", b"y" * 4096), (b"", b"0" * 4096)],
    ids=["a long field", "many", "an extension", "zeros of a size"],
)
@pytest.mark.parametrize("body", [b"", b"%x\r\n%s\r\n" % (2**20, bytes(2**20))], ids=["no body", "behind a body"])
def test_what_is_around_a_body_has_a_limit(body: bytes, begins: bytes, piece: bytes) -> None:
    async def told() -> None:
        line = Line()
        await line.feed(LINE % 1 + b"Transfer-Encoding: chunked\r\n\r\n", body, begins)
        taken = 0
        while not line.wire.ended:
            await line.feed(piece)
            taken += len(piece)
            assert taken <= HEADER_BYTES + len(piece)
        assert line.wire.sent.startswith(b"HTTP/1.1 4")
        await line.feed(b"\r\n\r\n", PLAIN)  # as it may come over TLS
        await line.hang_up()
        assert line.heard in ([], [Heard("/1", (b"host", b"transfer-encoding"), None)])

    asyncio.run(told())


def test_a_large_head_takes_its_body_none_of_that() -> None:
    head = LINE % 1 + b"Transfer-Encoding: chunked\r\nX: "
    head += b"y" * (HEADER_BYTES - len(head) - 4) + b"\r\n\r\n"
    requests, _, ended = heard(head[:-1], head[-1:], b"1;" + b"y" * 4096 + b"\r\n", b"a\r\n0\r\n\r\n")
    assert requests == [Heard("/1", (b"host", b"transfer-encoding", b"x"), b"a")]
    assert ended == ""


def test_honest_chunks_may_be_small() -> None:
    body = b"y" * 3 * HEADER_BYTES
    small = b"".join(b"1\r\n%c\r\n" % each for each in body) + b"0\r\n\r\n"
    head = LINE % 1 + b"Transfer-Encoding: chunked\r\n\r\n"
    requests, _, ended = heard(head, *(small[at : at + 1000] for at in range(0, len(small), 1000)))
    assert requests == [Heard("/1", (b"host", b"transfer-encoding"), body)]
    assert ended == ""


@pytest.mark.parametrize("asked", [PLAIN, PLAIN[:-1], PLAIN + WHOLE * 3], ids=["answered", "half", "several"])
def test_a_lost_connection_leaves_nothing_to_the_collector(asked: bytes) -> None:
    async def told() -> list[Callable[[], object]]:
        line = Line()
        line.protocol.data_received(asked)
        await line.turns()
        kept: list[Callable[[], object]] = [weakref.ref(line.protocol), weakref.ref(line.protocol.cycle)]
        await line.hang_up()
        del line.protocol  # which knows the application, and so the line
        return kept

    gc.collect()
    gc.disable()
    try:
        assert [each() for each in asyncio.run(told())] == [None, None]
    finally:
        gc.enable()
