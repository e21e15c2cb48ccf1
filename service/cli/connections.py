"""uvicorn's protocol with deadlines, so that slow or silent clients cannot hold connections."""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from asyncio.events import TimerHandle
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, TypeAlias, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.api.extensions import DISCONNECTED, UNREAD_BODY
from service.cli.heads import NOWHERE, Head, MalformedRequest, request_parser

HEADER_BYTES = 65_536
"""Most bytes of a request's line and header fields; the parser itself keeps whatever comes."""

WRAPPING = 16
"""Bytes around a body that each of its own makes up for: a chunk of a single byte has five around it."""

PROGRESS_BYTES = 65_536
"""Of an answer that waits to be read; who takes less in the time of an idle connection is hung up on."""

LATE_SECONDS = 1.0
"""A machine that moved or slept, or a process that was stopped, lets every timer run late by more than this."""
Known: TypeAlias = "weakref.ref[RequestResponseCycle]"
"""A request, for those who must not keep it."""

_MALFORMED = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 30\r\n"
    b"Connection: close\r\n\r\nInvalid HTTP request received."
)
_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


@dataclass(slots=True)
class Patience:
    """What the connections of a server share; seconds."""

    header_seconds: float
    body_seconds: float
    draining: bool = False
    """The server is about to stop: answers ask their clients to come back over another connection."""


