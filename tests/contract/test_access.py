"""Who may call what: tokens, signatures, permissions, and what is answered without them."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
import warnings
from datetime import datetime, timezone
from types import SimpleNamespace
from urllib.parse import quote, urlencode

import httpx
import pytest
from aip import AipFace

from service.access.tokens import LIFETIME_SECONDS
from service.api import caller as caller_of_requests
from service.api.v3.routes import CALLS
from service.app import Service
from service.values import App
from tests.contract.conftest import caller
from tests.contract.wire import PATHS, Wire, checked

LIST = PATHS["getGroupList"]
MISSING = {"error_code": 100, "error_msg": "Invalid parameter"}
INVALID = {"error_code": 110, "error_msg": "Access token invalid or no longer valid"}
EXPIRED = {"error_code": 111, "error_msg": "Access token expired"}
UNSIGNED = {"error_code": 14, "error_msg": "IAM Certification failed"}


def app_of(service: Service, wire: Wire) -> App:
    app = service.apps.by_app_id(wire.credentials.app_id)
    assert app is not None
    return app


# --- tokens ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS, ids=lambda call: str(call.name))
@pytest.mark.parametrize("query", ["", "access_token=", "access_token=nonsense", "aipSdk=python"])
def test_nothing_answers_without_a_token(wire: Wire, call: object, query: str) -> None:
    path, example = getattr(call, "path"), getattr(call, "example")  # noqa: B009 - parametrised
    assert wire.post(path, json.dumps(example).encode(), query=query) == MISSING


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"access_token":1}', b'{"access_token":""}', b"x" * (11 * 2**20)])
def test_a_body_does_not_make_up_for_a_missing_token(wire: Wire, content: bytes) -> None:
    assert wire.post(LIST, content, query="") == MISSING


def test_forged_foreign_and_expired_tokens_are_told_apart(service: Service, wire: Wire) -> None:
    head, _, tail = wire.token.partition(".")
    forged = f"{head}.{'0' * 32}.{tail.split('.', 1)[1]}"
    foreign = "24.6c5e1ff107f0e8bcef8c46d3424a0e78.2592000.1485516651.282335-8574074"
    assert wire.post(LIST, b"{}", query=f"access_token={forged}") == INVALID
    assert wire.post(LIST, b"{}", query=f"access_token={foreign}") == INVALID
    old = service.tokens.issue(app_of(service, wire), time.time() - LIFETIME_SECONDS - 1).access_token
    assert wire.post(LIST, b"{}", query=f"access_token={old}") == EXPIRED


def test_rotating_an_app_revokes_its_tokens_at_once(service: Service, wire: Wire) -> None:
    assert wire.call("getGroupList")["error_code"] == 0
    service.apps.rotate(wire.credentials.app_id)
    assert wire.call("getGroupList") == INVALID


def test_a_disabled_app_is_told_so(service: Service, wire: Wire) -> None:
    service.apps.set_enabled(wire.credentials.app_id, enabled=False)
    assert wire.call("getGroupList") == {"error_code": 15, "error_msg": "app not exsits or create failed"}


def test_the_token_as_node_sends_it(wire: Wire) -> None:
    query = f"aipSdk=node&access_token={wire.token}?aipSdk=node"
    content = b'{"start":0}'
    answer = wire.post(LIST, content, query=query, Content_Type="application/x-www-form-urlencoded")
    assert answer["result"] == {"group_id_list": []}


@pytest.mark.parametrize("form", [True, False])
def test_the_token_may_stand_in_the_body(wire: Wire, *, form: bool) -> None:
    parameters = {"access_token": wire.token, "start": "0"}
    content = urlencode(parameters) if form else json.dumps(parameters)
    assert wire.post(LIST, content.encode(), query="")["error_code"] == 0


# --- permissions ----------------------------------------------------------------------------------------------------


def test_an_app_may_do_what_it_was_granted(service: Service, http: httpx.Client) -> None:
    narrow = caller(service, http, {"faceset/group/getlist"})
    assert narrow.call("getGroupList")["error_code"] == 0
    for name in PATHS.keys() - {"getGroupList"}:
        assert narrow.call(name) == {"error_code": 6, "error_msg": "No permission to access data"}


def test_apps_do_not_see_each_other(wire: Wire, other_wire: Wire) -> None:
    wire.result("groupAdd", {"group_id": "g1"})
    assert other_wire.result("getGroupList") == {"group_id_list": []}
    assert other_wire.code("getGroupUsers", {"group_id": "g1"}) == 223100


# --- signatures -----------------------------------------------------------------------------------------------------


SIGNED = {"aipSdk": "python", "aipVersion": "4.15.13"}
"""The query of a signed call."""


def signed_headers(key: str, secret: str) -> dict[str, str]:
    """Headers of a call signed by the real Python SDK's code."""
    client = AipFace("1", key, secret)
    client._isCloudUser = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        headers: dict[str, str] = client._getAuthHeaders(
            "POST", f"https://aip.baidubce.com{LIST}", dict(SIGNED), {"Content-Type": "application/json"}
        )
    return headers


