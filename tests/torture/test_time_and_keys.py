"""Clocks that jump and master keys that are broken or another's: one clear sentence, and nothing is damaged."""

from __future__ import annotations

import subprocess
import time

import pytest

from service.access.keys import Keyring
from service.access.tokens import LIFETIME_SECONDS, Tokens
from service.errors import TokenExpired
from service.images import remote
from service.values import App
from tests.fixtures.server import Home

APP = App(pk=1, app_id="30000001", name="clock", api_key="key", epoch=0, permissions=None, enabled=True)
YEAR = 365 * 86400.0


def test_tokens_follow_the_wall_clock_in_both_directions() -> None:
    """A jump forwards expires tokens early, a jump back keeps them longer; no jump lets an unsigned one pass."""
    tokens, now = Tokens(Keyring(bytes(32))), time.time()
    token = tokens.issue(APP, now).access_token
    assert tokens.verify(token, lambda _: APP, now - YEAR) == APP
    with pytest.raises(TokenExpired):
        tokens.verify(token, lambda _: APP, now + LIFETIME_SECONDS + 1)
    assert tokens.verify(token, lambda _: APP, now + LIFETIME_SECONDS - 1) == APP


def test_deadlines_do_not_follow_the_wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    deadline = remote.Deadline(60)
    monkeypatch.setattr(time, "time", lambda: -YEAR)
    assert 59 < deadline.left() <= 60


BROKEN_KEYS = {
    "": "is empty",
    "not a key": "a master key must be 32 bytes",
    "00" * 31: "a master key must be 32 bytes",
    "ключ": "cannot be read",
}


def test_broken_master_keys(home: Home, *, long: bool) -> None:
    """Said in one sentence, by every command; the server starts only with a key that opens what is stored."""
    keys = home.folder / "secret.key"
    home.create_app("kept")
    good = keys.read_bytes()
    for content, sentence in list(BROKEN_KEYS.items())[: None if long else 1]:  # each takes a second of its own
        keys.write_text(content, encoding="utf-8")
        told(home.run("app", "list"), sentence)
    keys.write_text("ab" * 32)
    told(home.run("serve", "--port", "0", timeout=120), "the master key is not the one it was stored with")
    keys.write_bytes(good)
    assert home.run("app", "list").returncode == 0


def told(done: subprocess.CompletedProcess[str], sentence: str) -> None:
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
