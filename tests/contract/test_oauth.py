"""The token endpoint."""

from __future__ import annotations

import ast
import json
import re
import time
from urllib.parse import urlencode

import httpx
import pytest

from service.app import Service
from tests.contract.wire import PATHS, Wire

PATH = "/oauth/2.0/token"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def parameters(wire: Wire) -> dict[str, str]:
    return {
        "grant_type": "client_credentials",
        "client_id": wire.credentials.api_key,
        "client_secret": wire.credentials.secret_key,
    }


def granted(wire: Wire, response: httpx.Response) -> None:
    """The answer is a grant, and its token opens a call."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    grant = response.json()
    assert set(grant) == {
        "access_token", "expires_in", "refresh_token", "scope", "session_key", "session_secret",
    }  # fmt: skip
    shape = rf"24\.[0-9a-f]{{32}}\.2592000\.([0-9]+)\.282335-{wire.credentials.app_id}"
    match = re.fullmatch(shape, grant["access_token"])
    assert match is not None
    assert abs(int(match[1]) - time.time() - 2_592_000) < 60
    assert grant["expires_in"] == 2_592_000
    assert "brain_all_scope" in grant["scope"].split(" ")
    answer = wire.post(PATHS["getGroupList"], b"{}", query=f"access_token={grant['access_token']}")
    assert answer["error_code"] == 0


def test_by_query(wire: Wire) -> None:
    granted(wire, wire.http.get(PATH, params=parameters(wire)))
    granted(wire, wire.http.post(PATH, params=parameters(wire)))


def test_an_answer_ends_with_a_line_feed(wire: Wire) -> None:
    """Programs cut the last character off: ``eval(content[:-1])["access_token"]``."""
    granted_one = wire.http.get(PATH, params=parameters(wire)).text
    assert ast.literal_eval(granted_one[:-1])["access_token"].startswith("24.")
    assert wire.http.get(PATH, params={**parameters(wire), "client_id": "x"}).text.endswith('"}\n')


def test_by_form_and_by_json(wire: Wire) -> None:
    granted(wire, wire.http.post(PATH, data=parameters(wire)))
    granted(wire, wire.http.post(PATH, json=parameters(wire)))
    granted(wire, wire.http.post(PATH, content=json.dumps(parameters(wire)), headers=FORM))
    granted(wire, wire.http.post(PATH, files={name: (None, value) for name, value in parameters(wire).items()}))


@pytest.mark.parametrize("in_query", ["grant_type", "client_id", "client_secret"])
def test_mixed(wire: Wire, in_query: str) -> None:
    body = parameters(wire)
    query = {in_query: body.pop(in_query)}
    granted(wire, wire.http.post(PATH, params=query, data=body))


def test_an_unknown_api_key(wire: Wire) -> None:
    for client_id in ("unknown", ""):
        response = wire.http.get(PATH, params=parameters(wire) | {"client_id": client_id})
        assert response.status_code == 401
        assert response.json() == {"error": "invalid_client", "error_description": "unknown client id"}


def test_a_wrong_secret(wire: Wire) -> None:
    for secret in ("wrong", "", "密"):
        response = wire.http.post(PATH, data=parameters(wire) | {"client_secret": secret})
        assert response.status_code == 401
        assert response.json() == {"error": "invalid_client", "error_description": "Client authentication failed"}


def test_a_disabled_app_gets_no_token(service: Service, wire: Wire) -> None:
    service.apps.set_enabled(wire.credentials.app_id, enabled=False)
    assert wire.http.get(PATH, params=parameters(wire)).status_code == 401


def test_rotation_changes_the_secret(service: Service, wire: Wire) -> None:
    renewed = service.apps.rotate(wire.credentials.app_id)
    assert wire.http.get(PATH, params=parameters(wire)).status_code == 401
    granted(wire, wire.http.get(PATH, params=parameters(wire) | {"client_secret": renewed.secret_key}))


@pytest.mark.parametrize("grant_type", ["", "password", "refresh_token"])
def test_other_grants_are_not_supported(wire: Wire, grant_type: str) -> None:
    response = wire.http.get(PATH, params=parameters(wire) | {"grant_type": grant_type})
    assert response.status_code == 400
    assert response.json()["error"] == "unsupported_grant_type"


@pytest.mark.parametrize("content", [b"{", b"\xff=1", b"x" * 70_000])
def test_a_body_that_cannot_be_read(wire: Wire, content: bytes) -> None:
    response = wire.http.post(f"{PATH}?{urlencode(parameters(wire))}", content=content)
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_request"
