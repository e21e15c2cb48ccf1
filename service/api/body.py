"""Reading request bodies: their first non-blank bytes tell the format, not their content type.

The Node SDK labels JSON as a form, old clients send real forms, PHP's curl makes multipart of an array, and some HTTP
stacks encode JSON twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import anyio
import orjson
from starlette.requests import Request

from service.api import forms, json_text, multipart
from service.api.extensions import UNREAD_BODY
from service.errors import Overloaded, ParameterMalformed, ParameterTooLong, ServiceUnavailable
from service.metrics import REFUSED

Parameters: TypeAlias = "Mapping[str, object] | list[Mapping[str, object]]"
"""What a body holds: one set of parameters, or several (``match``, ``faceverify``), at least one."""

BODY = "body"
"""The name under which a body that cannot be read is reported."""

JSON_BEGINNINGS = (b"{", b"[", b'"')
"""First bytes of a body that is JSON, or JSON within a JSON string, and no form."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_BLANKS = b" \t\r\n"
_NO_MEMORY = "Not enough memory"
"""How the parser's error message begins when the machine, not the text, is at fault."""
_DASHES = b"--"
_MAX_FORM_FIELDS = 1000
_MAX_DRAINED = 8
"""Of a body that is too large, up to this many times the limit is read and thrown away. A client that is still sending
when the connection closes sees a broken pipe and never reads the answer."""
_MOST_DIGITS = 19
"""Digits of a ``Content-Length`` that are read: they express more bytes than anybody has."""


class Form(dict[str, object]):
    """Fields of a form by name; of one that came several times, the last counts, and ``repeated`` names it."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        super().__init__(pairs)
        seen = Counter(name for name, _ in pairs)
        self.repeated = frozenset(name for name, times in seen.items() if times > 1)


_PIECE = 2**16
"""Bytes: smaller chunks are joined until they reach this size. A million chunks of one byte must not take the memory
of a million objects."""

_LARGEST_AT_ONCE = 4
"""This many bodies of the largest allowed size always fit, even where the shared memory is smaller than that."""


class Received:
    """A body as it arrived, in pieces. There are no pieces when it was larger than allowed.

    ``query`` may hold parameters, too. A parameter that is in both is taken from the body.
    """

    __slots__ = ("pieces", "query", "size", "too_large")

    def __init__(self, *pieces: bytes, query: bytes = b"", too_large: bool = False) -> None:
        self.pieces = pieces
        self.query = query
        self.size = sum(map(len, pieces))
        self.too_large = too_large

    @property
    def content(self) -> bytes:
        """All bytes. The first access joins the pieces, so for megabytes use it in a worker thread only.

        Joining releases the interpreter's lock. A buffer that grew chunk by chunk on the event loop would be copied
        again and again by the allocator, up to ten megabytes at once.
        """
        if len(self.pieces) != 1:
            self.pieces = (b"".join(self.pieces),)
        return self.pieces[0]


Hold: TypeAlias = Callable[[int], bool]
"""Sets how many bytes a body holds in all; returns ``False``, and changes nothing, where there is no room for them."""


class Room:
    """Memory that the bodies of all requests share. To be used on the event loop only."""

    def __init__(self, most: int) -> None:
        """``most``: bytes for all bodies. Those of senders who are not authenticated yet may take half of them."""
        self._most = most
        self._held = 0

    @property
    def ample(self) -> bool:
        """Whether at least half of the share of senders who are not authenticated is free."""
        return self._held < self._most // 4

    @contextmanager
    def share(self, largest: int, *, known: bool = False) -> Iterator[Hold]:
        """Within the block, let one body of up to ``largest`` bytes take memory; a small body is never refused.

        ``known``: whether its sender is authenticated already.
        """
        most = max(self._most if known else self._most // 2, _LARGEST_AT_ONCE * largest)
        mine = 0

        def hold(size: int) -> bool:
            nonlocal mine
            if size > max(mine, _PIECE) and self._held + size - mine > most:
                return False
            self._held += size - mine
            mine = size
            return True

        try:
            yield hold
        finally:
            hold(0)


def announced_bytes(request: Request) -> int:
    """The request's ``Content-Length``; 0 where it has none, as for a body sent in chunks."""
    length = request.headers.get("content-length", "")
    # Python refuses to read thousands of digits, zeros too.
    return int(length.lstrip("0")[:_MOST_DIGITS] or 0) if length.isascii() and length.isdigit() else 0


