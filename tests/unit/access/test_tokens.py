from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import pytest

from service.access.keys import Keyring
from service.access.tokens import LIFETIME_SECONDS, Tokens
from service.errors import AppUnavailable, TokenExpired, TokenInvalid, TokenMissing
from service.values import App

NOW = 1_800_000_000.5
OLD, NEW = bytes(range(32)), bytes(range(32, 64))
APP = App(pk=1, app_id="12345678", name="test", api_key="key", epoch=3, permissions=None)
TOKENS = Tokens(Keyring(OLD))


def known(*apps: App) -> Callable[[str], App | None]:
    return {app.app_id: app for app in apps}.get


def changed(token: str, part: int, value: str) -> str:
    parts = token.split(".")
    parts[part] = value
    return ".".join(parts)


def test_a_grant_has_the_shape_that_clients_know() -> None:
    grant = TOKENS.issue(APP, NOW)
    assert re.fullmatch(r"24\.[0-9a-f]{32}\.2592000\.1802592000\.282335-12345678", grant.access_token)
    assert grant.expires_in == 2_592_000
    assert "brain_all_scope" in grant.scope.split(" ")
    assert len(grant.scope.split(" ")) > 1
    assert grant.refresh_token.startswith("25.")
    assert grant.session_key
    assert grant.session_secret


def test_a_token_leads_back_to_its_app() -> None:
    token = TOKENS.issue(APP, NOW).access_token
    assert TOKENS.verify(token, known(APP), NOW) is APP
    assert TOKENS.verify(token, known(APP), NOW + LIFETIME_SECONDS - 1) is APP


def test_the_clock_is_used_when_no_time_is_given() -> None:
    assert TOKENS.verify(TOKENS.issue(APP).access_token, known(APP)) is APP


def test_what_node_appends_is_cut_off() -> None:
    token = TOKENS.issue(APP, NOW).access_token
    assert TOKENS.verify(f"{token}?aipSdk=node", known(APP), NOW) is APP


@pytest.mark.parametrize(
    "token",
    [None, "", " ", "?aipSdk=node", "nonsense", "24.", "24.a.b.c", "25.a.b.c.d-1", "24.a.b.c.282335-", "a.b.c.d.e-f"],
)
def test_what_is_no_token_is_missing(token: str | None) -> None:
    with pytest.raises(TokenMissing):
        TOKENS.verify(token, known(APP), NOW)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        (1, "0" * 32),
        (1, "é" * 32),
        (1, "0"),
        (2, "2592001"),
        (3, "1802592001"),
        (3, "９９９９９９９９９９"),
        (3, "never"),
        (3, "9" * 30),
        (4, "282335-1"),
        (4, "282336-12345678"),
    ],
)
def test_a_changed_token_is_invalid(part: int, value: str) -> None:
    other = dataclasses.replace(APP, pk=2, app_id="1")
    token = changed(TOKENS.issue(APP, NOW).access_token, part, value)
    with pytest.raises(TokenInvalid):
        TOKENS.verify(token, known(APP, other), NOW)


def test_a_token_of_a_deleted_app_is_invalid() -> None:
    with pytest.raises(TokenInvalid):
        TOKENS.verify(TOKENS.issue(APP, NOW).access_token, known(), NOW)


def test_counting_up_the_epoch_revokes() -> None:
    token = TOKENS.issue(APP, NOW).access_token
    with pytest.raises(TokenInvalid):
        TOKENS.verify(token, known(dataclasses.replace(APP, epoch=4)), NOW)


def test_a_genuine_token_expires() -> None:
    token = TOKENS.issue(APP, NOW).access_token
    with pytest.raises(TokenExpired):
        TOKENS.verify(token, known(APP), NOW + LIFETIME_SECONDS)


def test_a_forged_expiry_in_the_past_is_invalid_and_not_expired() -> None:
    token = changed(TOKENS.issue(APP, NOW).access_token, 3, "1500000000")
    with pytest.raises(TokenInvalid):
        TOKENS.verify(token, known(APP), NOW)


def test_a_disabled_app_is_told_so() -> None:
    token = TOKENS.issue(APP, NOW).access_token
    with pytest.raises(AppUnavailable):
        TOKENS.verify(token, known(dataclasses.replace(APP, enabled=False)), NOW)


def test_tokens_outlive_the_rotation_of_the_master_key() -> None:
    token = TOKENS.issue(APP, NOW).access_token
    assert Tokens(Keyring(NEW, OLD)).verify(token, known(APP), NOW) is APP
    with pytest.raises(TokenInvalid):
        Tokens(Keyring(NEW)).verify(token, known(APP), NOW)
