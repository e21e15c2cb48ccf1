"""What ``aipface serve`` makes of settings before it listens. That it serves is shown in tests/e2e."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from service.api.metrics import may_read
from service.cli.failures import Failure
from service.cli.serve import _certificate, _take_descriptors, believed, reserved
from service.settings import load_settings

CLIENT = "203.0.113.7"


def address_behind(proxy: str, proxies: Sequence[str]) -> str:
    """What the web server takes for the client's address when ``proxy`` names it."""
    seen: list[str] = []

    async def application(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["client"][0])

    async def nothing(*_: Any) -> Any:
        raise AssertionError("nothing is received or sent")

    scope: Any = {"type": "http", "client": (proxy, 50_000), "headers": [(b"x-forwarded-for", CLIENT.encode())]}
    asyncio.run(ProxyHeadersMiddleware(application, believed(proxies))(scope, nothing, nothing))
    return seen[0]


@pytest.mark.parametrize("proxy", ["10.0.0.1", "::ffff:10.0.0.1", "10.1.255.255", "::ffff:10.1.255.255", "fd00::7"])
def test_a_proxy_is_believed_whatever_the_server_listens_on(proxy: str) -> None:
    assert address_behind(proxy, ["10.0.0.1", "10.1.0.0/16", "fd00::/8"]) == CLIENT


@pytest.mark.parametrize("proxy", ["10.0.0.2", "::ffff:10.0.0.2", "10.2.0.0", "::ffff:10.2.0.0", "::10.0.0.1"])
def test_no_other_is_believed(proxy: str) -> None:
    assert address_behind(proxy, ["10.0.0.1", "10.1.0.0/16", "fd00::/8"]) == proxy


@pytest.mark.parametrize(
    ("address", "may"), [("127.0.0.1", True), ("::1", True), ("::ffff:127.0.0.1", True), ("::ffff:10.0.0.1", False)]
)
def test_metrics_are_for_this_machine_whatever_the_server_listens_on(address: str, *, may: bool) -> None:
    assert may_read(Request({"type": "http", "client": (address, 50_000), "headers": []}), "loopback") is may


def test_a_certificate_without_tls_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _certificate(load_settings(home=tmp_path)) is None
    assert capsys.readouterr().err == ""
    assert _certificate(load_settings(home=tmp_path, tls_cert="/own.pem", tls_key="/own.key")) is None
    assert "plain HTTP" in capsys.readouterr().err


def test_a_name_that_none_can_have_is_no_address() -> None:
    with pytest.raises(Failure, match="no address to listen on"), reserved("a..b", 0):
        pass


def test_all_descriptors_that_there_may_be_are_taken() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    try:
        _take_descriptors()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
