"""The official Python client, unchanged but for its addresses, makes every V3 call, with tokens and with signatures."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from aip import AipFace

from tests.fixtures.pictures import Pictures
from tests.fixtures.python_sdk import official_client
from tests.fixtures.server import LiveServer

Answer = dict[str, Any]


@pytest.fixture(params=["token", "signature"])
def client(request: pytest.FixtureRequest, server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[AipFace]:
    """A client that authenticates in one of its two ways and believes our server to be the cloud."""
    with official_client(server, monkeypatch, signed=request.param == "signature") as made:
        yield made


@pytest.fixture
def group(request: pytest.FixtureRequest, client: AipFace) -> Iterator[str]:
    """A group of this test's own, empty at first."""
    name = "".join(letter if letter.isalnum() else "_" for letter in request.node.name)
    assert_success(client.groupAdd(name))
    yield name
    assert_success(client.groupDelete(name))


def assert_success(answer: Answer) -> Any:
    """Every answer's envelope, as applications check it; returns the result."""
    assert answer["error_code"] == 0, answer
    assert answer["error_msg"] == "SUCCESS"
    assert isinstance(answer["log_id"], int)
    assert isinstance(answer["timestamp"], int)
    assert answer["cached"] == 0
    return answer["result"]


def assert_failure(answer: Answer, code: int, text: str) -> None:
    """An error's envelope."""
    assert (answer["error_code"], answer["error_msg"], answer["result"]) == (code, text, None)


def test_detect(client: AipFace, pictures: Pictures) -> None:
    options = {"max_face_num": 10, "face_field": "landmark,quality,age"}
    result = assert_success(client.detect(pictures.base64("sample1.jpg"), "BASE64", options))
    assert result["face_num"] == len(result["face_list"]) >= 2
    areas = [face["location"]["width"] * face["location"]["height"] for face in result["face_list"]]
    # By the detector's box, which differs a little from the answered one.
    assert all(later < 1.1 * earlier for earlier, later in itertools.pairwise(areas))
    for face in result["face_list"]:
        assert len(face["face_token"]) == 32
        assert face["face_probability"] > 0.5
        assert set(face["angle"]) == {"yaw", "pitch", "roll"}
        assert len(face["landmark72"]) == 72


def test_detect_answers_one_face_by_default(client: AipFace, pictures: Pictures) -> None:
    result = assert_success(client.detect(pictures.base64("sample1.jpg"), "BASE64"))
    assert result["face_num"] == 1


def test_detect_without_a_face(client: AipFace) -> None:
    gray = cv2.imencode(".png", np.full((200, 200, 3), 128, np.uint8))[1].tobytes()
    assert_failure(client.detect(base64.b64encode(gray).decode(), "BASE64"), 222202, "pic not has face")


def test_match(client: AipFace, pictures: Pictures) -> None:
    def score(left: str, right: str) -> float:
        sides = [{"image": pictures.base64(name), "image_type": "BASE64"} for name in (left, right)]
        result = assert_success(client.match(sides))
        assert len(result["face_list"]) == 2
        return float(result["score"])

    assert score("obama.jpg", "obama.jpg") == 100
    assert score("obama.jpg", "obama2.jpg") > 80
    assert score("obama2.jpg", "obama3.jpg") > 80
    assert score("obama.jpg", "biden.jpg") < 60


def test_a_token_of_detect_is_enrolled_and_found_at_once(client: AipFace, pictures: Pictures, group: str) -> None:
    found = assert_success(client.detect(pictures.base64("obama.jpg"), "BASE64"))
    token = found["face_list"][0]["face_token"]
    assert_success(client.addUser(token, "FACE_TOKEN", group, "obama"))
    result = assert_success(client.search(token, "FACE_TOKEN", group))
    assert [(user["user_id"], user["score"]) for user in result["user_list"]] == [("obama", 100)]


