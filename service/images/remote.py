"""Pictures named by address: fetched with every guard that a server needs which fetches what strangers name."""

from __future__ import annotations

import contextlib
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from typing import Any
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import httpcore

from service.deadline import left as time_left
from service.errors import (
    Overloaded,
    ParameterMalformed,
    PictureDownloadFailed,
    PictureDownloadTimedOut,
    PictureDownloadTooLarge,
    ServiceUnavailable,
)
from service.images.addresses import Address, AllowList
from service.images.proxies import Proxies, Proxy
from service.metrics import REFUSED, measured

_PORTS = {"http": 80, "https": 443}
_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_MOST_REDIRECTS = 3
_LONGEST_ADDRESS = 8192
"""Characters: more than servers commonly take in a request's first line."""
# Letters that stand for themselves in a request target (RFC 3986), "%" included: what is quoted already stays.
_TARGET_SAFE = "/?:@!$&'()*+,;=-._~%"

_LEAST_ATTEMPT = 0.5
"""Seconds that each address of a host gets at least to accept a connection before the next address is tried."""

Resolver = Callable[[str, int], Sequence[Address]]
"""Addresses of a host; raises ``OSError`` when there are none."""


def resolve(host: str, port: int) -> list[Address]:
    """Every address of ``host``, by the operating system's resolver."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    texts = dict.fromkeys(str(answer[4][0]).partition("%")[0] for answer in answers)
    return [ipaddress.ip_address(text) for text in texts]


class PictureDownloader:
    """Fetches pictures over http and https.

    The name is resolved here, each address is checked, and the connection goes to a checked address: a second answer
    of a hostile name server is never asked for. Redirects (at most 3) pass the same checks. A proxy is used where the
    operator names one, and is told the checked address. One deadline covers everything; the body is cut off at
    ``size_limit``. All share one TLS context: to read the authorities that it trusts takes some 30 ms (by hand).
    """

    def __init__(
        self,
        time_limit: float = 5.0,
        size_limit: int = 10 * 1024 * 1024,
        allowed: Sequence[str] = (),
        resolver: Resolver = resolve,
        proxies: Proxies | None = None,
        at_once: int | None = None,
    ) -> None:
        """``at_once``: downloads at a time, so that slow hosts cannot hold every thread; ``None`` is any number."""
        self._time_limit = time_limit
        self._proxies = Proxies({}) if proxies is None else proxies
        self._size_limit = size_limit
        self._allowed = AllowList(allowed)
        self._resolver = resolver
        self._places = None if at_once is None else threading.Semaphore(at_once)
        self._tls = _tls_context()

    @measured("download")
    def fetch(self, url: str) -> bytes:
        """The bytes behind ``url``, at most ``size_limit``, whatever type the server claims.

        Raises :class:`ParameterMalformed` for text that is no URL, :class:`PictureDownloadFailed` for everything else
        (:class:`PictureDownloadTooLarge` for more bytes), :class:`DeadlineExceeded` when the request has no time left,
        :class:`Overloaded` for one download too many, :class:`ServiceUnavailable` where no thread can be had.
        """
        url = url.strip()
        if "://" not in url[:_LONGEST_ADDRESS]:
            raise ParameterMalformed("image", "is not an address")
        deadline = Deadline(min(self._time_limit, time_left()))
        with self._place():
            return self._fetch(url, deadline)

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        places = self._places
        if places is None:
            yield
            return
        if not places.acquire(blocking=False):
            REFUSED["download"].inc()
            raise Overloaded("as many pictures are being downloaded as may be")
        try:
            yield
        finally:
            places.release()

    def _fetch(self, url: str, deadline: Deadline) -> bytes:
        for _ in range(_MOST_REDIRECTS + 1):
            parts = _split(url)
            proxy = self._proxies.choose(parts.scheme, parts.hostname or "")
            backend = GuardedBackend(self._resolver, self._allowed, deadline, proxy)
            answer = self._get(parts, backend, deadline)
            if isinstance(answer, bytes):
                return answer
            url = _joined(url, answer.location)
        raise PictureDownloadFailed("the address redirects too often")

    def _get(self, parts: SplitResult, backend: GuardedBackend, deadline: Deadline) -> bytes | _Redirect:
        origin, target = _origin(parts), _target(parts)
        headers: dict[bytes | str, bytes | str] = {
            "Host": _host_field(origin, parts),
            "Accept": "image/*,*/*;q=0.5",
            # Compressed answers are not asked for: unpacking them would need a guard of its own.
            "Accept-Encoding": "identity",
            "User-Agent": "aipface",
        }
        url = httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=target)
        try:
            limits = {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), deadline.left())}
            with (
                httpcore.HTTPConnection(origin, ssl_context=self._tls, network_backend=backend) as connection,
                connection.stream("GET", url, headers=headers, extensions=limits) as response,
            ):
                return self._read(response)
        except (httpcore.TimeoutException, TimeoutError):
            raise PictureDownloadTimedOut("the address did not answer in time") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.UnsupportedProtocol, OSError) as error:
            raise PictureDownloadFailed(f"the address could not be fetched: {error}") from None

    def _read(self, response: httpcore.Response) -> bytes | _Redirect:
        fields = {name.lower(): value for name, value in response.headers}
        if response.status in _REDIRECTS and b"location" in fields:
            return _Redirect(fields[b"location"].decode("latin-1"))
        if response.status != 200:
            raise PictureDownloadFailed(f"the address answered {response.status}")
        if (
            fields.get(b"content-length", b"0").isdigit()
            and int(fields.get(b"content-length", b"0")) > self._size_limit
        ):
            raise PictureDownloadTooLarge(f"the picture is larger than {self._size_limit} bytes")
        body = bytearray()
        for chunk in response.iter_stream():
            body += chunk
            if len(body) > self._size_limit:
                raise PictureDownloadTooLarge(f"the picture is larger than {self._size_limit} bytes")
        return bytes(body)


def _tls_context() -> ssl.SSLContext:
    """For connections of many threads."""
    context = httpcore.default_ssl_context()
    context.set_alpn_protocols(["http/1.1"])
    # At every connection httpcore sets them anew, and so frees the memory that another's handshake may be reading.
    context.set_alpn_protocols = _set_already  # type: ignore[assignment, method-assign]
    return context


def _set_already(protocols: Iterable[str]) -> None:
    del protocols


class _Redirect:
    """Where an answer points instead of giving a picture."""

    def __init__(self, location: str) -> None:
        self.location = location


def _joined(url: str, location: str) -> str:
    if len(location) > _LONGEST_ADDRESS:
        raise PictureDownloadFailed("the address redirects to a malformed one")
    try:
        return urljoin(url, location)
    except ValueError:
        raise PictureDownloadFailed("the address redirects to a malformed one") from None


def _split(url: str) -> SplitResult:
    """The parts of an address that may be asked for at all."""
    # ``urlsplit`` keeps the last hundred and more that it was asked, whatever their length.
    if len(url) > _LONGEST_ADDRESS:
        raise PictureDownloadFailed("the address is too long")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise PictureDownloadFailed("the address is malformed") from None
    if parts.scheme not in _PORTS:
        raise PictureDownloadFailed("only http and https addresses are fetched")
    if parts.username is not None or parts.password is not None:
        raise PictureDownloadFailed("addresses with a user name are not fetched")
    if not parts.hostname or port == 0 or any(not letter.isprintable() for letter in url):
        raise PictureDownloadFailed("the address is malformed")
    return parts


def _origin(parts: SplitResult) -> httpcore.Origin:
    try:
        host = (parts.hostname or "").encode("idna")
    except UnicodeError:
        raise PictureDownloadFailed("the address is malformed") from None
    return httpcore.Origin(parts.scheme.encode(), host, parts.port or _PORTS[parts.scheme])


def _host_field(origin: httpcore.Origin, parts: SplitResult) -> str:
    host = origin.host.decode()
    host = f"[{host}]" if ":" in host else host
    return host if parts.port is None else f"{host}:{origin.port}"


def _target(parts: SplitResult) -> str:
    target = quote(parts.path or "/", safe=_TARGET_SAFE)
    return f"{target}?{quote(parts.query, safe=_TARGET_SAFE)}" if parts.query else target


class Deadline:
    """A point in time by which everything has to be done."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left; raises ``TimeoutError`` when there are none."""
        seconds = self._end - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    def share(self, attempts: int) -> Deadline:
        """The end of the first of so many attempts, which leaves as much time to each of the others."""
        left = self.left()
        return Deadline(min(left, max(_LEAST_ATTEMPT, left / attempts)))