def signed(wire: Wire, *, key: str | None = None, secret: str | None = None) -> httpx.Response:
    """A signed call."""
    headers = signed_headers(key or wire.credentials.api_key, secret or wire.credentials.secret_key)
    return wire.http.post(f"{LIST}?{urlencode(SIGNED)}", content=b"{}", headers=headers)


def test_a_signed_call(wire: Wire) -> None:
    assert checked(signed(wire))["result"] == {"group_id_list": []}


def test_unknown_keys_and_wrong_secrets_look_alike(wire: Wire) -> None:
    assert checked(signed(wire, key="unknown")) == UNSIGNED
    assert checked(signed(wire, secret="wrong")) == UNSIGNED


def test_a_signature_ends_with_the_secret(service: Service, wire: Wire) -> None:
    service.apps.rotate(wire.credentials.app_id)
    assert checked(signed(wire)) == UNSIGNED


def test_a_malformed_signature(wire: Wire) -> None:
    assert wire.post(LIST, b"{}", query="", Authorization="bce-auth-v1/x") == UNSIGNED
    assert wire.post(LIST, b"{}", query="", Authorization="Bearer x") == MISSING


@pytest.mark.parametrize(("content", "groups"), [(b'{"start":0}', True), (b'{"start":1}', False)])
def test_java_in_the_afternoon_is_believed_for_the_body_that_it_signed(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, content: bytes, groups: bool
) -> None:
    """Its twelve-hour clock would let anybody send the morning's signatures again, with other bodies."""
    noon = datetime(2026, 1, 31, 12, tzinfo=timezone.utc).timestamp()
    monkeypatch.setattr(caller_of_requests, "time", SimpleNamespace(time=lambda: noon + 3600))
    stamp, md5 = "2026-01-31T01:00:00Z", hashlib.md5(b'{"start":0}', usedforsecurity=False).hexdigest()
    headers = {"host": "aip.baidubce.com", "content-md5": md5, "content-length": "11", "x-bce-date": stamp}
    key = sign(wire.credentials.secret_key, begun := f"bce-auth-v1/{wire.credentials.api_key}/{stamp}/1800")
    lines = "\n".join(sorted(f"{name}:{quote(value, safe='')}" for name, value in headers.items()))
    headers["authorization"] = f"{begun}//{sign(key, chr(10).join(['POST', LIST, 'aipSdk=java', lines]))}"
    answer = checked(wire.http.post(f"{LIST}?aipSdk=java", content=content, headers=headers))
    assert answer.get("result") == {"group_id_list": []} if groups else answer == UNSIGNED


def sign(key: str, text: str) -> str:
    return hmac.new(key.encode(), text.encode(), hashlib.sha256).hexdigest()


# --- paths ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/", "/rest/2.0/face/v3/nothing", "/rest/2.0/face/v3/detect/", "/rest/2.0/face/v3", "/人"]
)
def test_unknown_paths(http: httpx.Client, path: str) -> None:
    expected = {"error_code": 3, "error_msg": "Unsupported openapi method"}
    assert checked(http.post(path, content=b"{}")) == expected
    assert checked(http.get(path)) == expected


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods(wire: Wire, method: str) -> None:
    response = wire.http.request(method, f"{PATHS['detect']}?access_token={wire.token}")
    assert checked(response)["error_code"] == 3
