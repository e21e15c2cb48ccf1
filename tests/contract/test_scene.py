"""Scenes: enrolled and searched apart from the ordinary library, read and deleted by the calls of V3."""

from __future__ import annotations

import json

import pytest

from service.api.v3.scene import CALLS
from tests.contract.v2.forms import Forms
from tests.contract.wire import Answer, Wire
from tests.fixtures.pictures import Pictures

PATHS = {call.name: call.path for call in CALLS}
SCENE = {"scene_type": "VIDEO"}
USER = {"group_id": "g1", "user_id": "u1"}

Photo = dict[str, object]


@pytest.fixture(scope="session")
def obama(pictures: Pictures) -> Photo:
    return {"image": pictures.base64("obama.jpg"), "image_type": "BASE64"}


@pytest.fixture(scope="session")
def again(pictures: Pictures) -> Photo:
    return {"image": pictures.base64("obama2.jpg"), "image_type": "BASE64"}


def call(wire: Wire, name: str, body: Photo) -> Answer:
    return wire.post(PATHS[name], json.dumps(body).encode())


def code(wire: Wire, name: str, body: Photo) -> int:
    return int(call(wire, name, body)["error_code"])


def enrol(wire: Wire, photo: Photo, **more: object) -> Answer:
    answer = call(wire, "faceSceneFacesetUserAdd", {**photo, **USER, **SCENE, **more})
    assert answer["error_code"] == 0, answer
    result: Answer = answer["result"]
    return result


def test_enrolled_and_found_in_the_scene(wire: Wire, obama: Photo, again: Photo) -> None:
    assert call(wire, "faceSceneFacesetGroupAdd", {"group_id": "g1", **SCENE})["result"] is None
    assert list(enrol(wire, obama, user_info="总统")) == ["face_token", "location"]
    found = call(wire, "faceCaptureSearch", {**again, "group_id_list": "g1"})["result"]
    assert list(found) == ["face_token", "user_list"]
    (user,) = found["user_list"]
    assert (user["group_id"], user["user_id"], user["user_info"]) == ("g1", "u1", "总统")
    assert code(wire, "faceCaptureSearch", {**again, "group_id_list": "g1", **SCENE}) == 0
    assert code(wire, "faceCaptureSearch", {**again, "group_id_list": "g1", "scene_type": "MASK"}) == 223100


def test_a_scene_is_closed_to_the_ordinary_calls(wire: Wire, obama: Photo, again: Photo) -> None:
    enrol(wire, obama)
    assert wire.code("search", {**again, "group_id_list": "g1"}) == 223100
    assert wire.code("multiSearch", {**again, "group_id_list": "g1"}) == 223100
    assert wire.code("addUser", {**again, **USER}) == 223100
    assert wire.code("updateUser", {**again, **USER}) == 223100
    assert wire.code("groupAdd", {"group_id": "g1"}) == 223101
    wire.result("groupAdd", {"group_id": "g2"})
    copy = {"user_id": "u1", "src_group_id": "g1", "dst_group_id": "g2"}
    assert wire.code("userCopy", copy) == 223111
    assert code(wire, "faceSceneFacesetGroupAdd", {"group_id": "g3", **SCENE}) == 0
    assert wire.result("userCopy", {**copy, "dst_group_id": "g3"}) is None


def test_a_scene_is_closed_to_the_ordinary_calls_of_v2(wire: Wire, obama: Photo, again: Photo) -> None:
    enrol(wire, obama)
    forms, picture = Forms(wire), {"image": str(again["image"])}
    user = {"uid": "u1", "group_id": "g1"}
    no_group, no_user = (216618, "no user in group"), (216612, "user not exist")
    assert forms.failure("identify", {**picture, "group_id": "g1"}) == no_group
    assert forms.failure("multiIdentify", {**picture, "group_id": "g1"}) == no_group
    assert forms.failure("verify", {**picture, **user}) == no_user
    assert forms.failure("addUser", {**picture, **user, "user_info": "x"}) == no_group
    assert forms.failure("updateUser", {**picture, **user, "user_info": "x"}) == no_user
    assert forms.failure("updateUser", {**picture, "uid": "u1", "user_info": "x"}) == no_user
    copy = {"uid": "u1", "src_group_id": "g1", "group_id": "g2"}
    assert forms.failure("addGroupUser", copy) == no_group
    assert wire.result("getGroupList") == {"group_id_list": ["g1"]}
    wire.result("addUser", {**obama, "group_id": "g2", "user_id": "u1"})
    assert forms.failure("addGroupUser", {**copy, "src_group_id": "g2", "group_id": "g1"}) == no_group


