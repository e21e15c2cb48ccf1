"""``/metrics``: who may read it, what stands in it, and the log of slow calls."""

from __future__ import annotations

import errno
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service import state
from service.api import metrics as api_metrics
from service.api.application import build_api
from service.app import Service
from service.errors import DatabaseUnavailable
from service.storage.engine import Reader
from tests.contract.conftest import listening
from tests.contract.wire import Wire
from tests.fixtures.pictures import Pictures


def samples(http: httpx.Client) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of a scrape, by name and labels."""
    response = http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(response.text)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def labelled(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


def test_calls_are_counted_by_call_and_code(http: httpx.Client, wire: Wire) -> None:
    succeeded = ("aipface_requests_total", labelled(call="v3/faceset/group/add", code="0"))
    failed = ("aipface_requests_total", labelled(call="v3/faceset/group/add", code="223101"))
    before = samples(http)
    wire.result("groupAdd", {"group_id": "counted"})
    assert wire.code("groupAdd", {"group_id": "counted"}) == 223101
    after = samples(http)
    assert after[succeeded] == before.get(succeeded, 0) + 1
    assert after[failed] == before.get(failed, 0) + 1
    counted = ("aipface_request_seconds_count", labelled(call="v3/faceset/group/add"))
    assert after[counted] == before.get(counted, 0) + 2


def test_plain_http_has_no_certificate(http: httpx.Client) -> None:
    assert [name for name, _ in samples(http) if "certificate" in name] == []


def test_stages_and_state_follow_an_enrolment(http: httpx.Client, wire: Wire, pictures: Pictures) -> None:
    picture = {"image": pictures.base64("obama.jpg"), "image_type": "BASE64"}
    before = samples(http)
    wire.result("addUser", {**picture, "group_id": "staff", "user_id": "obama"})
    wire.result("search", {**picture, "group_id_list": "staff"})
    after = samples(http)
    for stage in ("wait", "decode", "detect", "embed", "search", "database"):
        name = ("aipface_stage_seconds_count", labelled(stage=stage))
        assert after[name] > before[name], stage
    nothing: frozenset[tuple[str, str]] = frozenset()
    assert after["aipface_batch_faces_count", nothing] > before["aipface_batch_faces_count", nothing]
    assert after["aipface_faces", nothing] == before["aipface_faces", nothing] + 1
    assert after["aipface_index_bytes", nothing] > 0
    assert after["aipface_change_log_lag", nothing] == 0
    assert after["aipface_database_up", nothing] == 1
    assert after["aipface_admission_permits", nothing] == 2
    assert after["aipface_face_token_bytes", nothing] > 0
    (info,) = [dict(labels) for name, labels in after if name == "aipface_service_info"]
    assert info["pack"] == "core"
    assert info["provider"] == "CPUExecutionProvider"


@pytest.mark.parametrize("header", ["Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"])
def test_what_a_proxy_passes_on_is_refused_as_an_unknown_call(http: httpx.Client, header: str) -> None:
    response = http.get("/metrics", headers={header: "203.0.113.7"})
    assert (response.status_code, response.json()["error_code"]) == (200, 3)


def test_the_setting_opens_and_closes(service: Service) -> None:
    with listening(build_api(service, metrics_access="off")) as http:
        assert http.get("/metrics").json()["error_code"] == 3
    with listening(build_api(service, metrics_access="on")) as http:
        assert "aipface_faces" in http.get("/metrics", headers={"X-Forwarded-For": "203.0.113.7"}).text


def test_a_slow_call_is_logged_with_its_stages(service: Service, wire: Wire, caplog: pytest.LogCaptureFixture) -> None:
    with listening(build_api(service, slow_seconds=1e-9)) as http, caplog.at_level(logging.INFO, "service.api.calls"):
        slow = Wire(http, wire.credentials, wire.token)
        answer = slow.call("getGroupList")
    (record,) = [record for record in caplog.records if record.message == "slow call"]
    told = vars(record)
    assert told["call"] == "getGroupList"
    assert told["log_id"] == answer["log_id"]
    assert told["database_ms"] > 0
    assert 0 < told["body_ms"] < told["milliseconds"]
    (usual,) = [record for record in caplog.records if record.message == "call"]
    assert vars(usual)["log_id"] == answer["log_id"]


def test_descriptors_that_ran_out_are_told_to_who_scrapes(http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(api_metrics, "registries", none_left)
    response = http.get("/metrics")
    assert (response.status_code, response.text) == (503, "Too many open files\n")


def test_a_database_that_stands_still_keeps_no_scrape_waiting(
    http: httpx.Client, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    moving, asked = threading.Event(), []

    def stands_still(*_: object) -> object:
        asked.append(1)
        moving.wait()
        raise DatabaseUnavailable("too late")

    with monkeypatch.context() as patched:
        patched.setattr(state, "LONGEST_LOOK", 0.01)
        patched.setattr(service.database, "read", stands_still)
        for _ in range(3):
            assert samples(http)["aipface_database_up", frozenset()] == 0
        assert len(asked) == 1
        moving.set()
        with state._asking:
            pass
    assert samples(http)["aipface_database_up", frozenset()] == 1


def test_who_looks_at_the_same_moment_is_told_the_same(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    read = service.database.read

    def slowly() -> AbstractContextManager[Reader]:
        time.sleep(0.05)
        return read()

    monkeypatch.setattr(service.database, "read", slowly)
    with ThreadPoolExecutor(4) as pool:
        looks = [pool.submit(service.state) for _ in range(4)]
    assert all(look.result().storage is not None for look in looks)


def test_an_index_that_is_about_to_follow_is_ready(
    http: httpx.Client, service: Service, wire: Wire, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = {"image": pictures.base64("obama.jpg"), "image_type": "BASE64", "group_id": "ready", "user_id": "obama"}
    wire.result("addUser", person)
    reached, positions = service.catalog.position, []

    def follows(app_pk: int) -> int:
        positions.append(app_pk)
        return reached(app_pk) - (len(positions) < 10)

    monkeypatch.setattr(service.catalog, "position", follows)
    response = http.get("/readyz")
    assert (response.status_code, response.json()["ready"]) == (200, True)
    assert len(positions) >= 10
    monkeypatch.setattr(service.catalog, "position", lambda app_pk: reached(app_pk) - 1)
    monkeypatch.setattr(state, "PATIENCE", 0.05)
    response = http.get("/readyz")
    assert response.status_code == 503
    assert "apps are being replayed" in response.text
