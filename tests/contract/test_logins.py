"""Failed log-ins are limited wherever keys are shown, and limited for nobody else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

import httpx
import pytest

from service.access.attempts import Attempts
from service.access.failures import Failures
from service.api.linkface import routes as linkface
from service.api.oauth import routes as oauth
from service.app import Service, create_app
from tests.contract.conftest import caller, listening
from tests.contract.test_access import SIGNED, signed_headers
from tests.contract.wire import PATHS, Wire

FAILURES = 3
LIST = PATHS["getGroupList"]
ELSEWHERE = {"X-Forwarded-For": "203.0.113.9"}
"""The server of the tests believes its own machine where a request came from."""

Ask = Callable[[Wire, str, dict[str, str]], httpx.Response]


def by_token(wire: Wire, secret: str, headers: dict[str, str]) -> httpx.Response:
    keys = {"client_id": wire.credentials.api_key, "client_secret": secret}
    return wire.http.get(oauth.PATH, params={"grant_type": "client_credentials", **keys}, headers=headers)


def by_signature(wire: Wire, secret: str, headers: dict[str, str]) -> httpx.Response:
    signed = signed_headers(wire.credentials.api_key, secret)
    return wire.http.post(f"{LIST}?{urlencode(SIGNED)}", content=b"{}", headers={**signed, **headers})


def by_linkface(wire: Wire, secret: str, headers: dict[str, str]) -> httpx.Response:
    keys = {"api_id": wire.credentials.api_key, "api_secret": secret}
    return wire.http.post(linkface.PATH, data=keys, headers=headers)


WAYS: dict[Ask, tuple[int, bytes, int, bytes]] = {
    by_token: (401, b"Client authentication failed", 429, b"Too many failed attempts"),
    by_signature: (200, b'"error_code":14', 200, b'"error_code":18'),
    by_linkface: (401, b"UNAUTHORIZED", 403, b"RATE_LIMIT_EXCEEDED"),
}
LET_IN: dict[Ask, bytes] = {
    by_token: b"access_token",
    by_signature: b'"error_code":0',
    by_linkface: b"INVALID_ARGUMENT",
}
"""What the right secret comes to: for Linkface a complaint about the files that are missing."""


@pytest.fixture
def wire(service: Service) -> Iterator[Wire]:
    """A caller of a server that counts anew and looks at three failures."""
    counted = dataclasses.replace(service, attempts=Attempts(FAILURES, Failures(60)))
    with listening(create_app(counted)) as client:
        yield caller(counted, client)


@pytest.mark.parametrize("ask", WAYS)
def test_after_too_many_failures_the_right_secret_is_not_looked_at_either(wire: Wire, ask: Ask) -> None:
    wrong, words, limited, refusal = WAYS[ask]
    right = wire.credentials.secret_key
    for _ in range(FAILURES):
        answer = ask(wire, "0" * 32, {})
        assert (answer.status_code, words in answer.content) == (wrong, True), answer.text
    for secret in ("0" * 32, right):
        answer = ask(wire, secret, {})
        assert (answer.status_code, refusal in answer.content) == (limited, True), answer.text
        assert right.encode() not in answer.content
    assert LET_IN[ask] in ask(wire, right, ELSEWHERE).content


@pytest.mark.parametrize("ask", WAYS)
def test_the_right_secret_is_let_in_as_often_as_it_comes(wire: Wire, ask: Ask) -> None:
    for _ in range(FAILURES):
        for _ in range(FAILURES - 1):
            ask(wire, "0" * 32, {})
        assert LET_IN[ask] in ask(wire, wire.credentials.secret_key, {}).content


def test_tokens_work_on_while_log_ins_are_refused(wire: Wire) -> None:
    for _ in range(FAILURES + 1):
        by_token(wire, "wrong", {})
    assert wire.call("getGroupList")["error_code"] == 0


def test_unknown_keys_are_counted_like_known_ones(wire: Wire) -> None:
    """What limits an attacker does not tell him which keys exist."""
    stranger = dataclasses.replace(wire, credentials=dataclasses.replace(wire.credentials, api_key="no such key"))
    for ask, (wrong, _, limited, refusal) in WAYS.items():
        for _ in range(FAILURES if ask is by_token else 0):
            assert ask(stranger, "0" * 32, {}).status_code == wrong
        answer = ask(stranger, "0" * 32, {})
        assert (answer.status_code, refusal in answer.content) == (limited, True)
