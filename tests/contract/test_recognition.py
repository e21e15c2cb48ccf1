"""Golden requests and answers of the calls that look at pictures."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import cv2
import httpx
import numpy as np
import pytest

from service.api.v3.routes import CALLS
from service.app import Service
from tests.contract.conftest import caller
from tests.contract.wire import PATHS, Answer, Wire
from tests.fixtures.pictures import Pictures

TOKEN = re.compile(r"[0-9a-f]{32}")
GROUP = "g20180601"


@pytest.fixture(scope="session")
def photos(pictures: Pictures) -> dict[str, dict[str, object]]:
    """Parameters that hand over a photograph, by its name."""
    names = ("astronaut.png", "obama.jpg", "obama2.jpg", "biden.jpg", "t1.jpg")
    return {name.partition(".")[0]: {"image": pictures.base64(name), "image_type": "BASE64"} for name in names}


Photos = dict[str, dict[str, object]]


def check_location(location: Answer) -> None:
    """Keys, order and rounding of a box."""
    assert list(location) == ["left", "top", "width", "height", "rotation"]
    assert all(type(location[name]) is int for name in ("width", "height", "rotation"))
    assert all(round(location[name], 2) == location[name] for name in ("left", "top"))


def by_token(face: Answer) -> dict[str, object]:
    """Parameters that name a face seen before."""
    return {"image": face["face_token"], "image_type": "FACE_TOKEN"}


def enrol(wire: Wire, photo: dict[str, object], user: str, group: str = GROUP, **more: object) -> Any:
    return wire.result("addUser", {**photo, "group_id": group, "user_id": user, **more})


# --- detect -----------------------------------------------------------------------------------------------------------


def test_detect(wire: Wire, photos: Photos) -> None:
    result = wire.result("detect", photos["astronaut"])
    assert list(result) == ["face_num", "face_list"]
    assert result["face_num"] == 1
    (face,) = result["face_list"]
    assert list(face) == ["face_token", "location", "face_probability", "angle"]
    assert TOKEN.fullmatch(face["face_token"])
    check_location(face["location"])
    assert face["location"]["left"] == pytest.approx(180, abs=15)
    assert face["location"]["width"] == pytest.approx(90, abs=20)
    assert abs(face["location"]["rotation"]) <= 10
    assert face["face_probability"] == 1
    assert type(face["face_probability"]) is int
    assert list(face["angle"]) == ["yaw", "pitch", "roll"]
    assert all(abs(angle) < 30 for angle in face["angle"].values())


def test_detect_gives_the_same_token_again(wire: Wire, photos: Photos) -> None:
    first, second = (wire.result("detect", {**photos["t1"], "max_face_num": limit}) for limit in (1, 10))
    assert second["face_num"] == len(second["face_list"]) == 6
    assert first["face_num"] == len(first["face_list"]) == 1
    assert second["face_list"][0] == first["face_list"][0]
    assert len({face["face_token"] for face in second["face_list"]}) == 6
    areas = [face["location"]["width"] * face["location"]["height"] for face in second["face_list"]]
    assert areas[0] == pytest.approx(max(areas), rel=0.2)


def test_detect_with_the_four_points(wire: Wire, photos: Photos) -> None:
    (face,) = wire.result("detect", {**photos["astronaut"], "face_field": "age, landmark"})["face_list"]
    assert list(face) == ["face_token", "location", "face_probability", "angle", "landmark", "landmark72", "age"]
    left_eye, right_eye, nose, mouth = face["landmark"]
    assert list(left_eye) == ["x", "y"]
    assert left_eye["x"] < nose["x"] < right_eye["x"]
    assert left_eye["y"] < nose["y"] < mouth["y"]


def test_detect_by_token(wire: Wire, photos: Photos) -> None:
    (face,) = wire.result("detect", {**photos["astronaut"], "face_field": "landmark"})["face_list"]
    (again,) = wire.result("detect", {**by_token(face), "face_field": "landmark"})["face_list"]
    for name, tolerance in (("landmark", 1.0), ("landmark72", 2.5)):  # the portrait has fewer pixels than the picture
        assert again.pop(name) == [
            {"x": pytest.approx(point["x"], abs=tolerance), "y": pytest.approx(point["y"], abs=tolerance)}
            for point in face.pop(name)
        ]
    assert again.pop("angle") == {name: pytest.approx(degrees, abs=2) for name, degrees in face.pop("angle").items()}
    assert again == face


def test_pictures_in_the_shapes_that_clients_send(wire: Wire, photos: Photos) -> None:
    text = str(photos["astronaut"]["image"])
    expected = wire.result("detect", photos["astronaut"])
    lines = "\r\n".join(text[start : start + 76] for start in range(0, len(text), 76))
    for variant in (f"data:image/png;base64,{text}", lines, text.replace("+", "-").replace("/", "_"), text.rstrip("=")):
        assert wire.result("detect", {"image": variant, "image_type": "BASE64"}) == expected
    form = urlencode(photos["astronaut"]).encode()
    unescaped = f"image={text}&image_type=BASE64".encode()  # the decoder eats every +
    for content in (form, unescaped):
        answer = wire.post(PATHS["detect"], content, query=None, Content_Type="application/x-www-form-urlencoded")
        assert answer["result"] == expected


# --- pictures that are refused ----------------------------------------------------------------------------------------


def png(image: np.ndarray[Any, Any]) -> str:
    done, data = cv2.imencode(".png", image)
    assert done
    return base64.b64encode(data.tobytes()).decode()


@pytest.mark.parametrize(
    ("parameters", "number", "text"),
    [
        ({"image": "!!!!", "image_type": "BASE64"}, 222013, "param[image] format error"),
        ({"image": "bm8gcGljdHVyZQ==", "image_type": "BASE64"}, 222203, "image check fail"),
        (
            {"image": "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7", "image_type": "BASE64"},
            222203,
            "image check fail",
        ),
        ({"image": "0" * 32, "image_type": "FACE_TOKEN"}, 222209, "face token not exist"),
        ({"image": "not a token", "image_type": "FACE_TOKEN"}, 222209, "face token not exist"),
        ({"image": "http://127.0.0.1:9/picture.jpg", "image_type": "URL"}, 222204, "image_url_download_fail"),
        ({"image": "no address", "image_type": "URL"}, 222013, "param[image] format error"),
    ],
)
@pytest.mark.parametrize("name", ["detect", "match", "search", "multiSearch", "addUser"])
def test_pictures_that_cannot_be_used(
    wire: Wire, name: str, parameters: dict[str, object], number: int, text: str
) -> None:
    wire.call("groupAdd", {"group_id": "g1"})
    picture = {**parameters, "group_id": "g1", "user_id": "u1", "group_id_list": "g1"}
    answer = wire.call(name, [picture, picture] if name == "match" else picture)
    assert (answer["error_code"], answer["error_msg"]) == (number, text)


def test_a_picture_without_a_face(wire: Wire) -> None:
    picture = {"image": png(np.full((200, 300, 3), 127, np.uint8)), "image_type": "BASE64"}
    answer = wire.call("detect", picture)
    assert (answer["error_code"], answer["error_msg"]) == (222202, "pic not has face")


def test_a_token_belongs_to_its_app(wire: Wire, photos: Photos, other_wire: Wire) -> None:
    (face,) = wire.result("detect", photos["astronaut"])["face_list"]
    assert other_wire.code("detect", by_token(face)) == 222209


# --- match ------------------------------------------------------------------------------------------------------------


def test_match(wire: Wire, photos: Photos) -> None:
    same = wire.result("match", [photos["obama"], photos["obama2"]])
    assert list(same) == ["score", "face_list"]
    assert [list(face) for face in same["face_list"]] == [["face_token"], ["face_token"]]
    assert 80 < same["score"] < 100
    assert wire.result("match", [photos["obama2"], photos["obama"]])["score"] == same["score"]
    other = wire.result("match", [photos["obama"], photos["biden"]])
    assert 0 <= other["score"] < 80
    assert other["face_list"][0] == same["face_list"][0]


def test_a_picture_matches_itself_exactly(wire: Wire, photos: Photos) -> None:
    content = json.dumps([photos["obama"], photos["obama"]]).encode()
    response = wire.response(PATHS["match"], content)
    assert b'"score":100,' in response.content
    (face,) = wire.result("detect", photos["obama"])["face_list"]
    assert wire.result("match", [photos["obama"], by_token(face)])["score"] == 100


# --- search -----------------------------------------------------------------------------------------------------------


def test_search_finds_who_was_enrolled_just_now(wire: Wire, photos: Photos) -> None:
    enrolled = enrol(wire, photos["obama"], "u1", user_info="总统")
    assert list(enrolled) == ["face_token", "location"]
    check_location(enrolled["location"])
    enrol(wire, photos["biden"], "u2")
    result = wire.result("search", {**photos["obama2"], "group_id_list": f" {GROUP} , missing"})
    assert list(result) == ["face_token", "user_list"]
    (user,) = result["user_list"]
    assert list(user) == ["group_id", "user_id", "user_info", "score"]
    assert (user["group_id"], user["user_id"], user["user_info"]) == (GROUP, "u1", "总统")
    assert 80 < user["score"] < 100


def test_detect_then_search_then_enrol_by_token(wire: Wire, photos: Photos) -> None:
    wire.result("groupAdd", {"group_id": GROUP})
    (face,) = wire.result("detect", photos["astronaut"])["face_list"]
    search = {**by_token(face), "group_id_list": GROUP}
    assert wire.code("search", search) == 222207
    assert enrol(wire, by_token(face), "u1")["face_token"] == face["face_token"]
    result = wire.result("search", search)
    assert result["face_token"] == face["face_token"]
    assert [(user["user_id"], user["score"]) for user in result["user_list"]] == [("u1", 100)]


def test_search_for_one_user(wire: Wire, photos: Photos) -> None:
    enrol(wire, photos["obama"], "u1")
    enrol(wire, photos["biden"], "u2")
    search = {**photos["obama2"], "group_id_list": GROUP}
    assert wire.result("search", {**search, "user_id": "u1"})["user_list"][0]["user_id"] == "u1"
    assert wire.code("search", {**search, "user_id": "u2"}) == 222207
    assert wire.code("search", {**search, "user_id": "u3"}) == 223103
    assert wire.result("search", {**search, "user_id": "u2", "match_threshold": 0})["user_list"][0]["user_id"] == "u2"


def test_search_lists_each_user_once_best_first(wire: Wire, photos: Photos) -> None:
    enrol(wire, photos["obama"], "u1")
    enrol(wire, photos["obama2"], "u1")
    enrol(wire, photos["biden"], "u2")
    enrol(wire, photos["astronaut"], "u3")
    search = {**photos["obama"], "group_id_list": GROUP, "match_threshold": "0", "max_user_num": "50"}
    users = wire.result("search", search)["user_list"]
    assert users[0]["user_id"] == "u1"
    assert sorted(user["user_id"] for user in users) == ["u1", "u2", "u3"]
    scores = [user["score"] for user in users]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == 100
    assert len(wire.result("search", {**search, "max_user_num": 2})["user_list"]) == 2


def test_whoever_was_told_with_a_score_is_found_at_that_threshold(wire: Wire, photos: Photos) -> None:
    """Scores are told rounded, half of them upwards."""
    for name in ("obama", "biden", "astronaut"):
        enrol(wire, photos[name], name)
    asked = 0
    for photo in photos.values():
        search = {**photo, "group_id_list": GROUP, "max_user_num": 50}
        for user in wire.result("search", {**search, "match_threshold": 0})["user_list"]:
            again = wire.result("search", {**search, "match_threshold": user["score"]})
            assert user["user_id"] in {one["user_id"] for one in again["user_list"]}, user
            asked += 1
    assert asked >= 12


def test_search_in_groups_that_are_not_there(wire: Wire, photos: Photos) -> None:
    assert wire.code("search", {**photos["obama"], "group_id_list": "g1"}) == 223100


def test_multi_search(wire: Wire, photos: Photos) -> None:
    faces = wire.result("detect", {**photos["t1"], "max_face_num": 10})["face_list"]
    for number in (0, 2):
        enrol(wire, by_token(faces[number]), f"u{number}")
    search = {**photos["t1"], "group_id_list": GROUP, "max_face_num": 3, "max_user_num": 20}
    result = wire.result("multiSearch", search)
    assert list(result) == ["face_num", "face_list"]
    assert result["face_num"] == len(result["face_list"]) == 3
    for face, detected in zip(result["face_list"], faces, strict=False):
        assert list(face) == ["face_token", "location", "user_list"]
        assert (face["face_token"], face["location"]) == (detected["face_token"], detected["location"])
    assert [[user["user_id"] for user in face["user_list"]] for face in result["face_list"]] == [["u0"], [], ["u2"]]
    assert list(result["face_list"][0]["user_list"][0]) == ["group_id", "user_id", "user_info", "score"]
    assert wire.code("multiSearch", {**photos["astronaut"], "group_id_list": GROUP}) == 222207


# --- the library ------------------------------------------------------------------------------------------------------


def test_a_user_s_life(wire: Wire, photos: Photos) -> None:
    first = enrol(wire, photos["obama"], "u1", user_info="first")
    user = {"group_id": GROUP, "user_id": "u1"}
    assert wire.result("getUser", user) == {"user_list": [{"user_info": "first", "group_id": GROUP}]}
    assert wire.code("addUser", {**photos["obama"], **user}) == 223105
    second = enrol(wire, photos["obama2"], "u1", user_info="second")
    faces = wire.result("faceGetlist", user)["face_list"]
    assert [face["face_token"] for face in faces] == [first["face_token"], second["face_token"]]
    assert all(list(face) == ["face_token", "ctime"] for face in faces)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", face["ctime"]) for face in faces)
    assert wire.result("getUser", user)["user_list"][0]["user_info"] == "second"
    assert wire.code("faceDelete", {**user, "face_token": "0" * 32}) == 223106
    assert wire.result("faceDelete", {**user, "face_token": first["face_token"]}) is None
    assert wire.result("updateUser", {**photos["astronaut"], **user})["face_token"] not in (
        first["face_token"],
        second["face_token"],
    )
    assert len(wire.result("faceGetlist", user)["face_list"]) == 1
    assert wire.result("getUser", user)["user_list"][0]["user_info"] == "second"
    assert wire.result("getGroupUsers", {"group_id": GROUP}) == {"user_id_list": ["u1"]}
    assert wire.result("deleteUser", user) is None
    assert wire.result("getGroupUsers", {"group_id": GROUP}) == {"user_id_list": []}


def test_the_last_face_takes_its_user_along(wire: Wire, photos: Photos) -> None:
    token = enrol(wire, photos["obama"], "u1")["face_token"]
    wire.result("faceDelete", {"group_id": GROUP, "user_id": "u1", "face_token": token})
    assert wire.code("getUser", {"group_id": GROUP, "user_id": "u1"}) == 223103
    assert wire.code("search", {**photos["obama"], "group_id_list": GROUP}) == 222207


def test_replace(wire: Wire, photos: Photos) -> None:
    enrol(wire, photos["obama"], "u1", user_info="kept")
    enrol(wire, photos["obama2"], "u1")
    token = enrol(wire, photos["astronaut"], "u1", action_type="REPLACE")["face_token"]
    user = {"group_id": GROUP, "user_id": "u1"}
    assert [face["face_token"] for face in wire.result("faceGetlist", user)["face_list"]] == [token]
    assert wire.code("search", {**photos["obama"], "group_id_list": GROUP}) == 222207


@pytest.mark.parametrize("threshold", [99.9, 99.99, 99.995, 100])
def test_the_same_picture_reaches_every_threshold(wire: Wire, photos: Photos, threshold: float) -> None:
    enrol(wire, photos["obama"], "u1")
    for more in ({}, {"user_id": "u1"}):
        asked = {"group_id_list": GROUP, "match_threshold": threshold, **more}
        assert wire.result("search", {**photos["obama"], **asked})["user_list"][0]["score"] == 100
        assert wire.code("search", {**photos["obama2"], **asked}) == 222207


def test_update_needs_its_user(wire: Wire, photos: Photos) -> None:
    user = {"group_id": GROUP, "user_id": "u1"}
    assert wire.code("updateUser", {**photos["obama"], **user}) == 223100
    wire.result("groupAdd", {"group_id": GROUP})
    assert wire.code("updateUser", {**photos["obama"], **user}) == 223103


def test_update_by_replace_registers_who_is_missing(wire: Wire, photos: Photos) -> None:
    user = {"group_id": GROUP, "user_id": "u1"}
    replace = {"action_type": "REPLACE"}
    wire.result("updateUser", {**photos["obama"], **user, **replace, "user_info": "kept"})
    token = wire.result("updateUser", {**photos["astronaut"], **user, **replace})["face_token"]
    assert [face["face_token"] for face in wire.result("faceGetlist", user)["face_list"]] == [token]
    assert wire.result("getUser", user)["user_list"] == [{"group_id": GROUP, "user_info": "kept"}]
    assert wire.code("search", {**photos["obama"], "group_id_list": GROUP}) == 222207


def test_update_registers_nobody_for_an_app_that_may_not_add(
    service: Service, http: httpx.Client, photos: Photos
) -> None:
    narrow = caller(service, http, {"faceset/user/update", "faceset/group/add"})
    replace = {**photos["obama"], "group_id": GROUP, "user_id": "u1", "action_type": "REPLACE"}
    assert narrow.code("updateUser", replace) == 223100
    narrow.result("groupAdd", {"group_id": GROUP})
    assert narrow.code("updateUser", replace) == 223103


def test_copy(wire: Wire, photos: Photos) -> None:
    enrol(wire, photos["obama"], "u1", user_info="info")
    copy = {"user_id": "u1", "src_group_id": GROUP, "dst_group_id": "g2"}
    answer = wire.call("userCopy", copy)
    assert (answer["error_code"], answer["error_msg"]) == (223111, "dst group is not exist")
    wire.result("groupAdd", {"group_id": "g2"})
    assert wire.result("userCopy", copy) is None
    answer = wire.call("userCopy", copy)
    assert (answer["error_code"], answer["error_msg"]) == (216100, "already add")
    everywhere = wire.result("getUser", {"group_id": "@ALL", "user_id": "u1"})["user_list"]
    assert sorted((user["group_id"], user["user_info"]) for user in everywhere) == [("g2", "info"), (GROUP, "info")]
    assert wire.result("search", {**photos["obama"], "group_id_list": "g2"})["user_list"][0]["group_id"] == "g2"
    assert wire.result("deleteUser", {"group_id": "@ALL", "user_id": "u1"}) is None
    assert wire.code("getUser", {"group_id": "@ALL", "user_id": "u1"}) == 223103
    assert wire.code("search", {**photos["obama"], "group_id_list": f"g2,{GROUP}"}) == 222207


def test_twenty_faces_are_enough(wire: Wire, pictures: Pictures) -> None:
    image = cv2.imdecode(np.frombuffer(pictures.bytes("astronaut.png"), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    user = {"group_id": GROUP, "user_id": "u1", "image_type": "BASE64"}
    face = image[0:300, 80:380]
    for shade in range(20):
        wire.result("addUser", {**user, "image": png(np.asarray(face // 2 + shade, np.uint8))})
    answer = wire.call("addUser", {**user, "image": png(np.asarray(face[1:], np.uint8))})
    assert (answer["error_code"], answer["error_msg"]) == (222300, "add face fail")
    assert wire.result("addUser", {**user, "image": png(np.asarray(face[1:], np.uint8)), "action_type": "REPLACE"})


def test_every_call_has_been_shown() -> None:
    """Each name of a call stands in a test of this folder."""
    text = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert [call.name for call in CALLS if f'"{call.name}"' not in text] == []
