"""Golden requests and answers of the calls that work without pictures, and of requests that are refused."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest

from tests.contract.wire import PATHS, Wire

USER = {"group_id": "g1", "user_id": "u1"}


def test_groups_are_created_listed_and_deleted(wire: Wire) -> None:
    assert wire.result("getGroupList") == {"group_id_list": []}
    for name in ("g2", "g10", "g1"):
        assert wire.result("groupAdd", {"group_id": name}) is None
    assert wire.result("getGroupList") == {"group_id_list": ["g2", "g10", "g1"]}
    assert wire.result("getGroupUsers", {"group_id": "g1"}) == {"user_id_list": []}
    assert wire.result("groupDelete", {"group_id": "g10"}) is None
    assert wire.result("getGroupList") == {"group_id_list": ["g2", "g1"]}


def test_pages_of_groups(wire: Wire) -> None:
    for number in range(5):
        wire.result("groupAdd", {"group_id": f"g{number}"})
    assert wire.result("getGroupList", {"start": 1, "length": 2}) == {"group_id_list": ["g1", "g2"]}
    assert wire.result("getGroupList", {"start": "4", "length": "1000"}) == {"group_id_list": ["g4"]}
    assert wire.result("getGroupList", {"start": 5}) == {"group_id_list": []}
    assert wire.result("getGroupList", {"start": "", "length": ""})["group_id_list"][0] == "g0"


def test_a_group_exists_once(wire: Wire) -> None:
    wire.result("groupAdd", {"group_id": "g1"})
    answer = wire.call("groupAdd", {"group_id": "g1"})
    assert (answer["error_code"], answer["error_msg"]) == (223101, "group is already exist")
    wire.result("groupDelete", {"group_id": "g1"})
    answer = wire.call("groupDelete", {"group_id": "g1"})
    assert (answer["error_code"], answer["error_msg"]) == (223100, "group is not exist")


def test_names_are_told_apart_by_case(wire: Wire) -> None:
    wire.result("groupAdd", {"group_id": "Group"})
    wire.result("groupAdd", {"group_id": "group"})
    assert wire.result("getGroupList") == {"group_id_list": ["Group", "group"]}


@pytest.mark.parametrize("name", ["getUser", "deleteUser", "faceGetlist"])
def test_users_that_are_not_there(wire: Wire, name: str) -> None:
    assert wire.code(name, USER) == 223100
    wire.result("groupAdd", {"group_id": "g1"})
    answer = wire.call(name, USER)
    assert (answer["error_code"], answer["error_msg"]) == (223103, "user is not exist")


@pytest.mark.parametrize("name", ["getUser", "deleteUser"])
def test_users_that_are_nowhere(wire: Wire, name: str) -> None:
    assert wire.code(name, {**USER, "group_id": "@ALL"}) == 223103


def test_faces_of_users_that_are_not_there(wire: Wire) -> None:
    assert wire.code("faceDelete", {**USER, "face_token": "t1"}) == 223100
    wire.result("groupAdd", {"group_id": "g1"})
    assert wire.code("faceDelete", {**USER, "face_token": "t1"}) == 223103


def test_copies_of_users_that_are_not_there(wire: Wire) -> None:
    copy = {"user_id": "u1", "src_group_id": "g1", "dst_group_id": "g2"}
    assert wire.code("userCopy", copy) == 223100
    wire.result("groupAdd", {"group_id": "g1"})
    assert wire.code("userCopy", copy) == 223103


def test_users_of_a_group_that_is_not_there(wire: Wire) -> None:
    assert wire.code("getGroupUsers", {"group_id": "g1"}) == 223100


# --- bodies in every shape that clients send ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "label"),
    [
        (json.dumps({"group_id": "g1"}), "application/json"),
        (json.dumps({"group_id": "g1"}), "application/x-www-form-urlencoded"),
        (json.dumps(json.dumps({"group_id": "g1"})), "application/json"),
        (urlencode({"group_id": "g1"}), "application/x-www-form-urlencoded"),
        (urlencode({"group_id": "g1"}), "application/json"),
        ("\ufeff \n" + json.dumps({"group_id": "g1"}), "text/plain"),
    ],
)
def test_the_content_type_does_not_decide(wire: Wire, content: str, label: str) -> None:
    assert wire.post(PATHS["groupAdd"], content.encode(), query=None, Content_Type=label)["error_code"] == 0
    assert wire.result("getGroupList") == {"group_id_list": ["g1"]}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'{"group_id":"\xff"}', b"group_id=%FF", b"[1]"])
def test_bodies_without_parameters(wire: Wire, content: bytes) -> None:
    answer = wire.post(PATHS["groupAdd"], content)
    assert (answer["error_code"], answer["error_msg"]) == (222001, "param[] is null")


def test_an_empty_list_is_no_parameters(wire: Wire) -> None:
    """As PHP's JSON has an empty array."""
    assert wire.result("getGroupList", []) == {"group_id_list": []}


# --- parameters are checked before pictures are looked at -----------------------------------------------------------

PICTURE = {"image": "bm8gcGljdHVyZQ==", "image_type": "BASE64"}


@pytest.mark.parametrize(
    ("name", "parameters", "number"),
    [
        ("detect", {"image_type": "BASE64"}, 222001),
        ("detect", {"image": "x"}, 222001),
        ("detect", {**PICTURE, "image_type": "GIF"}, 222015),
        ("detect", {**PICTURE, "max_face_num": 11}, 222016),
        ("detect", {**PICTURE, "face_field": "nonsense"}, 222017),
        ("detect", {**PICTURE, "quality_control": "X"}, 222019),
        ("detect", {**PICTURE, "liveness_control": "X"}, 222020),
        ("detect", {**PICTURE, "face_type": "X"}, 222024),
        ("search", {**PICTURE, "group_id_list": "g-1"}, 222005),
        ("search", {**PICTURE, "group_id_list": ",".join(f"g{n}" for n in range(11))}, 223104),
        ("search", {**PICTURE, "group_id_list": "g1", "user_id": "u-1"}, 222018),
        ("search", {**PICTURE, "group_id_list": "g1", "max_user_num": 51}, 222021),
        ("search", {**PICTURE, "group_id_list": "g1", "match_threshold": 101}, 222030),
        ("multiSearch", {**PICTURE, "group_id_list": "g1", "max_user_num": 21}, 222021),
        ("addUser", {**PICTURE, "group_id": "g-1", "user_id": "u1"}, 222006),
        ("addUser", {**PICTURE, **USER, "user_info": "人" * 86}, 222010),
        ("addUser", {**PICTURE, **USER, "action_type": "X"}, 222300),
        ("faceDelete", {**USER, "face_token": "t-1"}, 222025),
        ("getGroupList", {"start": -1}, 222002),
        ("getGroupList", {"length": 1001}, 222003),
    ],
)
def test_bad_parameters(wire: Wire, name: str, parameters: dict[str, object], number: int) -> None:
    assert wire.code(name, parameters) == number


def test_match_takes_two_pictures(wire: Wire) -> None:
    for pictures in ([], [PICTURE], [PICTURE] * 3):
        answer = wire.call("match", pictures)
        assert (answer["error_code"], answer["error_msg"]) == (222208, "the number of image is incorrect")
