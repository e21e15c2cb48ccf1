"""The way out to the network: straight, or through an HTTP proxy that the operator names."""

from __future__ import annotations

import base64
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import httpcore

from service.images.addresses import Address

ENVIRONMENT = "environment"
"""Instead of an address: whatever ``http_proxy``, ``https_proxy`` and ``no_proxy`` say."""

_LONGEST_ANSWER = 8192
"""Bytes that the head of a proxy's answer may have."""
_DEFAULT_PORT = 3128
_MALFORMED = "setting url_proxy (AIPFACE_URL_PROXY): a proxy must be http://[user:password@]host:port"


class ProxyError(Exception):
    """The setting names no proxy; the text is one sentence for the operator."""


@dataclass(frozen=True)
class Proxy:
    """Where an HTTP proxy listens, and how we introduce ourselves to it."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> Proxy:
        """Read ``http://[user:password@]host[:port]``; the scheme may be missing.

        Raises ``ProxyError`` with a text that quotes nothing, for the address may hold a password.
        """
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            port = parts.port or _DEFAULT_PORT
        except ValueError:
            raise ProxyError(_MALFORMED) from None
        if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
            raise ProxyError(_MALFORMED)
        authorization = None
        if parts.username is not None:
            words = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            authorization = "Basic " + base64.b64encode(words.encode()).decode()
        return cls(parts.hostname, port, authorization)

    def tunnel(self, stream: httpcore.NetworkStream, address: Address, port: int) -> None:
        """Ask the proxy at the other end of ``stream`` for a connection to ``address``, which has been checked.

        The name is never told: the proxy cannot come to another address than we did. ``stream`` must limit its own
        waiting. Raises ``httpcore.ConnectError`` when the proxy declines.
        """
        host = f"[{address}]" if address.version == 6 else str(address)
        lines = [f"CONNECT {host}:{port} HTTP/1.1", f"Host: {host}:{port}"]
        if self.authorization is not None:
            lines.append(f"Proxy-Authorization: {self.authorization}")
        stream.write("\r\n".join([*lines, "", ""]).encode("ascii"))
        head = b""
        while b"\r\n\r\n" not in head:
            piece = stream.read(_LONGEST_ANSWER)
            head += piece
            if not piece or len(head) > _LONGEST_ANSWER:
                raise httpcore.ConnectError("the proxy does not speak HTTP")
        head, _, early = head.partition(b"\r\n\r\n")
        words = head.split(None, 2)
        if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or words[1] != b"200" or early:
            raise httpcore.ConnectError("the proxy gives no connection")


class Proxies:
    """Which proxy an address is fetched through."""

    def __init__(self, proxies: Mapping[str, Proxy], *, exempting: bool = False) -> None:
        """``proxies`` by scheme; ``exempting``: hosts named by ``no_proxy`` are reached straight."""
        self._proxies = proxies
        self._exempting = exempting

    @classmethod
    def from_setting(cls, setting: str | None) -> Proxies:
        """``None`` is none, an address that proxy for everything; raises ``ProxyError`` as :meth:`Proxy.parse`."""
        if setting is None:
            return cls({})
        if setting != ENVIRONMENT:
            return cls(dict.fromkeys(("http", "https"), Proxy.parse(setting)))
        named = urllib.request.getproxies_environment()
        everything = named.get("all")
        chosen = {scheme: named.get(scheme, everything) for scheme in ("http", "https")}
        return cls({scheme: Proxy.parse(text) for scheme, text in chosen.items() if text}, exempting=True)

    def choose(self, scheme: str, host: str) -> Proxy | None:
        """The proxy for an address, ``None`` for the straight way."""
        if self._exempting and urllib.request.proxy_bypass(host):
            return None
        return self._proxies.get(scheme)
