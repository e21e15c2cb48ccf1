"""Every trick of ``tricks.py``: refused, and no connection attempted to where none may lead."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from service.errors import ParameterMalformed, PictureDownloadFailed
from service.images.addresses import Address
from service.images.proxies import Proxies, ProxyError
from service.images.remote import PictureDownloader, resolve
from tests.integration.images.tricks import ADDRESSES, ANSWERS, HEAD, NAMES, REDIRECTS, ZIPPED

PICTURE = b"\xff\xd8\xff picture"
GOOD = HEAD + b"Content-Length: %d\r\n\r\n" % len(PICTURE) + PICTURE
REFUSALS = (PictureDownloadFailed, ParameterMalformed)
OUTSIDE = "127.0.0.9"
"""Where the hostile server listens, which the operator permits so that it can be reached at all."""


class Connections:
    """Addresses that this process tries to connect to, told by the interpreter itself."""

    def __init__(self) -> None:
        self._watching = False
        self._thread = 0
        self.seen: list[object] = []
        sys.addaudithook(self._heard)

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "socket.connect" and self._watching and threading.get_ident() == self._thread:
            self.seen.append(arguments[1])

    @contextmanager
    def watched(self) -> Iterator[list[object]]:
        """What this thread connects to within the block."""
        self.seen, self._watching, self._thread = [], True, threading.get_ident()
        try:
            yield self.seen
        finally:
            self._watching = False


@pytest.fixture(scope="module")
def connections() -> Connections:
    """One for all: an audit hook cannot be taken out again."""
    return Connections()


@contextmanager
def answering(content: bytes, host: str = OUTSIDE) -> Iterator[tuple[int, list[bytes]]]:
    """A server that sends ``content`` to everybody and hangs up; yields its port and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server((host, 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, contextlib.suppress(OSError):
                        asked.append(connection.recv(65536))
                        connection.sendall(content)
                        connection.shutdown(socket.SHUT_WR)
                        connection.recv(1)

        threading.Thread(target=serve, daemon=True).start()
        try:
            yield listener.getsockname()[1], asked
        finally:
            listener.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def inside() -> Iterator[int]:
    """Port of a server that would answer, on the address that must never be asked."""
    with answering(GOOD, "127.0.0.1") as (port, asked):
        yield port
        assert asked == []


def outside(host: str, port: int) -> Sequence[Address]:
    """As the system resolves, with two names of the test's own."""
    known = {"outside.test": OUTSIDE, "inside.test": "127.0.0.1"}
    return [ipaddress.ip_address(known[host])] if host in known else resolve(host, port)


def test_there_are_tricks_enough() -> None:
    assert len(ADDRESSES) + len(NAMES) >= 60
    assert len(REDIRECTS) >= 60


@pytest.mark.parametrize("trick", ADDRESSES)
def test_addresses(trick: str, inside: int, connections: Connections) -> None:
    with connections.watched() as seen, pytest.raises(REFUSALS):
        PictureDownloader(time_limit=2.0).fetch(ADDRESSES[trick].format(port=inside))
    assert seen == []


@pytest.mark.parametrize("trick", NAMES)
def test_names(trick: str, inside: int, connections: Connections) -> None:
    def hostile(_host: str, _port: int) -> Sequence[Address]:
        return [ipaddress.ip_address(text) for text in NAMES[trick]]

    downloader = PictureDownloader(time_limit=2.0, resolver=hostile)
    with connections.watched() as seen, pytest.raises(PictureDownloadFailed, match="may not be fetched"):
        downloader.fetch(f"http://rebinding.test:{inside}/")
    assert seen == []


def test_names_that_change_their_address(inside: int, connections: Connections) -> None:
    """A name server that answers a permitted address first and this machine ever after is asked once."""
    answers = iter(["127.0.0.8", *["127.0.0.1"] * 10])

    def rebinding(_host: str, _port: int) -> Sequence[Address]:
        return [ipaddress.ip_address(next(answers))]

    downloader = PictureDownloader(time_limit=2.0, allowed=["127.0.0.8"], resolver=rebinding)
    with connections.watched() as seen, pytest.raises(PictureDownloadFailed):
        downloader.fetch(f"http://rebinding.test:{inside}/")
    assert seen == [("127.0.0.8", inside)]


@pytest.mark.parametrize("trick", REDIRECTS)
def test_redirects(trick: str, inside: int, connections: Connections) -> None:
    location = REDIRECTS[trick].format(port=inside).encode("utf-8")
    answer = b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n"
    downloader = PictureDownloader(time_limit=2.0, allowed=["outside.test"], resolver=outside)
    with answering(answer) as (port, asked), connections.watched() as seen, pytest.raises(REFUSALS):
        downloader.fetch(f"http://outside.test:{port}/picture")
    assert set(seen) == {(OUTSIDE, port)}
    assert asked


@pytest.mark.parametrize("trick", ANSWERS)
def test_answers(trick: str) -> None:
    downloader = PictureDownloader(time_limit=2.0, size_limit=4000, allowed=[OUTSIDE])
    with answering(ANSWERS[trick]) as (port, _), pytest.raises(PictureDownloadFailed):
        downloader.fetch(f"http://{OUTSIDE}:{port}/")


def test_nothing_is_unpacked() -> None:
    with answering(HEAD + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + ZIPPED) as (port, _):
        downloader = PictureDownloader(time_limit=2.0, size_limit=4000, allowed=[OUTSIDE])
        assert downloader.fetch(f"http://{OUTSIDE}:{port}/") == ZIPPED


def test_operators_permit_what_they_name(inside: int) -> None:
    with answering(GOOD) as (port, _):
        for entry, url in (
            ("outside.test", f"http://outside.test:{port}/"),
            (OUTSIDE, f"http://outside.test:{port}/"),
            ("127.0.0.8/30", f"http://{OUTSIDE}:{port}/"),
        ):
            downloader = PictureDownloader(time_limit=2.0, allowed=[entry], resolver=outside)
            assert downloader.fetch(url) == PICTURE
            with pytest.raises(PictureDownloadFailed):
                downloader.fetch(f"http://inside.test:{inside}/")


def test_proxies_are_told_the_checked_address(connections: Connections) -> None:
    with answering(b"HTTP/1.1 200 Connection established\r\n\r\n") as (port, asked):
        proxies = Proxies.from_setting(f"http://user:pass%20word@{OUTSIDE}:{port}")
        downloader = PictureDownloader(time_limit=2.0, allowed=["inside.test"], resolver=outside, proxies=proxies)
        with connections.watched() as seen:
            with pytest.raises(PictureDownloadFailed):  # this proxy hangs up after its answer
                downloader.fetch("http://inside.test:8080/picture")
            for url in ("http://127.0.0.1:1/", "http://localhost:1/", "https://169.254.169.254/"):
                with pytest.raises(PictureDownloadFailed, match="may not be fetched"):
                    downloader.fetch(url)
    assert seen == [(OUTSIDE, port)]
    (request,) = asked
    assert request.splitlines() == [
        b"CONNECT 127.0.0.1:8080 HTTP/1.1",
        b"Host: 127.0.0.1:8080",
        b"Proxy-Authorization: Basic dXNlcjpwYXNzIHdvcmQ=",
        b"",
    ]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 407 Who are you\r\n\r\n",
        b"HTTP/1.1 200",
        b"x" * 9000,
        b"\r\n\r\n",
        b"HTTP/1.1 200 ok\r\n\r\nearly",
    ],
)
def test_proxies_that_decline(answer: bytes) -> None:
    with answering(answer) as (port, _):
        downloader = PictureDownloader(
            time_limit=2.0, allowed=["inside.test"], resolver=outside, proxies=Proxies.from_setting(f"{OUTSIDE}:{port}")
        )
        with pytest.raises(PictureDownloadFailed):
            downloader.fetch("http://inside.test/picture")


