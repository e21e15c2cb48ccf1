"""A server that runs for long says each day that its certificate ends soon."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from service.access import certificates
from service.cli import expiry


@pytest.mark.parametrize(("days", "warned"), [(certificates.SERVER_DAYS, False), (20, True)])
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
    assert ["expires in 19 days" in message for message in caplog.messages[:2]] == ([True, True] if warned else [])
