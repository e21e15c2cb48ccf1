"""A request that takes too long is answered in the API's words, and its work is given up."""

from __future__ import annotations

import dataclasses
import json
import socket
from collections.abc import Callable, Iterator

import httpx
import psycopg
import pytest
from prometheus_client import Gauge

from service import metrics
from service.api.application import build_api
from service.api.linkface import routes as linkface
from service.app import Service
from service.storage.urls import driver_address
from tests.contract.conftest import caller, listening
from tests.contract.wire import PATHS, Wire
from tests.fixtures.lived import patience
from tests.fixtures.pictures import Pictures

TOO_LATE = {"error_code": 2, "error_msg": "Service temporarily unavailable"}
V2_GROUPS = "/rest/2.0/face/v2/faceset/group/getlist"
V1_SESSION = "/rest/2.0/face/v1/faceliveness/sessioncode"


@pytest.fixture(scope="module")
def hurried(service: Service) -> Iterator[httpx.Client]:
    """The application with half a second for each request."""
    with listening(build_api(service, request_seconds=0.5)) as client:
        yield client


@pytest.fixture
def hasty(service: Service, hurried: httpx.Client) -> Wire:
    """A caller of it."""
    return caller(service, hurried)


def running() -> float:
    gauge: Gauge = metrics.RUNNING
    return float(gauge._value.get())


def until(true: Callable[[], bool]) -> None:
    """Wait for something that must become true."""
    assert any(true() for _ in patience(60, 0.02))


def test_waiting_for_a_turn_ends_with_the_deadline(service: Service, hasty: Wire, pictures: Pictures) -> None:
    body = json.dumps({"image": pictures.base64("obama.jpg"), "image_type": "BASE64"}).encode()
    with service.admission.permit(), service.admission.permit():
        response = hasty.response(PATHS["detect"], body)
        assert (response.status_code, response.json()) == (200, TOO_LATE)
        assert response.headers["connection"] == "close"
        until(lambda: service.admission.waiting == 0)  # nobody stands in line for nobody
    assert service.admission.inside == 0


def test_a_write_that_comes_too_late_is_not_done(
    service: Service, hasty: Wire, wire: Wire, contract_database_url: str
) -> None:
    """The app's row is locked, as by another writer that hangs: the answer comes, and the write never."""
    app = service.apps.by_app_id(hasty.credentials.app_id)
    assert app is not None
    patient = dataclasses.replace(hasty, http=wire.http)
    patient.result("groupAdd", {"group_id": "before"})
    before = running()
    with psycopg.connect(driver_address(contract_database_url)) as connection:
        connection.execute("SELECT 1 FROM change_heads WHERE app_pk = %s FOR UPDATE", [app.pk])
        assert hasty.call("groupAdd", {"group_id": "late"}) == TOO_LATE
    until(lambda: running() <= before)
    assert patient.result("getGroupList") == {"group_id_list": ["before"]}


@pytest.mark.parametrize("path", [PATHS["getGroupList"], V2_GROUPS, V1_SESSION])
def test_every_generation_says_so(hasty: Wire, hurried: httpx.Client, path: str) -> None:
    """A body that does not arrive is part of a request that takes too long."""
    answer = unfinished(hurried, f"{path}?access_token={hasty.token}")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"connection: close\r\n" in answer.lower()
    assert b'"error_code":2,' in answer


def test_linkface_and_the_token_endpoint_have_words_of_their_own(hurried: httpx.Client) -> None:
    assert b'"status":"RATE_LIMIT_EXCEEDED"' in unfinished(hurried, linkface.PATH)
    assert b'"error":"temporarily_unavailable"' in unfinished(hurried, "/oauth/2.0/token")


def unfinished(client: httpx.Client, path: str) -> bytes:
    """What comes back for a request whose body never ends, until the server hangs up."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=60) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode())
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer
