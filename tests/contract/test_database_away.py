"""A database that is away, or takes no writes: the documented codes, a readiness that tells, recovery by itself."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Callable, Iterator

import httpx
import psycopg
import pytest
from sqlalchemy.engine import make_url

from service.storage.urls import driver_address
from tests.contract.wire import Body, Wire
from tests.fixtures.lived import patience
from tests.fixtures.pictures import Pictures

V2_GROUPS = "/rest/2.0/face/v2/faceset/group/getlist"

Broken = Callable[[str, str], contextlib.AbstractContextManager[None]]


@pytest.fixture
def broken(contract_database_url: str) -> Iterator[Broken]:
    """Break the database for a block by one statement and mend it by another; both end every connection."""
    url = make_url(contract_database_url)
    name = url.database or ""
    maintenance = url.set(database="postgres").render_as_string(hide_password=False)
    with psycopg.connect(driver_address(maintenance), autocommit=True) as connection:

        def put(statement: str) -> None:
            connection.execute(f'ALTER DATABASE "{name}" {statement}'.encode())
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            connection.execute(ended, [name])

        @contextlib.contextmanager
        def during(breaking: str, mending: str) -> Iterator[None]:
            put(breaking)
            try:
                yield
            finally:
                put(mending)

        yield during


def until_ready(http: httpx.Client) -> None:
    assert any(http.get("/readyz").status_code == 200 for _ in patience(60))


def test_a_database_that_is_away(http: httpx.Client, wire: Wire, broken: Broken) -> None:
    assert wire.call("groupAdd", {"group_id": "before"})["error_code"] == 0
    with broken("ALLOW_CONNECTIONS false", "ALLOW_CONNECTIONS true"):
        assert wire.code("groupAdd", {"group_id": "meanwhile"}) == 2
        assert wire.code("getGroupUsers", {"group_id": "before"}) == 2
        assert wire.response(V2_GROUPS, b"{}").json()["error_code"] == 216300
        assert http.get("/healthz").status_code == 200
        response = http.get("/readyz")
        assert response.status_code == 503
        states = {check["name"]: check["ok"] for check in response.json()["checks"]}
        assert states == {"weights": True, "database": False, "index": False, "model": True}
    until_ready(http)
    assert wire.call("groupAdd", {"group_id": "after"})["error_code"] == 0
    assert sorted(wire.result("getGroupList")["group_id_list"]) == ["after", "before"]


def test_a_database_that_takes_no_writes(http: httpx.Client, wire: Wire, broken: Broken) -> None:
    """As one does whose disk is full, or that stands by for another: reading goes on."""
    assert wire.call("groupAdd", {"group_id": "before"})["error_code"] == 0
    with broken("SET default_transaction_read_only = on", "RESET default_transaction_read_only"):
        assert wire.code("groupAdd", {"group_id": "meanwhile"}) == 222302
        assert wire.result("getGroupList") == {"group_id_list": ["before"]}
    until_ready(http)
    assert wire.call("groupAdd", {"group_id": "after"})["error_code"] == 0


def test_faces_that_cannot_be_remembered(http: httpx.Client, wire: Wire, pictures: Pictures, broken: Broken) -> None:
    """Rows are written behind the answer: one answer may come before the failure is known, and none after it."""
    picture = pictures.bytes("obama.jpg")

    def detect(number: int) -> Body:
        return {"image": base64.b64encode(picture + bytes(number)).decode(), "image_type": "BASE64"}

    with broken("SET default_transaction_read_only = on", "RESET default_transaction_read_only"):
        first = wire.call("detect", detect(1))
        told = [face["face_token"] for face in first["result"]["face_list"]]
        assert [wire.code("detect", by_token(token)) for token in told] == [222209]
        assert [wire.code("detect", detect(number)) for number in (2, 3)] == [222302, 222302]
    until_ready(http)
    for number in (4, 5):
        (face,) = wire.result("detect", detect(number))["face_list"]
        assert wire.call("detect", by_token(face["face_token"]))["error_code"] == 0


def by_token(token: str) -> Body:
    return {"image": token, "image_type": "FACE_TOKEN"}
