"""A server that runs for long says each day that its certificate ends soon."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from pathlib import Path

import pytest
from fastapi import FastAPI

from service.access import certificates
from service.cli import expiry, serve
from service.settings import load_settings


@pytest.mark.parametrize(("days", "warned"), [(certificates.SERVER_DAYS, False), (20, True), (-1, True)])
def test_the_end_is_told_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, *, days: int, warned: bool
) -> None:
    monkeypatch.setattr(expiry, "DAY_SECONDS", 0.01)
    monkeypatch.setattr(certificates, "SERVER_DAYS", days)
    certificates.create(tmp_path / "tls", ["faces.example"])
    path = tmp_path / "tls" / certificates.SERVER_CERTIFICATE

    async def serve() -> None:
        expiry.remind_daily(asyncio.get_running_loop(), path)
        path.unlink()  # what lies there later is not what is answered with
        for _ in range(500 if warned else 10):
            await asyncio.sleep(0.01)
            if len(caplog.messages) >= 2:
                return

    with caplog.at_level(logging.WARNING):
        asyncio.run(serve())
    told = "expires in 19 days" if days > 0 else "has expired"
    assert [told in message for message in caplog.messages[:2]] == ([True, True] if warned else [])


class Waiting:
    """A place whose server is stopped once the end has been told, or too late."""

    def __init__(self, listener: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
        self.listener = listener
        self._caplog = caplog

    def ready(self) -> None:
        self._look(time.monotonic() + 20)

    def stopping(self) -> bool:
        return False

    def _look(self, until: float) -> None:
        if self._caplog.messages or time.monotonic() > until:
            signal.raise_signal(signal.SIGINT)
        else:
            asyncio.get_running_loop().call_later(0.01, self._look, until)


def test_a_server_that_answers_with_a_certificate_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(expiry, "DAY_SECONDS", 0.01)
    monkeypatch.setattr(certificates, "SERVER_DAYS", 20)
    monkeypatch.setattr(serve, "_settle_interpreter", lambda: None)  # which is for good
    settings = load_settings(home=tmp_path, tls=True)
    certificates.create(settings.tls_folder, ["faces.example"])
    certificate = serve._certificate(settings, warn=False)
    caplog.set_level(logging.WARNING)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # another test may have left its own
    try:
        with serve.reserved("127.0.0.1", 0) as listener, pytest.raises(KeyboardInterrupt):
            serve._answer(FastAPI(), Waiting(listener, caplog), settings, certificate)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "expires in 19 days" in caplog.text
