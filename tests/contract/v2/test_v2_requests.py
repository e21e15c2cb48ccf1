"""V2 calls that need no picture, and those that are refused before one is looked at."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import httpx
import pytest

from service.api.v2.routes import CALLS
from service.app import Service
from tests.contract.conftest import caller
from tests.contract.v2.forms import PATHS, Forms

NO_PICTURE = {"image": "bm8gcGljdHVyZQ=="}
USER = {"uid": "u1", "group_id": "g1"}

MISSING = (216101, "not enough param")
INVALID = (216100, "invalid param")
TOO_LONG = (216103, "param too long")
NO_USER = (216612, "user not exist")
EMPTY_GROUP = (216618, "no user in group")
NO_IMAGE = (216200, "empty image")
NOT_A_PICTURE = (216201, "image format error")


@pytest.mark.parametrize("call", CALLS, ids=lambda call: str(call.name))
def test_nothing_answers_without_a_token(forms: Forms, call: object) -> None:
    path, example = getattr(call, "path"), getattr(call, "example")  # noqa: B009 - parametrised
    response = forms.wire.response(path, urlencode(example).encode(), query="aipSdk=python")
    assert forms.checked(response) == {"error_code": 100, "error_msg": "Invalid parameter"}


def test_permissions_are_those_of_v3(service: Service, http: httpx.Client) -> None:
    narrow = Forms(caller(service, http, {"faceset/group/getlist", "search"}))
    allowed = {call.name for call in CALLS if call.permission in {"faceset/group/getlist", "search"}}
    assert allowed == {"getGroupList", "identify", "verify"}
    for name in PATHS:
        code = narrow.call(name).get("error_code", 0)
        assert (code == 6) == (name not in allowed)


def test_an_empty_library(forms: Forms) -> None:
    assert forms.result("getGroupList") == {"result_num": 0, "result": []}
    assert forms.result("getGroupUsers", {"group_id": "g1"}) == {"result_num": 0, "result": []}
    assert forms.failure("getUser", {"uid": "u1"}) == NO_USER
    assert forms.failure("getUser", USER) == NO_USER
    assert forms.failure("deleteUser", USER) == NO_USER
    assert forms.failure("deleteGroupUser", USER) == NO_USER
    assert forms.failure("addGroupUser", {**USER, "src_group_id": "g2"}) == EMPTY_GROUP
    assert forms.failure("updateUser", {**NO_PICTURE, **USER, "user_info": "x"}) == NO_USER
    assert forms.failure("verify", {**NO_PICTURE, **USER}) == NO_USER


def test_a_get_may_have_its_parameters_in_the_body_as_in_the_documents(forms: Forms) -> None:
    address = f"{PATHS['getGroupUsers']}?access_token={forms.wire.token}"
    assert forms.checked(forms.wire.http.request("GET", address))["error_code"] == MISSING[0]
    assert forms.checked(forms.wire.http.request("GET", address, data={"group_id": "g1"}))["result"] == []
    for content in (b"", b"{}", b" [] ", b"null"):
        answer = forms.wire.http.request("GET", f"{address}&group_id=g1", content=content)
        assert forms.checked(answer)["result"] == []
    other = forms.wire.http.request("GET", f"{address}&group_id=g1", data={"foo": "bar"})
    assert forms.checked(other)["result"] == []
    other = forms.wire.http.request("GET", f"{address}&group_id=-", data={"group_id": "g1"})
    assert forms.checked(other)["result"] == []


def test_groups_of_v3_are_groups_of_v2(forms: Forms) -> None:
    for number in range(3):
        forms.wire.result("groupAdd", {"group_id": f"g{number}"})
    assert forms.result("getGroupList") == {"result_num": 3, "result": ["g0", "g1", "g2"]}
    assert forms.result("getGroupList", {"start": "1", "num": "1"}) == {"result_num": 1, "result": ["g1"]}
    assert forms.result("getGroupList", {"start": "2", "num": "100000"}) == {"result_num": 1, "result": ["g2"]}
    assert forms.result("getGroupList", {"start": "1", "end": "1"}) == {"result_num": 1, "result": ["g1"]}


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    [
        ("detect", {}, MISSING),
        ("detect", {"image": ""}, MISSING),
        ("detect", {"image": " , "}, NO_IMAGE),
        ("detect", {"image": "!!!!"}, NO_IMAGE),
        ("detect", NO_PICTURE, NOT_A_PICTURE),
        ("detect", {"image": "bm8gcGljdHVyZQ==,bm8gcGljdHVyZQ=="}, TOO_LONG),
        ("detect", {**NO_PICTURE, "max_face_num": "none"}, INVALID),
        ("detect", {**NO_PICTURE, "max_face_num": "0"}, INVALID),
        ("match", {}, MISSING),
        ("match", {"images": "bm8gcGljdHVyZQ=="}, (216614, "not enough images")),
        ("match", {"images": ",".join(["bm8gcGljdHVyZQ=="] * 11)}, TOO_LONG),
        ("match", {"images": "bm8gcGljdHVyZQ==,bm8gcGljdHVyZQ==", "types": "7,8"}, INVALID),
        ("match", {"images": "bm8gcGljdHVyZQ==,bm8gcGljdHVyZQ==", "types": "7,13"}, NOT_A_PICTURE),
        ("identify", NO_PICTURE, MISSING),
        ("identify", {**NO_PICTURE, "group_id": "g-1"}, INVALID),
        ("identify", {**NO_PICTURE, "group_id": ",".join(f"g{number}" for number in range(11))}, TOO_LONG),
        ("identify", {**NO_PICTURE, "group_id": "g1"}, NOT_A_PICTURE),
        ("identify", {**NO_PICTURE, "group_id": "g1", "user_top_num": "x"}, INVALID),
        ("multiIdentify", {**NO_PICTURE, "group_id": "g1", "detect_top_num": "-1"}, INVALID),
        ("verify", {**NO_PICTURE, "group_id": "g1"}, MISSING),
        ("verify", {**NO_PICTURE, **USER, "uid": "u-1"}, (216111, "invalid userid")),
        ("addUser", {**NO_PICTURE, "uid": "u1", "user_info": "x"}, MISSING),
        ("addUser", {**USER, "user_info": "x"}, MISSING),
        ("addUser", {**NO_PICTURE, **USER, "user_info": "人" * 86}, TOO_LONG),
        ("addUser", {**NO_PICTURE, **USER, "action_type": "remove"}, INVALID),
        ("addUser", {**NO_PICTURE, **USER, "action_type": "app"}, NOT_A_PICTURE),
        ("updateUser", {**NO_PICTURE, "uid": "u1", "action_type": "replace"}, MISSING),
        ("getUser", {}, MISSING),
        ("getUser", {"uid": "人"}, (216111, "invalid userid")),
        ("deleteUser", {"uid": "u1", "group_id": "g/1"}, INVALID),
        ("getGroupList", {"start": "-1"}, INVALID),
        ("getGroupList", {"num": "0"}, INVALID),
        ("getGroupList", {"num": "", "end": "0"}, INVALID),
        ("getGroupUsers", {}, MISSING),
        ("addGroupUser", USER, MISSING),
        ("deleteGroupUser", {"uid": "u1"}, MISSING),
    ],
)
def test_parameters(forms: Forms, name: str, form: dict[str, str], expected: tuple[int, str]) -> None:
    assert forms.failure(name, form) == expected


@pytest.mark.parametrize("content", [b"{", b"[1]", b"uid=%FF", b"[{}]"])
def test_bodies_that_cannot_be_read(forms: Forms, content: bytes) -> None:
    answer = forms.checked(forms.response(PATHS["getUser"], content))
    assert (answer["error_code"], answer["error_msg"]) == INVALID


def test_an_empty_list_is_no_parameters(forms: Forms) -> None:
    """As PHP's JSON has an empty array."""
    assert forms.checked(forms.response(PATHS["getGroupList"], b"[]"))["result"] == []
    assert forms.checked(forms.response(PATHS["getUser"], b"[]"))["error_code"] == MISSING[0]


