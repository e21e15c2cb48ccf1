"""Calls of the SDKs beside the generations: feedback, picture editing, the paths of the private deployment."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from urllib.parse import urlencode

import httpx
import pytest
import requests

from service.api import editing, feedback
from service.api.application import build_api
from service.api.v3.private import SHORT_PATHS
from service.api.v3.routes import CALLS
from service.app import Service
from service.values import App
from tests.contract.conftest import caller, listening
from tests.contract.v2.forms import Forms
from tests.contract.wire import PATHS, Answer, Wire, checked
from tests.fixtures.pictures import Pictures

DENIED = {"error_code": 6, "error_msg": "No permission to access data"}
DONE = {"error_code": 0, "error_msg": ""}
REFUSED = {"error_code": 282004, "error_msg": "params error"}


def app_of(service: Service, wire: Wire) -> App:
    app = service.apps.by_app_id(wire.credentials.app_id)
    assert app is not None
    return app


# --- picture editing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", editing.CALLS, ids=lambda call: str(call.name))
def test_picture_editing_is_refused(wire: Wire, call: object) -> None:
    path = str(getattr(call, "path"))  # noqa: B009 - parametrised
    assert wire.post(path, b'{"image":"x"}') == DENIED
    assert wire.post(path, b"{", query="") == {"error_code": 100, "error_msg": "Invalid parameter"}


# --- feedback ---------------------------------------------------------------------------------------------------------


def report(wire: Wire, content: bytes) -> Answer:
    return Forms.checked(wire.response(feedback.PATH, content))


def test_feedback_is_stored_without_pictures(service: Service, wire: Wire) -> None:
    picture = b"a picture"
    items: list[object] = [
        {"api_url": "https://aip.baidubce.com/rest/2.0/face/v3/match", "log_id": 2**62, "correct": 1},
        {"api_url": "x", "image": base64.b64encode(picture).decode(), "correct": 0},
        {"api_url": "x", "correct": 0},
        {"api_url": "x", "image": "!", "correct": 0},
        {"image_logid": 1, "extra": "x" * feedback.MAX_ITEM_BYTES},
        {"image_logid": 1, "extra": "\0"},
        {"text": json.loads("[" * 300 + "]" * 300)},
        {"image": json.loads("[" * 300 + "]" * 300)},
        {"image": {"a": "b"}},
        {"image": 7},
        "text",
    ]
    answer = report(wire, json.dumps({"feedback": items}).encode())
    assert answer["result"] == [DONE, DONE, *[REFUSED] * 9]
    kept = [stored.content for stored in service.feedback.latest(app_of(service, wire), 10)]
    digest = hashlib.md5(picture, usedforsecurity=False).hexdigest()
    assert kept == [{"api_url": "x", "image_md5": digest, "correct": 0}, items[0]]


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (urlencode({"feedback": json.dumps([{"log_id": 1}])}).encode(), {"log_id": 1}),
        (urlencode({"feedback": '{"log_id":2}'}).encode(), {"log_id": 2}),
        (urlencode({"feedback": "all is well"}).encode(), {"text": "all is well"}),
        (b'[{"log_id":3}]', {"log_id": 3}),
    ],
)
def test_forms_of_feedback(service: Service, wire: Wire, content: bytes, kept: object) -> None:
    assert report(wire, content)["result"] == [DONE]
    assert [stored.content for stored in service.feedback.latest(app_of(service, wire), 10)] == [kept]


def test_feedback_in_a_form_of_php(service: Service, wire: Wire) -> None:
    """``http_build_query`` of a list of items, of one item, and of more than may be."""
    picture = base64.b64encode(b"a picture").decode()
    parts = {"[0][log_id]": "1", "[0][correct]": "0", "[1][correct]": "1", "[2][image]": picture, "[2][more][a]": "x"}
    answer = report(wire, urlencode({f"feedback{name}": value for name, value in parts.items()}).encode())
    assert answer["result"] == [DONE, REFUSED, DONE]
    assert report(wire, b"feedback[0]=text&feedback[a][log_id]=1")["result"] == [REFUSED]
    assert report(wire, urlencode({"feedback[log_id]": "2"}).encode())["result"] == [DONE]
    kept = [stored.content for stored in service.feedback.latest(app_of(service, wire), 10)]
    digest = hashlib.md5(b"a picture", usedforsecurity=False).hexdigest()
    assert kept == [{"log_id": "2"}, {"more[a]": "x", "image_md5": digest}, {"log_id": "1", "correct": "0"}]
    many = {f"feedback[{number}][log_id]": "1" for number in range(feedback.MAX_ITEMS + 1)}
    assert report(wire, urlencode(many).encode())["error_code"] == 216103


@pytest.mark.parametrize("items", [[{"api_url": "x", "log_id": 1, "remark": "y"}], [{"log_id": 1}], {"image_logid": 1}])
def test_feedback_whose_values_stayed_in_python_is_refused(service: Service, wire: Wire, items: object) -> None:
    """``requests`` makes a form of a list of items by their names."""
    content = requests.Request("POST", "http://localhost", data={"feedback": items}).prepare().body
    assert isinstance(content, str)
    assert report(wire, content.encode())["result"] == [REFUSED]
    assert service.feedback.latest(app_of(service, wire), 10) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"{}", 216101),
        (b"feedback[]=x&feedback=", 216101),
        (b'{"feedback":[]}', 216101),
        (b'{"feedback":""}', 216101),
        (b'{"feedback":1}', 216101),
        (json.dumps({"feedback": [{"log_id": 1}] * 101}).encode(), 216103),
        (b"{", 216100),
    ],
)
def test_feedback_that_is_none(wire: Wire, content: bytes, expected: int) -> None:
    assert report(wire, content)["error_code"] == expected


def test_every_app_may_tell_what_it_thinks(service: Service, http: httpx.Client, wire: Wire) -> None:
    narrow = caller(service, http, {"detect"})
    assert report(narrow, b'{"feedback":[{"log_id":1}]}')["result"] == [DONE]
    assert service.feedback.latest(app_of(service, wire), 10) == []


# --- the private deployment -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trusting(service: Service) -> Iterator[httpx.Client]:
    """The same service with the routes that ask for no token."""
    with listening(build_api(service, private_alias=True)) as client:
        yield client


def test_the_alias_is_off_by_default(http: httpx.Client, wire: Wire) -> None:
    response = http.post("/face-api/v3/group/list", params={"appid": wire.credentials.app_id})
    assert checked(response) == {"error_code": 3, "error_msg": "Unsupported openapi method"}


def test_every_call_of_v3_has_its_alias(trusting: httpx.Client, wire: Wire) -> None:
    query = {"appid": wire.credentials.app_id}
    for name, path in ((call.name, call.path) for call in CALLS):
        aliases = ["/face-api/v3" + path.removeprefix("/rest/2.0/face/v3")]
        aliases += [f"/face-api/v3/{SHORT_PATHS[name]}"] if name in SHORT_PATHS else []
        expected = {**wire.call(name), "log_id": 0, "timestamp": 0}
        for alias in aliases:
            answer = checked(trusting.post(alias, params=query, content=b"{}"))
            assert {**answer, "log_id": 0, "timestamp": 0} == expected


def test_an_app_is_named_in_the_query_or_the_body(trusting: httpx.Client, wire: Wire, pictures: Pictures) -> None:
    appid = wire.credentials.app_id
    photo = {"image": pictures.base64("obama.jpg"), "image_type": "BASE64"}
    body = {**photo, "appid": appid, "group_id": "g1", "user_id": "u1"}
    assert checked(trusting.post("/face-api/v3/face/add", json=body))["error_code"] == 0
    search = {**photo, "group_id_list": "g1"}
    found = checked(trusting.post("/face-api/v3/face/identify", params={"appid": appid}, json=search))
    assert found["result"]["user_list"][0]["user_id"] == "u1"
    assert wire.result("getGroupUsers", {"group_id": "g1"}) == {"user_id_list": ["u1"]}
    sides = checked(trusting.post("/face-api/v3/face/match", params={"appid": appid}, json=[photo, photo]))
    assert sides["result"]["score"] == 100


@pytest.mark.parametrize("query", [{}, {"appid": ""}, {"appid": "0"}, {"appid": "nonsense"}])
def test_an_unknown_app_is_told_so(trusting: httpx.Client, query: dict[str, str]) -> None:
    answer = checked(trusting.post("/face-api/v3/group/list", params=query, content=b"{}"))
    assert answer == {"error_code": 15, "error_msg": "app not exsits or create failed"}


def test_permissions_hold_without_a_token(service: Service, http: httpx.Client, trusting: httpx.Client) -> None:
    narrow = caller(service, http, {"detect"})
    query = {"appid": narrow.credentials.app_id}
    assert checked(trusting.post("/face-api/v3/group/list", params=query, content=b"{}")) == DENIED
    service.apps.set_enabled(narrow.credentials.app_id, enabled=False)
    assert checked(trusting.post("/face-api/v3/face/detect", params=query, content=b"{}"))["error_code"] == 15


def test_the_other_paths_still_ask_for_a_token(trusting: httpx.Client, wire: Wire) -> None:
    query = {"appid": wire.credentials.app_id}
    assert checked(trusting.post(PATHS["getGroupList"], params=query, content=b"{}"))["error_code"] == 100
