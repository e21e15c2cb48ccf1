"""What the container's HEALTHCHECK runs, as a process of its own beside something that answers."""

from __future__ import annotations

import contextlib
import http.server
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.access import certificates
from tests.fixtures.places import ROOT

SCRIPT = ROOT / "deploy" / "healthcheck.py"
CLOSED = "http://127.0.0.1:1"
"""A proxy that nobody reaches."""


@contextlib.contextmanager
def answering(status: int, folder: Path | None = None) -> Iterator[int]:
    """The port of a server that is ready or not; with certificates in ``folder`` it answers TLS."""

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/readyz" else 404)
            self.end_headers()
            self.wfile.write(b"waits for the database")

        def log_message(self, *_: object) -> None:
            """Say nothing: what is looked at is what the check prints."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        if folder is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / certificates.SERVER_CERTIFICATE, folder / certificates.SERVER_KEY)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def check(**variables: str) -> subprocess.CompletedProcess[str]:
    """Run it with these variables of ours, and without a proxy of the machine that tests."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment = {name: value for name, value in kept.items() if not name.startswith("AIPFACE_")} | variables
    return subprocess.run(
        [sys.executable, str(SCRIPT)], env=environment, check=False, capture_output=True, text=True, timeout=30
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for another name than the one that is asked, by an authority that nobody trusts."""
    made = tmp_path_factory.mktemp("certificates") / "tls"
    certificates.create(made, ["faces.example"])
    return made


@pytest.mark.parametrize("tls", ["", "true", "T"])
def test_no_proxy_is_asked(folder: Path, tls: str) -> None:
    proxies = {name: CLOSED for word in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") for name in (word, word.lower())}
    with answering(200, folder if tls else None) as port:
        done = check(AIPFACE_PORT=str(port), AIPFACE_TLS=tls, **proxies)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_is_not_ready_says_why() -> None:
    with answering(503) as port:
        done = check(AIPFACE_PORT=str(port))
    assert (done.returncode, done.stderr.strip()) == (1, "waits for the database")


def test_nobody_there() -> None:
    done = check(AIPFACE_PORT="1")
    assert done.returncode == 1
    assert done.stderr.startswith("no answer: ")