def test_json_is_taken_too(forms: Forms) -> None:
    content = json.dumps({"uid": "u1", "group_id": ["g1", "g2"]}).encode()
    assert forms.checked(forms.response(PATHS["getUser"], content))["error_code"] == NO_USER[0]


def test_users_of_a_group_by_get(forms: Forms) -> None:
    query = {"access_token": forms.wire.token, "group_id": "g1", "start": "0", "num": "10"}
    response = forms.wire.http.get(PATHS["getGroupUsers"], params=query)
    assert forms.checked(response)["result"] == []
    response = forms.wire.http.get(PATHS["getGroupUsers"], params={"access_token": forms.wire.token})
    assert forms.checked(response)["error_code"] == MISSING[0]
    response = forms.wire.http.get(PATHS["getGroupUsers"], params={"group_id": "g1"})
    assert forms.checked(response)["error_code"] == 100


def test_match_takes_larger_bodies_than_other_calls(forms: Forms) -> None:
    """Pictures of 6 MB each are read, and are none; beyond 20 MiB nothing is."""
    picture = "A" * (8 * 2**20)
    assert forms.failure("match", {"images": f"{picture},{picture}"}) == NOT_A_PICTURE
    assert forms.failure("match", {"images": ",".join([picture] * 3)}) == TOO_LONG
    assert forms.failure("detect", {"image": f"{picture},{picture}"}) == TOO_LONG
