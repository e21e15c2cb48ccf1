"""Reading the library of another instance through its API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import ClassVar

import pytest

from service.api.vendors_table import VENDORS_TABLE
from service.bulk import remote_library
from service.bulk.pictures import SourceError
from service.bulk.remote_library import RemoteLibrary


class Elsewhere(BaseHTTPRequestHandler):
    """An instance that answers with codes in turn, and then with a list of groups."""

    codes: ClassVar[list[int]] = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/oauth/2.0/token":
            answer: dict[str, object] = {"access_token": "token"}
        elif self.codes:
            answer = {"error_code": self.codes.pop(0), "error_msg": "as told"}
        else:
            answer = {"error_code": 0, "result": {"group_id_list": ["there"]}}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name in the library)
        """Nothing on standard error."""


@pytest.fixture
def remote() -> Iterator[RemoteLibrary]:
    with HTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with RemoteLibrary(f"http://127.0.0.1:{server.server_port}", "key", "secret") as library:
            yield library
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("code", [222901, 110])
def test_who_is_busy_is_asked_again(remote: RemoteLibrary, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(Elsewhere, "codes", [code])
    assert remote.groups() == ["there"]


def test_who_refuses_is_not(remote: RemoteLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Elsewhere, "codes", [6])
    with pytest.raises(SourceError, match="error 6: as told"):
        remote.groups()


def test_what_was_deleted_meanwhile_is_no_failure(remote: RemoteLibrary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Elsewhere, "codes", [223100, 223100, 223103, 0, 223103, 6])
    assert remote.users("gone") is None
    assert remote.user("gone", "ada") is None
    assert remote.user("crew", "gone") is None
    assert remote.user("crew", "gone between the two calls") is None
    with pytest.raises(SourceError, match="error 6"):
        remote.user("crew", "ada")


@pytest.mark.parametrize(
    "address", ["http://[bad", "http://[bad]", "http://[::1", "http://two words", "https://", "ftp://host", "host"]
)
def test_an_address_without_a_host_is_told_at_once(address: str) -> None:
    with pytest.raises(SourceError, match="is no address such as"):
        RemoteLibrary(address, "key", "secret")


def test_all_that_the_vendor_calls_busy_counts_as_that() -> None:
    busy = {code.number for code in VENDORS_TABLE if "busy" in code.text}
    assert len(busy) == 17
    assert busy <= remote_library._BUSY
