"""Quotas as every call tells them, in the words of its generation."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from service.api.application import build_api
from service.api.linkface import routes as linkface
from service.api.oauth import routes as oauth
from service.app import Service
from service.values import Limits
from tests.contract.conftest import caller, listening
from tests.contract.wire import PATHS, Wire
from tests.fixtures.pictures import Pictures

REFUSALS = {
    "daily": {"error_code": 17, "error_msg": "Open api daily request limit reached"},
    "rate": {"error_code": 18, "error_msg": "Open api qps request limit reached"},
    "total": {"error_code": 19, "error_msg": "Open api total request limit reached"},
}
USED_UP = {"daily": Limits(daily=0), "rate": Limits(concurrent=0), "total": Limits(total=0)}
LINKFACE = {"daily": "OUT_OF_QUOTA", "rate": "RATE_LIMIT_EXCEEDED", "total": "OUT_OF_QUOTA"}
FREE = {"/healthz", "/readyz", "/metrics", oauth.PATH, linkface.PATH}
"""Paths that ask for no token of an app, and the one that answers in words of its own."""


@pytest.fixture(scope="module")
def every_route(service: Service) -> Iterator[httpx.Client]:
    """Every route there is, those that need a setting too."""
    with listening(build_api(service, private_alias=True)) as client:
        yield client


def limit(service: Service, wire: Wire, limits: Limits) -> Wire:
    """Give the caller's app quotas."""
    app = service.apps.by_app_id(wire.credentials.app_id)
    assert app is not None
    service.quotas.set_limits(app, limits)
    return wire


@pytest.mark.parametrize("kind", USED_UP)
def test_every_call_is_refused_before_its_parameters_are_read(
    service: Service, http: httpx.Client, every_route: httpx.Client, kind: str
) -> None:
    wire = limit(service, caller(service, http), USED_UP[kind])
    query = {"access_token": wire.token, "appid": wire.credentials.app_id}
    paths = build_api(service, private_alias=True).openapi()["paths"]
    asked = {path: methods for path, methods in paths.items() if path not in FREE}
    assert len(asked) > 60
    for path, methods in asked.items():
        for method in methods:
            answer = every_route.request(method, path, params=query, content=None if method == "get" else b"{")
            assert (answer.status_code, answer.json()) == (200, REFUSALS[kind]), (method, path)


@pytest.mark.parametrize("kind", USED_UP)
def test_linkface_has_words_of_its_own(service: Service, wire: Wire, kind: str) -> None:
    limit(service, wire, USED_UP[kind])
    keys = {"api_id": wire.credentials.api_key, "api_secret": wire.credentials.secret_key}
    answer = wire.http.post(linkface.PATH, data=keys)
    assert (answer.status_code, answer.json()["status"]) == (403, LINKFACE[kind])


def test_a_token_is_had_and_other_apps_are_answered_when_a_quota_is_used_up(
    service: Service, wire: Wire, other_wire: Wire
) -> None:
    limit(service, wire, Limits(total=1))
    assert wire.call("getGroupList")["error_code"] == 0
    assert wire.call("getGroupList") == REFUSALS["total"]
    keys = {"client_id": wire.credentials.api_key, "client_secret": wire.credentials.secret_key}
    assert wire.http.get(oauth.PATH, params={"grant_type": "client_credentials", **keys}).status_code == 200
    assert other_wire.call("getGroupList")["error_code"] == 0


def test_requests_that_fail_count_and_requests_without_a_right_do_not(service: Service, http: httpx.Client) -> None:
    wire = limit(service, caller(service, http, ["faceset/group/getlist"]), Limits(daily=2))
    assert wire.code("detect") == 6
    assert wire.code("getGroupList", {"start": -1}) == 222002
    assert wire.call("getGroupList")["error_code"] == 0
    assert wire.call("getGroupList") == REFUSALS["daily"]


def test_no_more_at_once(service: Service, wire: Wire, pictures: Pictures) -> None:
    """The limit holds over real work: of many detections at once, some wait for none."""
    limit(service, wire, Limits(concurrent=1))
    body = json.dumps({"image": pictures.base64("obama.jpg"), "image_type": "BASE64"}).encode()
    gate = threading.Barrier(4)

    def detect() -> dict[str, Any]:
        gate.wait(30)
        return wire.post(PATHS["detect"], body)

    with ThreadPoolExecutor(4) as pool:
        answers = [future.result() for future in [pool.submit(detect) for _ in range(4)]]
    refused = [answer for answer in answers if answer == REFUSALS["rate"]]
    assert 1 <= len(refused) <= 3
    assert all(answer in refused or answer["error_code"] == 0 for answer in answers)


def test_usage_can_be_read(service: Service, wire: Wire) -> None:
    limit(service, wire, Limits(daily=3))
    assert wire.call("getGroupList")["error_code"] == 0
    assert wire.code("getGroupUsers", {"group_id": "nobody"}) == 223100
    for _ in range(2):
        wire.call("getGroupList")
    service.quotas.flush()
    app = service.apps.by_app_id(wire.credentials.app_id)
    assert app is not None
    counts = {each.call: (each.requests, each.errors, each.refused) for each in service.quotas.usage(app).calls}
    assert counts == {PATHS["getGroupList"]: (2, 0, 1), PATHS["getGroupUsers"]: (1, 1, 0)}
