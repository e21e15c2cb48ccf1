"""The head of a request: taken apart by the parser, judged, and put together again."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple, TypeAlias, cast

import httptools

Field: TypeAlias = tuple[bytes, bytes]
"""Name and value."""

NOWHERE = cast("list[Field]", deque[Field](maxlen=0))
"""Where the fields go that stand behind a body: nobody here needs them, and whoever took them for fields of the head
would believe a client what a proxy had checked there."""


class MalformedRequest(Exception):
    """A head that must not be acted upon, nor what comes behind it; the connection is to end."""


class Head(NamedTuple):
    """A request's line and fields, names in small letters."""

    method: bytes
    url: bytes
    version: str
    fields: list[Field]

    def check_framing(self) -> None:
        """Raises ``MalformedRequest`` if servers before us may have taken another place for the body's end.

        Before HTTP/1.1 nobody knew of bodies in chunks (RFC 9112, 6.1).
        """
        if self.version != "1.1" and any(name == b"transfer-encoding" for name, _ in self.fields):
            raise MalformedRequest("a body in chunks is of HTTP/1.1")

    def without_upgrade(self) -> Head:
        """The same without the wish for another protocol.

        Raises ``MalformedRequest`` where the request is nothing without it: a tunnel.
        """
        if self.method == b"CONNECT":
            raise MalformedRequest("no tunnels here")
        return self._replace(fields=[field for field in self.fields if field[0] != b"upgrade"])

    def encoded(self) -> bytes:
        """As it is sent. The parser lets no field through whose value could end its line."""
        line = b"%s %s HTTP/%s" % (self.method, self.url, self.version.encode())
        return b"\r\n".join([line, *(b"%s: %s" % field for field in self.fields), b"", b""])


def request_parser(protocol: object) -> httptools.HttpRequestParser:
    """A parser that tells ``protocol``, as strict and as lenient as the one that uvicorn makes."""
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    return parser