def test_search(client: AipFace, pictures: Pictures, group: str) -> None:
    for user, picture in (("obama", "obama.jpg"), ("biden", "biden.jpg")):
        options = {"user_info": f"{user}，总统"}
        assert_success(client.addUser(pictures.base64(picture), "BASE64", group, user, options))
    probe = pictures.base64("obama2.jpg")

    users = assert_success(client.search(probe, "BASE64", f"{group}, no_such_group"))["user_list"]
    assert [(user["user_id"], user["group_id"], user["user_info"]) for user in users] == [
        ("obama", group, "obama，总统")
    ]
    assert users[0]["score"] > 80

    ranked = assert_success(client.search(probe, "BASE64", group, {"max_user_num": 5, "match_threshold": 0}))
    assert [user["user_id"] for user in ranked["user_list"]] == ["obama", "biden"]

    assert_success(client.search(probe, "BASE64", group, {"user_id": "obama"}))
    wrong = client.search(probe, "BASE64", group, {"user_id": "biden"})
    assert_failure(wrong, 222207, "match user is not found")


def test_multi_search(client: AipFace, pictures: Pictures, group: str) -> None:
    options = {"max_face_num": 10}
    people = assert_success(client.detect(pictures.base64("sample1.jpg"), "BASE64", options))["face_list"]
    for number, face in enumerate(people):
        assert_success(client.addUser(face["face_token"], "FACE_TOKEN", group, f"person{number}"))
    everybody = {"max_face_num": 10, "max_user_num": 1}
    result = assert_success(client.multiSearch(pictures.base64("sample1.jpg"), "BASE64", group, everybody))
    assert result["face_num"] == len(people)
    found = [face["user_list"][0]["user_id"] for face in result["face_list"]]
    assert found == [f"person{number}" for number in range(len(people))]


def test_a_user_through_its_life(client: AipFace, pictures: Pictures, group: str) -> None:
    first = assert_success(client.addUser(pictures.base64("obama.jpg"), "BASE64", group, "obama", {"user_info": "一"}))[
        "face_token"
    ]
    again = client.addUser(pictures.base64("obama.jpg"), "BASE64", group, "obama")
    assert_failure(again, 223105, "face is already exist")
    second = assert_success(client.addUser(pictures.base64("obama2.jpg"), "BASE64", group, "obama"))["face_token"]

    users = assert_success(client.getUser("obama", group))["user_list"]
    assert [user["user_info"] for user in users] == ["一"]
    faces = assert_success(client.faceGetlist("obama", group))["face_list"]
    assert {face["face_token"] for face in faces} == {first, second}
    assert assert_success(client.getGroupUsers(group))["user_id_list"] == ["obama"]

    third = assert_success(
        client.updateUser(pictures.base64("obama3.jpg"), "BASE64", group, "obama", {"user_info": "二"})
    )["face_token"]
    faces = assert_success(client.faceGetlist("obama", group))["face_list"]
    assert [face["face_token"] for face in faces] == [third]
    assert assert_success(client.getUser("obama", group))["user_list"][0]["user_info"] == "二"

    assert_success(client.faceDelete("obama", group, third))
    assert_failure(client.getUser("obama", group), 223103, "user is not exist")


def test_copy_and_delete(client: AipFace, pictures: Pictures, group: str) -> None:
    other = f"{group}_copy"
    assert_success(client.groupAdd(other))
    assert_success(client.addUser(pictures.base64("biden.jpg"), "BASE64", group, "biden", {"user_info": "x"}))
    assert_success(client.userCopy("biden", {"src_group_id": group, "dst_group_id": other}))
    again = client.userCopy("biden", {"src_group_id": group, "dst_group_id": other})
    assert_failure(again, 216100, "already add")
    everywhere = assert_success(client.getUser("biden", "@ALL"))["user_list"]
    assert {user["group_id"] for user in everywhere} >= {group, other}
    assert_success(client.search(pictures.base64("biden.jpg"), "BASE64", other))

    assert_success(client.deleteUser(other, "biden"))
    assert_failure(client.search(pictures.base64("biden.jpg"), "BASE64", other), 222207, "match user is not found")
    assert_success(client.groupDelete(other))


def test_groups(client: AipFace, group: str) -> None:
    assert_failure(client.groupAdd(group), 223101, "group is already exist")
    names = assert_success(client.getGroupList({"start": 0, "length": 1000}))["group_id_list"]
    assert group in names
    assert_failure(client.groupDelete(f"{group}_missing"), 223100, "group is not exist")


def test_the_client_authenticated_as_meant(client: AipFace, request: pytest.FixtureRequest) -> None:
    assert_success(client.getGroupList())
    with_token = "signature" not in request.node.name
    assert client._isCloudUser is not with_token
    assert bool(client._authObj) is with_token