class OneWrite:
    """A transport that gathers what is written in one turn of the event loop and sends it with one call.

    An answer is written as head and body. Sent one by one, each would be a packet that wakes the client, and the kernel
    may run the client first. Since uvloop sends while it holds Python's lock, the computing threads would stand still
    meanwhile. So plain answers are sent with that lock released, and only what the socket does not take at once is left
    to the loop.

    A client that does not read has ``seconds`` for each :data:`PROGRESS_BYTES` that an answer, or the end of the
    connection, waits for. Progress can be seen over plain HTTP only. Under TLS, what was handed to the TCP connection
    counts as read; a client that reads none of it is left to the loop, which ends such a connection 30 s after it was
    closed.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._transport = transport
        self._loop = loop
        self._seconds = seconds
        self._written: list[bytes] = []
        self._deadline: TimerHandle | None = None
        self._unread = 0
        self._lost = False
        plain = transport.get_extra_info("sslcontext") is None
        self._socket = transport.get_extra_info("socket") if plain else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._written:
            self._loop.call_soon(self._send)
        self._written.append(data)

    def writelines(self, pieces: Iterable[bytes]) -> None:
        for piece in pieces:
            self.write(piece)

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self._written)) + self._transport.get_write_buffer_size()

    def close(self) -> None:
        self._send()
        self._transport.close()
        if not self._lost and self._transport.get_write_buffer_size():
            self.await_reader()

    def abort(self) -> None:
        self._written.clear()
        self._transport.abort()

    def await_reader(self) -> None:
        """Hang up in a while: even a connection that is closed stays until everything is read."""
        if self._deadline is None:
            self._unread = self._transport.get_write_buffer_size()
            self._deadline = self._loop.call_later(self._seconds, self._expire)

    @property
    def waits(self) -> bool:
        """Whether somebody has to read before more can be sent."""
        return self._deadline is not None

    def stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def lost(self) -> None:
        """The connection is gone."""
        self._lost = True
        self.stop_waiting()

    def _expire(self) -> None:
        late = _late(self._loop, self._deadline)
        self._deadline = None
        if late or self._unread - self._transport.get_write_buffer_size() >= PROGRESS_BYTES:
            self.await_reader()
        else:
            self.abort()

    def _send(self) -> None:
        written, self._written = self._written, []
        if not written or self._transport.is_closing():
            return
        data = b"".join(written)
        if self._socket is not None and not self._transport.get_write_buffer_size():
            with contextlib.suppress(OSError):  # full, or gone: the transport finds out by itself
                data = data[os.write(self._socket.fileno(), data) :]
        if data:
            self._transport.write(data)


class BoundedProtocol(HttpToolsProtocol):
    """One connection, which ends when its request does not arrive in time.

    The head of a request has ``header_seconds`` from the opening of the connection, or from its first byte on one that
    was used before; the body has ``body_seconds`` from then on. An answer that is not read has the time of an idle
    connection.
    """

    patience: ClassVar[Patience]
    transport: OneWrite  # type: ignore[assignment]
    deadline: TimerHandle | None = None
    frame_bytes = 0
    """What came of a head; behind it, what came around the body and the body does not make up for."""
    in_body = False
    wish: Head | None = None
    """A head that wished for another protocol, which nobody has to grant; it is read again without that."""
    unread: RequestResponseCycle | None = None
    """The request whose body nobody wants."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        written = OneWrite(transport, self.loop, self.timeout_keep_alive)
        super().connection_made(cast("asyncio.Transport", written))
        self.await_within(self.patience.header_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        self.stop_waiting()
        self.transport.lost()
        super().connection_lost(exc)
        # The request and its connection know each other: both would stay, and what was sent, until the collector comes.
        self.pipeline.clear()
        self.unread = self.cycle = self.scope = None  # type: ignore[assignment]

    def pause_writing(self) -> None:
        super().pause_writing()
        self.transport.await_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self.transport.stop_waiting()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():  # what comes then is no request of ours; over TLS it does come
            return
        if self.between_requests() and self.deadline is None:
            self.await_within(self.patience.header_seconds)
        self.frame_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self.parse(data)  # a head or request that becomes whole here sets it back
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self.logger.warning("Invalid HTTP request received.")
            self.end(_MALFORMED)
            return
        if self.frame_bytes > HEADER_BYTES:
            if self.in_body or self.between_requests():
                self.end(_TOO_LARGE)
            else:  # an earlier request is being answered
                self.transport.abort()

    def parse(self, data: bytes) -> None:
        """Raises ``httptools.HttpParserError``: nothing that comes from then on is to be believed.

        At a head that wishes for another protocol the parser takes it for granted: it stops right behind the head, and
        would take the body for the next request. Java's ``java.net.http`` wishes for HTTP/2 so, by default, with every
        request over plain HTTP. Another parser then gets the head without that wish, and what comes behind it.
        """
        rest = memoryview(data)
        while rest:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as stop:
                rest = rest[stop.args[0] :]
                self.parse_again()
            else:
                return

    def parse_again(self) -> None:
        """Read a head without its wish. Raises ``httptools.HttpParserError``."""
        if self.wish is None:
            raise httptools.HttpParserError("another protocol that no head wished for")
        self.parser = request_parser(self)
        self.parser.feed_data(self.wish.encoded())
        if self.wish is not None:
            raise httptools.HttpParserError("a head that is not whole when it is read again")

    def between_requests(self) -> bool:
        cycle = self.latest()
        return not self.in_body and (cycle is None or cycle.response_complete)

    def latest(self) -> RequestResponseCycle | None:
        """The request that arrived last; the attribute's declared type leaves out that there may be none."""
        return self.cycle

    def on_headers_complete(self) -> None:
        """Raises ``MalformedRequest``; the parser tells it as an error of its own."""
        head = Head(self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers)
        wish, self.wish = self.wish, None
        if wish is not None and (wish != head or self.parser.should_upgrade()):
            raise MalformedRequest("read again, a head is another one")
        if self.parser.should_upgrade():
            self.wish = head.without_upgrade()
            return
        head.check_framing()
        super().on_headers_complete()
        self.headers = NOWHERE
        cycle = self.latest()
        if cycle is not None:
            if self.patience.draining:
                cycle.keep_alive = False
            # The request's task was made and has not begun yet.
            known = weakref.ref(cycle)  # else each would keep the other, and its body, until the collector comes
            told = {DISCONNECTED: partial(_disconnected, known), UNREAD_BODY: partial(self.leave_unread, known)}
            cycle.scope["extensions"] = told  # type: ignore[typeddict-item]
        self.in_body = True
        self.frame_bytes = 0
        self.await_within(self.patience.body_seconds)

    def on_body(self, body: bytes) -> None:
        self.frame_bytes = max(0, self.frame_bytes - (1 + WRAPPING) * len(body))
        if self.unread is None or self.unread is not self.latest():
            super().on_body(body)

    def leave_unread(self, known: Known) -> None:
        """Drop what has come of this request's body, and what will."""
        cycle = known()
        if cycle is not None:
            cycle.body.clear()
            if cycle is self.latest():
                self.unread = cycle

    def on_message_complete(self) -> None:
        if self.wish is not None:  # so it says of the head alone
            return
        super().on_message_complete()
        if not self.pipeline:
            self.flow.resume_reading()  # behind a large body too, else nobody would notice that the client hangs up
        self.in_body = False
        self.frame_bytes = 0
        self.stop_waiting()

    def timeout_keep_alive_handler(self) -> None:
        """Also of a client that has not read its answer: closing would wait for it."""
        if _late(self.loop, self.timeout_keep_alive_task) or self.transport.waits:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
            return
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def await_within(self, seconds: float) -> None:
        self.stop_waiting()
        self.deadline = self.loop.call_later(seconds, self.expire, seconds)

    def expire(self, seconds: float) -> None:
        """Hang up on a client that had its time, unless it was the server that had none."""
        if _late(self.loop, self.deadline):
            self.await_within(seconds)
        else:
            self.end(_TIMEOUT)

    def stop_waiting(self) -> None:
        if self.deadline is not None:
            self.deadline.cancel()
            self.deadline = None

    def end(self, answer: bytes) -> None:
        """Hang up; ``answer`` is sent where no other one has begun."""
        self.stop_waiting()
        if self.transport.is_closing():
            return
        # Closing would wait for who does not read, and what is sent would stand in the answer to an earlier request.
        if self.pipeline or self.transport.get_write_buffer_size():
            self.transport.abort()
            return
        cycle = self.latest()
        if cycle is None or cycle.response_complete or not cycle.response_started:
            self.transport.write(answer)
        self.transport.close()


def _late(loop: asyncio.AbstractEventLoop, timer: TimerHandle | None) -> bool:
    """Whether a timer that runs now should have run long ago: the process stood still, and maybe clients too."""
    return timer is not None and loop.time() - timer.when() > LATE_SECONDS


def _disconnected(known: Known) -> bool:
    cycle = known()
    return cycle is None or cycle.disconnected


def bounded_protocol(patience: Patience) -> type[BoundedProtocol]:
    """The protocol of one server."""

    class Bounded(BoundedProtocol):
        """Of this server."""

    Bounded.patience = patience
    return Bounded
