"""The console over plain HTTP: what every page shows and does, and that no other site can act."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace

import httpx
import pytest

from service.app import Service
from service.values import NO_LIMITS, Limits
from tests.contract.console.visits import PAGES, form_token, send
from tests.contract.wire import Wire
from tests.fixtures.pictures import Pictures

# --- every page -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("page", [*PAGES, "/login", "/nothing"])
def test_every_page_is_whole_and_strict(operator: httpx.Client, page: str, language: str) -> None:
    response = operator.get(page, headers={"Accept-Language": language})
    assert response.status_code == (404 if page == "/nothing" else 200)
    assert f'<html lang="{"zh-CN" if language == "zh" else "en"}"' in response.text
    policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<script(?![^>]*\bsrc=)|\bstyle=|\son\w+=|javascript:", response.text)
    for asset in re.findall(r'(?:src|href)="(/console/static/[^"]+)"', response.text):
        found = operator.get(asset.removeprefix("/console"))
        assert found.status_code == 200, asset
        assert found.headers["content-security-policy"]


def test_the_language_can_be_chosen_and_stays(operator: httpx.Client) -> None:
    assert "概览" in operator.get("/?lang=zh").text
    assert "概览" in operator.get("/", headers={"Accept-Language": "en"}).text
    assert "Overview" in operator.get("/?lang=en", headers={"Accept-Language": "zh-CN"}).text
    operator.cookies.delete("aipface_language")


def test_the_overview_tells_health(service: Service, operator: httpx.Client) -> None:
    text = operator.get("/").text
    for check in service.readiness().checks:
        assert check.detail in text
    assert service.engine.model_id in text


# --- apps -----------------------------------------------------------------------------------------------------------


def test_an_app_is_made_rotated_and_kept_out(service: Service, operator: httpx.Client) -> None:
    made = send(operator, "/apps", name="<b>door</b>")
    secret = re.search(r'id="secret">(\w{32})<', made.text)
    assert secret is not None
    assert "&lt;b&gt;door&lt;/b&gt;" in made.text
    assert "<b>door" not in made.text
    app = service.apps.list()[-1]
    assert service.apps.secret(app) == secret[1]
    assert secret[1] not in operator.get("/apps").text
    rotated = re.search(r'id="secret">(\w{32})<', send(operator, f"/apps/{app.app_id}/rotate").text)
    assert rotated is not None
    assert rotated[1] != secret[1]
    assert send(operator, f"/apps/{app.app_id}/disable").status_code == 303
    assert not service.apps.list()[-1].enabled
    assert send(operator, f"/apps/{app.app_id}/enable").status_code == 303
    assert service.apps.list()[-1].enabled


def test_quotas_are_set_and_usage_is_shown(service: Service, operator: httpx.Client, wire: Wire) -> None:
    wire.call("getGroupList")
    service.quotas.flush()
    path = f"/apps/{wire.credentials.app_id}/quota"
    assert send(operator, path, qps="50", daily=" 1000 ", total="", concurrent="8").headers["location"].endswith(path)
    app = service.apps.by_app_id(wire.credentials.app_id)
    assert app is not None
    assert app.limits == Limits(qps=50, daily=1000, total=None, concurrent=8)
    text = operator.get(path).text
    assert 'name="qps" type="number" min="1" max="1000000" step="1" value="50"' in text
    assert re.search(r'<td class="number">1</td><td class="number">0</td><td class="number">0</td>', text)
    assert send(operator, path).status_code == 303
    assert service.apps.by_app_id(wire.credentials.app_id) == replace(app, limits=NO_LIMITS)


@pytest.mark.parametrize("limit", ["-1", "x", "1.5", "0", "1000001", "9" * 400, "٣"])
def test_a_limit_is_a_number(service: Service, operator: httpx.Client, wire: Wire, limit: str) -> None:
    path = f"/apps/{wire.credentials.app_id}/quota"
    assert send(operator, path, qps=limit).status_code == 400
    app = service.apps.by_app_id(wire.credentials.app_id)
    assert app is not None
    assert app.limits == NO_LIMITS


@pytest.mark.parametrize(
    "path", ["/apps/1/quota", "/apps/1/rotate", "/apps/1/disable", "/apps/1/explode", "/library/1"]
)
def test_what_is_not_there(operator: httpx.Client, path: str) -> None:
    assert send(operator, path, group="g").status_code == 404


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\nb"])
def test_a_name_is_needed(operator: httpx.Client, name: str) -> None:
    assert send(operator, "/apps", name=name).status_code == 400


@pytest.mark.parametrize("token", [None, "", "0" * 64])
def test_forms_without_the_token_of_the_session_are_refused(
    service: Service, operator: httpx.Client, token: str | None
) -> None:
    before = len(service.apps.list())
    fields = {"name": "theirs"} if token is None else {"name": "theirs", "form_token": token}
    assert operator.post("/apps", data=fields).status_code == 403
    assert len(service.apps.list()) == before


def test_forms_of_another_site_are_refused_even_with_the_token(service: Service, operator: httpx.Client) -> None:
    before = len(service.apps.list())
    fields = {"name": "theirs", "form_token": form_token(operator)}
    response = operator.post("/apps", data=fields, headers={"Origin": "https://example.com"})
    assert response.status_code == 403
    assert len(service.apps.list()) == before


def test_a_huge_form_is_refused(operator: httpx.Client) -> None:
    assert send(operator, "/apps", name="x" * 70_000).status_code == 413


# --- the library ----------------------------------------------------------------------------------------------------


def test_the_library_is_shown_and_emptied(operator: httpx.Client, wire: Wire, pictures: Pictures) -> None:
    picture = {"image": pictures.base64("obama.jpg"), "image_type": "BASE64"}
    wire.result("addUser", {**picture, "group_id": "staff", "user_id": "obama", "user_info": "<i>44th</i>"})
    library = f"/library/{wire.credentials.app_id}"
    assert send(operator, library, group="guests").status_code == 303
    assert send(operator, library, group="guests").status_code == 400
    assert send(operator, library, group="no blanks").status_code == 400
    assert all(name in operator.get(library).text for name in ("staff", "guests"))
    assert "obama" in operator.get(f"{library}/staff").text
    faces = operator.get(f"{library}/staff/obama")
    assert "&lt;i&gt;44th" in faces.text
    (path,) = re.findall(r'src="/console(/library/[^"]+/picture)"', faces.text)
    crop = operator.get(path)
    assert crop.headers["content-type"] == "image/jpeg"
    assert crop.headers["cache-control"] == "no-store"
    assert crop.content.startswith(b"\xff\xd8")
    delete = path.replace("/picture", "/delete")
    assert operator.get(delete).status_code == 200
    assert wire.result("getGroupUsers", {"group_id": "staff"})["user_id_list"] == ["obama"]  # asked, not done
    assert send(operator, delete).headers["location"].endswith("/staff")
    assert wire.result("getGroupUsers", {"group_id": "staff"})["user_id_list"] == []
    assert send(operator, f"{library}/staff/obama/delete").status_code == 404
    assert operator.get(f"{library}/staff/obama").status_code == 404
    assert send(operator, f"{library}/staff/-/delete").status_code == 303
    assert wire.result("getGroupList")["group_id_list"] == ["guests"]
    assert operator.get(f"{library}/@ALL").status_code == 404


def test_a_group_may_be_called_what_the_api_calls_one(operator: httpx.Client, wire: Wire) -> None:
    library = f"/library/{wire.credentials.app_id}"
    assert send(operator, library, group="G_" * 64).status_code == 303
    assert send(operator, library, group="g" * 129).status_code == 400
    wire.result("groupDelete", {"group_id": "G_" * 64})
    assert 'pattern="[A-Za-z0-9_]{1,128}"' in operator.get(library).text


def test_users_and_groups_come_in_pages(service: Service, operator: httpx.Client, wire: Wire) -> None:
    app = service.apps.by_app_id(wire.credentials.app_id)
    assert app is not None
    with service.database.write(app.pk) as work:
        group = work.groups.insert("many")
        for number in range(30):
            work.users.insert(group, f"user{number}")
    path = f"/library/{app.app_id}/many"
    first, second = operator.get(path).text, operator.get(f"{path}?start=24").text
    assert "user23" in first
    assert "user24" not in first
    assert "start=24" in first
    assert "user24" in second
    assert "start=0" in second
    assert operator.get(f"{path}?start=x").text.replace("start=x&amp;", "") == first
    for beyond in (path, path.removesuffix("/many")):
        assert operator.get(f"{beyond}?start=300").headers["location"] == f"/console{beyond}"


def test_nothing_is_shown_across_apps(operator: httpx.Client, wire: Wire, other_wire: Wire) -> None:
    wire.result("groupAdd", {"group_id": "private"})
    assert operator.get(f"/library/{other_wire.credentials.app_id}/private").status_code == 404


# --- trying ---------------------------------------------------------------------------------------------------------


def attempt(client: httpx.Client, content: object) -> httpx.Response:
    headers = {"X-Form-Token": form_token(client), "Accept": "application/json"}
    return client.post("/try", content=json.dumps(content).encode(), headers=headers)


def test_every_call_can_be_tried(operator: httpx.Client, wire: Wire, pictures: Pictures) -> None:
    first, second = pictures.base64("obama.jpg"), pictures.base64("obama2.jpg")
    tries = [
        ("user/add", [first], {"group_id": "staff", "user_id": "obama"}),
        ("detect", [first], {"face_field": "age,landmark72", "max_face_num": "2"}),
        ("match", [first, second], {}),
        ("search", [second], {"group_id_list": "staff"}),
        ("multi-search", [second], {"group_id_list": "staff", "max_face_num": "5", "match_threshold": "80"}),
    ]
    for call, sent, options in tries:
        response = attempt(
            operator, {"app_id": wire.credentials.app_id, "call": call, "pictures": sent, "options": options}
        )
        tried = response.json()
        assert tried["answer"]["error_code"] == 0, tried["answer"]
        assert json.loads(tried["json"]) == tried["answer"]
        assert tried["milliseconds"] > 0
        assert set(tried["samples"]) == {"curl", "python", "node"}
        assert all(first[:100] not in text for text in tried["samples"].values())
        assert str(operator.base_url).removesuffix("/console/") in tried["samples"]["curl"]


def test_an_error_of_the_call_is_an_answer(operator: httpx.Client, wire: Wire) -> None:
    picture = base64.b64encode(b"no picture").decode()
    content = {"app_id": wire.credentials.app_id, "call": "user/add", "pictures": [picture], "options": {}}
    assert attempt(operator, content).json()["answer"]["error_code"] != 0


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        None,
        {"app_id": "1", "call": "explode", "pictures": [], "options": {}},
        {"app_id": "1", "call": "detect", "pictures": [], "options": {}},
        {"app_id": "1", "call": "detect", "pictures": [1], "options": {}},
        {"app_id": 1, "call": "detect", "pictures": ["x"], "options": {}},
        {"app_id": "1", "call": "detect", "pictures": ["x"], "options": {"face_field": 1}},
        {"app_id": "1", "call": ["detect"], "pictures": ["x"], "options": {}},
    ],
)
def test_malformed_trials_are_refused(operator: httpx.Client, content: object) -> None:
    assert attempt(operator, content).status_code == 400


def test_a_disabled_app_cannot_be_tried(service: Service, operator: httpx.Client, wire: Wire) -> None:
    service.apps.set_enabled(wire.credentials.app_id, enabled=False)
    content = {"app_id": wire.credentials.app_id, "call": "detect", "pictures": ["x"], "options": {}}
    assert attempt(operator, content).status_code == 404


# --- usage, audit ---------------------------------------------------------------------------------------------------


def test_usage_lists_calls(operator: httpx.Client, wire: Wire) -> None:
    wire.call("getGroupList")
    text = operator.get("/usage").text
    assert "v3/faceset/group/getlist" in text
    assert "<rect" in text
    assert "<polyline" in text


def test_the_audit_log_is_shown(operator: httpx.Client, wire: Wire) -> None:
    wire.call("groupAdd", {"group_id": "written_down"})
    text = operator.get("/audit").text
    assert "written_down" in text
    assert f"app:{wire.credentials.app_id}" in text


def test_what_the_operator_does_is_written_down(service: Service, operator: httpx.Client, wire: Wire) -> None:
    app = service.apps.by_app_id(wire.credentials.app_id)
    assert app is not None
    library = f"/library/{app.app_id}"
    send(operator, library, group="audited")
    operator.get(f"{library}/audited/nobody")
    send(operator, f"{library}/audited/-/delete")
    send(operator, f"/apps/{app.app_id}/quota", qps="7")
    service.audit.flush()
    entries = [entry.draft for entry in service.audit.latest(1000)]
    ours = [one for one in entries if one.actor == "console:127.0.0.1"]
    changes = {(one.call, one.outcome, one.groups) for one in ours if one.call.startswith("console library")}
    assert {("console library", "404", ("audited",)), ("console library delete", "0", ("audited",))} <= changes
    quota = next(one for one in ours if one.call == "app.quota")
    assert quota.detail == {"app_id": app.app_id, "qps": 7, "daily": None, "total": None, "concurrent": None}
    assert any(one.call == "console.login" for one in ours)