def test_an_ordinary_group_is_closed_to_scenes(wire: Wire, obama: Photo, again: Photo) -> None:
    wire.result("addUser", {**obama, **USER})
    assert code(wire, "faceCaptureSearch", {**again, "group_id_list": "g1"}) == 223100
    assert code(wire, "faceSceneFacesetUserAdd", {**again, **USER, **SCENE}) == 223100
    assert code(wire, "faceSceneFacesetUserUpdate", {**again, **USER, **SCENE}) == 223100
    assert code(wire, "faceSceneFacesetGroupAdd", {"group_id": "g1", **SCENE}) == 223101


def test_scenes_are_closed_to_each_other(wire: Wire, obama: Photo, again: Photo) -> None:
    enrol(wire, obama)
    assert code(wire, "faceSceneFacesetUserAdd", {**again, **USER, "scene_type": "MASK"}) == 223100
    assert code(wire, "faceSceneFacesetUserUpdate", {**again, **USER, "scene_type": "MASK"}) == 223100
    assert code(wire, "faceSceneFacesetGroupAdd", {"group_id": "g1", "scene_type": "MASK"}) == 223101


def test_update(wire: Wire, obama: Photo, again: Photo) -> None:
    assert code(wire, "faceSceneFacesetUserUpdate", {**again, **USER, **SCENE}) == 223100
    first = enrol(wire, obama)["face_token"]
    assert code(wire, "faceSceneFacesetUserUpdate", {**again, **USER, **SCENE, "user_id": "u2"}) == 223103
    second = call(wire, "faceSceneFacesetUserUpdate", {**again, **USER, **SCENE})["result"]["face_token"]
    assert second != first
    assert [face["face_token"] for face in wire.result("faceGetlist", USER)["face_list"]] == [second]
    missing = {**again, **USER, "user_id": "u2", "action_type": "REPLACE"}
    assert code(wire, "faceSceneFacesetUserUpdate", {**missing, "scene_type": "MASK"}) == 223100
    assert code(wire, "faceSceneFacesetUserUpdate", {**missing, **SCENE}) == 0
    assert wire.result("getUser", {**USER, "user_id": "u2"})["user_list"][0]["group_id"] == "g1"


def test_read_and_deleted_by_the_calls_of_v3(wire: Wire, obama: Photo) -> None:
    enrol(wire, obama, user_info="info")
    assert wire.result("getGroupList") == {"group_id_list": ["g1"]}
    assert wire.result("getGroupUsers", {"group_id": "g1"}) == {"user_id_list": ["u1"]}
    assert wire.result("getUser", USER)["user_list"] == [{"user_info": "info", "group_id": "g1"}]
    assert wire.result("deleteUser", USER) is None
    assert code(wire, "faceCaptureSearch", {**obama, "group_id_list": "g1"}) == 222207
    assert wire.result("groupDelete", {"group_id": "g1"}) is None
    assert code(wire, "faceCaptureSearch", {**obama, "group_id_list": "g1"}) == 223100


@pytest.mark.parametrize("name", ["faceSceneFacesetUserAdd", "faceSceneFacesetUserUpdate", "faceSceneFacesetGroupAdd"])
@pytest.mark.parametrize("scene", [None, "", "*", "a-b", "x" * 65])
def test_a_scene_must_be_named(wire: Wire, name: str, scene: str | None) -> None:
    body: Photo = {"image": "bm8gcGljdHVyZQ==", "image_type": "BASE64", **USER, "scene_type": scene}
    assert code(wire, name, body) == 222001


def test_the_star_is_no_scene(wire: Wire) -> None:
    body: Photo = {"image": "bm8gcGljdHVyZQ==", "image_type": "BASE64", "group_id_list": "g1", "scene_type": "*"}
    assert code(wire, "faceCaptureSearch", body) == 222001