async def receive(request: Request, limit: int, hold: Hold = lambda size: True) -> Received:
    """Read a body of at most ``limit`` bytes. A larger one, or one that ``hold`` refuses, is read and dropped.

    Raises ``Overloaded``, once the body has arrived, for one that ``hold`` refused.
    """
    pieces: list[bytes] = []  # grows with what arrives: a large Content-Length alone must not take memory
    gathered = bytearray()
    size, wanted = 0, True
    async for chunk in request.stream():
        size += len(chunk)
        wanted = wanted and size <= limit and hold(size)
        if not wanted:
            pieces.clear()
            gathered.clear()
            hold(0)
            if size > _MAX_DRAINED * limit:
                break
        elif len(chunk) >= _PIECE and not gathered:
            pieces.append(chunk)
        else:
            gathered += chunk
            if len(gathered) >= _PIECE:
                pieces.append(bytes(gathered))
                gathered.clear()
    if size > limit:
        return Received(too_large=True)
    if not wanted:
        REFUSED["arrival"].inc()
        raise Overloaded
    return Received(*pieces, bytes(gathered))


async def discard(request: Request, limit: int, seconds: float) -> None:
    """Read a body of up to ``limit`` bytes and drop it, so that the client gets to reading the answer.

    The protocol of ``aipface serve`` drops it without handing over chunks, until ``body_timeout`` is over. Under any
    other server it is read here, for ``seconds`` at most.
    """
    unread: Callable[[], None] | None = request.scope.get("extensions", {}).get(UNREAD_BODY)
    if unread is not None:
        unread()
        await _drop(request, limit)
    else:
        with anyio.move_on_after(seconds):
            await _drop(request, limit)


async def _drop(request: Request, limit: int) -> None:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            break


def decode(received: Received) -> Parameters:
    """Take JSON, JSON in a JSON string, a form or multipart apart. An empty body has no parameters.

    An empty list counts as an empty object: PHP has one kind of array for both and writes an empty one as ``[]``.

    Raises ``ParameterTooLong`` naming ``image`` for a body that was too large, since only pictures make bodies large,
    and ``ParameterMalformed`` naming ``body`` for one that cannot be read.
    """
    if received.too_large:
        raise ParameterTooLong("image", "the body is too large")
    content = _taken_apart(unmarked(received.content))
    if received.query and isinstance(content, dict):
        return {**_form(received.query), **content}
    return content


def _taken_apart(text: bytes) -> Parameters:
    if text.startswith(_DASHES):
        return _multipart(text)
    if not text.startswith(JSON_BEGINNINGS):
        return _form(text)
    content = _json(text)
    if isinstance(content, str):
        content = _json(content)
    if isinstance(content, dict):
        return content
    if content == []:
        return {}
    if isinstance(content, list) and all(isinstance(entry, dict) for entry in content):
        return content
    raise ParameterMalformed(BODY, "neither an object nor a list of objects")


def unmarked(text: bytes) -> bytes:
    """Without the byte order mark and the blanks that some clients send ahead."""
    if text[:1] in JSON_BEGINNINGS:  # there is nothing to take away, and no copy to make
        return text
    return text.removeprefix(_BYTE_ORDER_MARK).lstrip(_BLANKS)


def _json(text: bytes | str) -> object:
    try:
        content: object = json_text.loads(text.encode() if isinstance(text, str) else text)
    except orjson.JSONDecodeError as error:
        if error.msg.startswith(_NO_MEMORY):
            raise ServiceUnavailable("no memory is left to read a body") from None
        raise ParameterMalformed(BODY, error.msg) from None
    except RecursionError:  # the parser has a limit of its own; what is put back behind it has the interpreter's
        raise ParameterMalformed(BODY, "too deep") from None
    return content


def _multipart(text: bytes) -> dict[str, object]:
    """Parts are parameters, with or without a file's name; the first line tells the boundary."""
    boundary = text[: multipart.LONGEST_BOUNDARY + 4].partition(b"\r\n")[0].removeprefix(_DASHES).rstrip(b" \t")
    try:
        return {name: value.decode() for name, value in multipart.parse(text, boundary).items()}
    except UnicodeDecodeError:
        raise ParameterMalformed(BODY, "a part is not UTF-8") from None


def _form(text: bytes) -> Form:
    try:
        return Form(forms.pairs(text, _MAX_FORM_FIELDS))
    except ValueError as error:  # too many fields, or not UTF-8
        raise ParameterMalformed(BODY, str(error)) from None