class GuardedBackend(httpcore.NetworkBackend):
    """Opens connections only to addresses that may be connected to, and gives them no longer than the deadline."""

    def __init__(self, resolver: Resolver, allowed: AllowList, deadline: Deadline, proxy: Proxy | None = None) -> None:
        self._resolver = resolver
        self._allowed = allowed
        self._deadline = deadline
        self._proxy = proxy
        self._proxy_addresses: list[Address] | None = None
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """A connection to the first permitted address of ``host`` that accepts one in its share of the time."""
        permitted = [address for address in self._resolve(host, port) if self._allowed.permits(host, address)]
        ways = [(address, at) for address in _alternating(permitted) for at in self._doors(address, port)]
        failure: Exception = httpcore.ConnectError("the address may not be fetched from here")
        for tried, (address, at) in enumerate(ways):
            attempt = self._deadline.share(len(ways) - tried)
            try:
                plain = self._plain.connect_tcp(*at, attempt.left(), local_address, socket_options)
                if self._proxy is not None:
                    _tunnel(self._proxy, plain, address, port, attempt)
                return _DeadlineStream(plain, self._deadline)
            except (httpcore.NetworkError, httpcore.TimeoutException, TimeoutError) as error:
                failure = error
        raise failure

    def _doors(self, address: Address, port: int) -> list[tuple[str, int]]:
        """Where a connection to a permitted address may begin: there, or at any address of the proxy."""
        proxy = self._proxy
        if proxy is None:
            return [(str(address), port)]
        if self._proxy_addresses is None:
            try:
                self._proxy_addresses = [ipaddress.ip_address(proxy.host)]
            except ValueError:
                self._proxy_addresses = _alternating(self._resolve(proxy.host, proxy.port))
        return [(str(way), proxy.port) for way in self._proxy_addresses]

    def _resolve(self, host: str, port: int) -> Sequence[Address]:
        """Resolved in a thread of its own: the operating system's resolver takes no time limit."""
        answer: queue.SimpleQueue[Sequence[Address] | OSError] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answer.put(self._resolver(host, port))
            except (OSError, ValueError) as error:  # a name that cannot be asked for is a ValueError
                answer.put(OSError(f"{host} does not resolve: {error}"))

        try:
            threading.Thread(target=ask, name="resolve-picture-host", daemon=True).start()
        except RuntimeError as error:
            raise ServiceUnavailable(f"no thread can be had: {error}") from None
        try:
            outcome = answer.get(timeout=self._deadline.left())
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(outcome, OSError):
            raise outcome
        return outcome


def _alternating(addresses: Sequence[Address]) -> list[Address]:
    """Of both families by turns (RFC 8305): where one has no way out, the next attempt is the other's."""
    first = [address for address in addresses if address.version == addresses[0].version]
    other = [address for address in addresses if address.version != addresses[0].version]
    return [address for pair in zip_longest(first, other) for address in pair if address is not None]


def _tunnel(proxy: Proxy, plain: httpcore.NetworkStream, address: Address, port: int, attempt: Deadline) -> None:
    try:
        proxy.tunnel(_DeadlineStream(plain, attempt), address, port)
    except BaseException:
        plain.close()
        raise


class _DeadlineStream(httpcore.NetworkStream):
    """A stream whose every operation ends by the deadline, so that a server cannot drip bytes for ever."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.left())

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.left())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        encrypted = self._stream.start_tls(ssl_context, server_hostname, self._deadline.left())
        return _DeadlineStream(encrypted, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
