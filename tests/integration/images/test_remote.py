"""Fetching pictures by address from a real HTTP server on this machine, and everything that must not be fetched."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

from service.errors import (
    Overloaded,
    ParameterMalformed,
    PictureDownloadFailed,
    PictureDownloadTooLarge,
    ServiceUnavailable,
)
from service.images.addresses import Address
from service.images.proxies import Proxies
from service.images.remote import PictureDownloader

PICTURE = b"\xff\xd8\xff" + bytes(range(256)) * 8


class Handler(BaseHTTPRequestHandler):
    """Answers by path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        room = self.path.split("?")[0]
        if room.startswith("/hops/"):
            left = int(room.rsplit("/", 1)[1])
            self.redirect(f"/hops/{left - 1}" if left else "/picture")
        elif room == "/to":
            self.redirect(self.path.split("?", 1)[1])
        elif room == "/missing":
            self.answer(404, b"no")
        elif room == "/large":
            self.answer(200, bytes(5000))
        elif room == "/endless":
            self.stream(pause=0.0)
        elif room == "/drip":
            self.stream(pause=0.05)
        elif room == "/silent":
            time.sleep(3)
        elif room == "/head":
            self.answer(200, str(self.headers).encode())
        else:
            self.answer(200, PICTURE, "text/html")

    def redirect(self, location: str) -> None:
        self.send_response(302)
        self.send_header("Location", location)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer(self, status: int, body: bytes, kind: str = "image/jpeg") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def stream(self, pause: float) -> None:
        """A body without a length, for as long as the other side listens."""
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            for _ in range(200):
                self.wfile.write(b"x" * 100)
                time.sleep(pause)
        except OSError:
            return

    def log_message(self, *_: object) -> None:
        """Nothing: the test's output is no access log."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Port of a running server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def downloader() -> PictureDownloader:
    """One whose operator permits this machine."""
    return PictureDownloader(time_limit=2.0, size_limit=4000, allowed=["127.0.0.1"])


def test_picture_is_fetched_whatever_type_is_claimed(downloader: PictureDownloader, port: int) -> None:
    assert downloader.fetch(f"http://127.0.0.1:{port}/picture?x=1#part") == PICTURE
    assert downloader.fetch(f"  http://localhost:{port}/with blank and ü.jpg\n") == PICTURE


def test_this_machine_is_refused_unless_permitted(port: int) -> None:
    for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "0", "[::1]", "[::ffff:127.0.0.1]"):
        with pytest.raises(PictureDownloadFailed):
            PictureDownloader(time_limit=2.0).fetch(f"http://{host}:{port}/picture")


def test_proxies_of_the_environment_are_ignored(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
    with pytest.raises(PictureDownloadFailed):
        PictureDownloader(time_limit=2.0).fetch("http://10.255.255.1/picture")


def test_redirects_are_followed_three_times(downloader: PictureDownloader, port: int) -> None:
    assert downloader.fetch(f"http://127.0.0.1:{port}/hops/2") == PICTURE
    with pytest.raises(PictureDownloadFailed, match="too often"):
        downloader.fetch(f"http://127.0.0.1:{port}/hops/3")


def test_redirect_to_a_place_inside_is_refused(port: int) -> None:
    def resolve(host: str, _: int) -> Sequence[Address]:
        return [ipaddress.ip_address("127.0.0.1" if host in ("outside.test", "inside.test") else host)]

    downloader = PictureDownloader(time_limit=2.0, allowed=["outside.test"], resolver=resolve)
    assert downloader.fetch(f"http://outside.test:{port}/picture") == PICTURE
    for target in (f"http://inside.test:{port}/picture", f"http://127.0.0.1:{port}/picture", f"//127.0.0.1:{port}/"):
        with pytest.raises(PictureDownloadFailed, match="may not be fetched"):
            downloader.fetch(f"http://outside.test:{port}/to?{target}")
    for target in ("file:///etc/passwd", "ftp://outside.test/x", f"http://user:word@outside.test:{port}/picture"):
        with pytest.raises(PictureDownloadFailed):
            downloader.fetch(f"http://outside.test:{port}/to?{target}")


def test_name_is_resolved_once_and_the_checked_address_is_used(port: int) -> None:
    asked = []

    def rebinding(host: str, _: int) -> Sequence[Address]:
        asked.append(host)
        # Public at first, this machine ever after: what a rebinding name server answers.
        return [ipaddress.ip_address("192.0.2.1" if len(asked) == 1 else "127.0.0.1")]

    downloader = PictureDownloader(time_limit=2.0, allowed=["192.0.2.0/24"], resolver=rebinding)
    with pytest.raises(PictureDownloadFailed):
        downloader.fetch(f"http://rebinding.test:{port}/picture")
    assert asked == ["rebinding.test"]


def test_forbidden_addresses_of_a_name_are_passed_over(port: int) -> None:
    def resolve(_: str, __: int) -> Sequence[Address]:
        return [ipaddress.ip_address(text) for text in ("10.0.0.1", "169.254.169.254", "127.0.0.1")]

    downloader = PictureDownloader(time_limit=2.0, allowed=["127.0.0.1"], resolver=resolve)
    assert downloader.fetch(f"http://mixed.test:{port}/picture") == PICTURE


def test_size_is_limited_with_and_without_a_length(downloader: PictureDownloader, port: int) -> None:
    for room in ("large", "endless"):
        with pytest.raises(PictureDownloadTooLarge, match="larger than 4000"):
            downloader.fetch(f"http://127.0.0.1:{port}/{room}")


@pytest.mark.parametrize("room", ["silent", "drip"])
def test_time_is_limited_as_a_whole(room: str, port: int) -> None:
    downloader = PictureDownloader(time_limit=0.4, allowed=["127.0.0.1"])
    with pytest.raises(PictureDownloadFailed, match="in time"):
        downloader.fetch(f"http://127.0.0.1:{port}/{room}")


def test_slow_resolvers_are_not_waited_for() -> None:
    gate = threading.Event()

    def slow(_: str, __: int) -> Sequence[Address]:
        gate.wait(20)
        return []

    with pytest.raises(PictureDownloadFailed, match="in time"):
        PictureDownloader(time_limit=0.2, resolver=slow).fetch("http://slow.test/picture")
    gate.set()


def test_failures_of_the_network(downloader: PictureDownloader, port: int) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        closed = unused.getsockname()[1]
    for url in (
        f"http://127.0.0.1:{port}/missing",
        f"http://127.0.0.1:{closed}/",
        f"https://127.0.0.1:{port}/picture",
        "http://name-that-does-not-exist.invalid/",
    ):
        with pytest.raises(PictureDownloadFailed):
            downloader.fetch(url)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/x.jpg",
        "file:///etc/passwd",
        "gopher://example.org/",
        "http://",
        "http:///x.jpg",
        "http://user:word@example.org/x.jpg",
        "http://user@example.org/x.jpg",
        "http://example.org:99999/x.jpg",
        "http://example.org:0/x.jpg",
        "http://exa\nmple.org/\r\nX: y",
        "http://[::1/x.jpg",
        "http://" + "a" * 300 + ".org/",
        "http://127.0.0.1/" + "a" * 10_000,
        "http://" + "é." * 5_000,
        "http://.../x.jpg",
    ],
)
def test_addresses_that_are_never_asked_for(url: str, downloader: PictureDownloader) -> None:
    with pytest.raises(PictureDownloadFailed):
        downloader.fetch(url)


def test_addresses_of_any_length_are_not_kept(downloader: PictureDownloader) -> None:
    """``urlsplit`` keeps the last 128 that it was asked."""
    urlsplit.cache_clear()  # type: ignore[attr-defined]
    for letter in "abc":
        with pytest.raises(PictureDownloadFailed, match="too long"):
            downloader.fetch("http://127.0.0.1/" + letter * 9_000_000)
    assert urlsplit.cache_info().currsize == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["", "picture.jpg", "/9j/4AAQSkZJRg==", "mailto:a@b.c"])
def test_text_that_is_no_address_is_the_callers_mistake(text: str, downloader: PictureDownloader) -> None:
    with pytest.raises(ParameterMalformed):
        downloader.fetch(text)


def test_request_names_the_host_and_asks_for_no_compression(downloader: PictureDownloader, port: int) -> None:
    seen = downloader.fetch(f"http://127.0.0.1:{port}/head").decode().lower()
    assert f"host: 127.0.0.1:{port}" in seen
    assert "accept-encoding: identity" in seen


DEAF, DEAF_AS_WELL = "127.0.0.2", "127.0.0.3"


@pytest.fixture
def deaf(port: int) -> Iterator[None]:
    """At two addresses, the same port, whose queue of connections is full: a further one is never answered."""
    with ExitStack() as stack:
        for address in (DEAF, DEAF_AS_WELL):
            listener = stack.enter_context(socket.socket())
            listener.bind((address, port))
            listener.listen(0)
            for _ in range(4):
                caller = stack.enter_context(socket.socket())
                caller.setblocking(False)
                caller.connect_ex((address, port))
        yield


def answering(*addresses: str) -> Callable[[str, int], Sequence[Address]]:
    """A name server."""
    return lambda _host, _port: [ipaddress.ip_address(address) for address in addresses]


@pytest.mark.usefixtures("deaf")
def test_an_address_that_does_not_answer_leaves_time_for_the_next(port: int) -> None:
    for others in ([DEAF], [DEAF, DEAF_AS_WELL]):
        downloader = PictureDownloader(2.0, allowed=["many.test"], resolver=answering(*others, "127.0.0.1"))
        assert downloader.fetch(f"http://many.test:{port}/picture") == PICTURE
    downloader = PictureDownloader(0.6, allowed=["many.test"], resolver=answering(*[DEAF] * 50))
    begun = time.monotonic()
    with pytest.raises(PictureDownloadFailed, match="in time"):
        downloader.fetch(f"http://many.test:{port}/picture")
    assert time.monotonic() - begun < 5


@pytest.mark.usefixtures("deaf")
def test_both_families_are_tried_early(port: int) -> None:
    """There is no time for a second address of the first family."""
    resolver = answering(*[DEAF] * 5, "::ffff:127.0.0.1")
    downloader = PictureDownloader(0.9, allowed=["many.test"], resolver=resolver)
    assert downloader.fetch(f"http://many.test:{port}/picture") == PICTURE


def test_a_proxy_that_cannot_reach_an_address_leaves_time_for_the_next() -> None:
    def serve() -> None:
        with listener.accept()[0] as silent:
            assert silent.recv(65536).startswith(b"CONNECT 192.0.2.1:80 ")
            with listener.accept()[0] as connection:
                assert connection.recv(65536).startswith(b"CONNECT 192.0.2.2:80 ")
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                assert connection.recv(65536).startswith(b"GET /picture HTTP/1.1\r\nHost: inside.test")
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                connection.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        listener.settimeout(10)
        served = pool.submit(serve)
        proxies = Proxies.from_setting(f"127.0.0.1:{listener.getsockname()[1]}")
        resolver = answering("192.0.2.1", "192.0.2.2")
        downloader = PictureDownloader(2.0, allowed=["inside.test"], resolver=resolver, proxies=proxies)
        assert downloader.fetch("http://inside.test/picture") == b"ok"
        served.result()


def test_a_proxys_own_name_is_not_waited_for() -> None:
    gate = threading.Event()

    def slow(host: str, _: int) -> Sequence[Address]:
        if host == "proxy.test":
            gate.wait(20)
        return [ipaddress.ip_address("127.0.0.1")]

    proxies = Proxies.from_setting("http://proxy.test:3128")
    begun = time.monotonic()
    with pytest.raises(PictureDownloadFailed, match="in time"):
        PictureDownloader(0.2, allowed=["inside.test"], resolver=slow, proxies=proxies).fetch("http://inside.test/")
    assert time.monotonic() - begun < 10
    gate.set()


def test_a_thread_that_cannot_be_had_is_told_as_such(
    downloader: PictureDownloader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(ServiceUnavailable, match="no thread"):
        downloader.fetch("http://127.0.0.1/picture")


def test_downloads_at_once_are_limited(port: int) -> None:
    downloader = PictureDownloader(0.8, allowed=["127.0.0.1"], at_once=1)
    begun = threading.Event()

    def slow() -> None:
        begun.set()
        downloader.fetch(f"http://127.0.0.1:{port}/silent")

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(slow)
        assert begun.wait(5)
        time.sleep(0.1)  # it has its place a moment later
        with pytest.raises(Overloaded):
            downloader.fetch(f"http://127.0.0.1:{port}/picture")
        with pytest.raises(PictureDownloadFailed, match="in time"):
            first.result()
    assert downloader.fetch(f"http://127.0.0.1:{port}/picture") == PICTURE


def test_authorities_are_read_once(downloader: PictureDownloader, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        pytest.fail("again")

    monkeypatch.setattr("httpcore.default_ssl_context", fail)
    monkeypatch.setattr("httpcore._sync.connection.default_ssl_context", fail)
    with pytest.raises(PictureDownloadFailed):  # it speaks no TLS
        downloader.fetch(f"https://127.0.0.1:{port}/picture")