def test_a_tunnel_carries_the_picture() -> None:
    class Tunnel(threading.Thread):
        """A proxy that answers CONNECT, then plays the server behind it."""

        def run(self) -> None:
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                assert connection.recv(65536).startswith(b"GET /picture HTTP/1.1\r\nHost: inside.test")
                connection.sendall(GOOD)
                connection.recv(1)

    with socket.create_server((OUTSIDE, 0)) as listener:
        proxy = Tunnel(daemon=True)
        proxy.start()
        proxies = Proxies.from_setting(f"http://{OUTSIDE}:{listener.getsockname()[1]}")
        downloader = PictureDownloader(time_limit=2.0, allowed=["inside.test"], resolver=outside, proxies=proxies)
        assert downloader.fetch("http://inside.test/picture") == PICTURE
        proxy.join()


def test_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.test:8080")
    monkeypatch.setenv("no_proxy", "near.test")
    assert Proxies.from_setting(None).choose("https", "far.test") is None
    proxies = Proxies.from_setting("environment")
    chosen = proxies.choose("https", "far.test")
    assert chosen is not None
    assert (chosen.host, chosen.port) == ("proxy.test", 8080)
    assert proxies.choose("http", "far.test") is None
    assert proxies.choose("https", "near.test") is None


@pytest.mark.parametrize("text", ["socks5://proxy.test", "http://", "http://[::1", "http://proxy.test:99999", "a b/c"])
def test_addresses_that_are_no_proxy(text: str) -> None:
    with pytest.raises(ProxyError, match="url_proxy"):
        Proxies.from_setting(text)
