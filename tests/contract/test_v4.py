"""V4: liveness of plain pictures, comparison with controls for each picture and a choice of face; what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from service.api.v4.routes import CALLS
from service.app import Service
from tests.contract.conftest import caller
from tests.contract.test_recognition import Photos, by_token, check_location, photos
from tests.contract.wire import Wire
from tests.fixtures.pictures import Pictures

__all__ = ["photos"]

NOT_OPENED = (222013, "param[image] format error")


def image_of(photos: Photos, name: str) -> str:
    return str(photos[name]["image"])


def encoded(image: NDArray[np.uint8]) -> str:
    done, data = cv2.imencode(".png", image)
    assert done
    return base64.b64encode(data.tobytes()).decode()


def decoded(data: bytes) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image, np.uint8)


@pytest.fixture(scope="module")
def two_people(pictures: Pictures) -> str:
    """The astronaut, large and at the left; Obama, smaller and in the middle."""
    astronaut, obama = decoded(pictures.bytes("astronaut.png")), decoded(pictures.bytes("obama.jpg"))
    canvas = np.full((800, 2400, 3), 90, np.uint8)
    canvas[:768, :768] = cv2.resize(astronaut, (768, 768))
    scale = 380 / obama.shape[0]
    small = cv2.resize(obama, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    left = 1200 - small.shape[1] // 2
    canvas[200 : 200 + small.shape[0], left : left + small.shape[1]] = small
    return encoded(canvas)


def compare(wire: Wire, image: str, register: str, **more: object) -> Any:
    return wire.result("faceMingJingMatch", pair(image, register, **more))


def pair(image: str, register: str, **more: object) -> dict[str, object]:
    sent = {"image": image, "image_type": "BASE64", "register_image": register, "register_image_type": "BASE64"}
    return {**sent, **more}


# --- faceverify -------------------------------------------------------------------------------------------------------


def test_faceverify(wire: Wire, photos: Photos) -> None:
    sent = {
        "sdk_version": "1",
        "option": "COMMON",
        "face_field": "spoofing,quality,age",
        "image_list": [image_of(photos, "obama"), photos["obama2"]],
    }
    result = wire.result("onlinePictureLiveV4", sent)
    assert list(result) == ["thresholds", "face_liveness", "face_list"]
    assert result["thresholds"] == {"frr_1e-4": 0.05, "frr_1e-3": 0.3, "frr_1e-2": 0.9}
    assert len(result["face_list"]) == 2
    for face in result["face_list"]:
        names = ["face_token", "location", "face_probability", "angle", "liveness", "age", "quality", "spoofing"]
        assert list(face) == [*names, "angel"]
        assert face["angel"] == face["angle"]
        assert 0 <= face["spoofing"] <= 1
        check_location(face["location"])
    assert result["face_liveness"] == max(face["liveness"]["livemapscore"] for face in result["face_list"])


def test_faceverify_answers_as_v3_does(wire: Wire, photos: Photos) -> None:
    old = wire.result("faceverify", [photos["obama"]])
    for scene in ("COMMON", "GATE", "FINANCE,COMMON"):
        new = wire.result("onlinePictureLiveV4", {"option": scene, "image_list": [image_of(photos, "obama")]})
        assert new["face_liveness"] == old["face_liveness"]
        assert new["face_list"][0]["face_token"] == old["face_list"][0]["face_token"]


def test_tokens_of_v4_are_pictures_of_v3(wire: Wire, photos: Photos) -> None:
    (face,) = wire.result("onlinePictureLiveV4", {"image_list": [image_of(photos, "obama")]})["face_list"]
    wire.result("addUser", {**by_token(face), "group_id": "g", "user_id": "u"})
    assert wire.result("search", {**by_token(face), "group_id_list": "g"})["user_list"][0]["score"] == 100


def test_sdk_fields_beside_plain_pictures_change_nothing(wire: Wire, photos: Photos) -> None:
    sent = {"sdk_version": "1", "image_list": [image_of(photos, "obama")]}
    more = {"app": "android", "s_key": "LNbv3Namn3Wg8e3Szq9Nwg==", "device_id": "dca0", "data": "qipE4E10"}
    assert wire.result("onlinePictureLiveV4", {**sent, **more}) == wire.result("onlinePictureLiveV4", sent)


# --- mingjing/match ---------------------------------------------------------------------------------------------------


def test_match(wire: Wire, photos: Photos) -> None:
    obama, again, biden = (image_of(photos, name) for name in ("obama", "obama2", "biden"))
    same = compare(wire, obama, again)
    assert list(same) == ["score", "face_list"]
    assert [list(face) for face in same["face_list"]] == [["face_token"], ["face_token"]]
    assert 80 < same["score"] < 100
    assert compare(wire, obama, obama)["score"] == 100
    assert compare(wire, obama, biden)["score"] < 60
    v3 = wire.result("match", [photos["obama"], photos["obama2"]])
    assert v3 == same


def test_match_by_tokens(wire: Wire, photos: Photos) -> None:
    (face,) = wire.result("detect", photos["obama"])["face_list"]
    sent = pair(face["face_token"], image_of(photos, "obama"), image_type="FACE_TOKEN")
    assert wire.result("faceMingJingMatch", sent)["score"] == 100


def test_each_picture_has_controls_of_its_own(wire: Wire, photos: Photos, pictures: Pictures) -> None:
    good, dark = image_of(photos, "astronaut"), encoded(decoded(pictures.bytes("astronaut.png")) // np.uint8(12))
    poor_light = (223115, "face light is not good")

    def answer(image: str, register: str, **more: object) -> tuple[int, str]:
        content = wire.call("faceMingJingMatch", pair(image, register, **more))
        return content["error_code"], content["error_msg"]

    assert answer(good, dark) == (0, "SUCCESS")
    assert answer(good, dark, quality_control="NORMAL") == (0, "SUCCESS")
    assert answer(good, dark, register_quality_control="NORMAL") == poor_light
    assert answer(dark, good, quality_control="NORMAL") == poor_light
    assert answer(dark, good, register_quality_control="NORMAL") == (0, "SUCCESS")


def test_the_face_in_the_middle_can_be_chosen(wire: Wire, photos: Photos, two_people: str) -> None:
    astronaut, obama = image_of(photos, "astronaut"), image_of(photos, "obama2")
    assert compare(wire, two_people, astronaut)["score"] > 80
    assert compare(wire, two_people, astronaut, face_sort_type=0)["score"] > 80
    assert compare(wire, two_people, astronaut, face_sort_type=1)["score"] < 60
    assert compare(wire, two_people, obama, face_sort_type="1")["score"] > 80
    assert compare(wire, obama, two_people, face_sort_type=1)["score"] > 80


def test_detect_of_v3_sorts_too(wire: Wire, two_people: str) -> None:
    sent = {"image": two_people, "image_type": "BASE64", "max_face_num": 2}
    by_area, by_centre = (
        [face["face_token"] for face in wire.result("detect", {**sent, "face_sort_type": order})["face_list"]]
        for order in (0, 1)
    )
    assert len(by_area) == 2
    assert by_centre == by_area[::-1]
    (nearest,) = wire.result("detect", {**sent, "max_face_num": 1, "face_sort_type": 1})["face_list"]
    assert nearest["face_token"] == by_centre[0]


# --- what is refused --------------------------------------------------------------------------------------------------


def test_encrypted_pictures_are_refused(wire: Wire, photos: Photos) -> None:
    sample = {
        "sdk_version": "4",
        "s_key": "LNbv3Namn3Wg8e3Szq9Nwg==",
        "device_id": "dca010ccb8df410de90540038925c752",
        "data": "qipE4E10qFAr9m/3U",
        "app": "android",
        "option": "COMMON",
        "face_field": "spoofing",
    }
    lite = {"app": "ios", "sec_level": "lite", "skey": "x", "x_device_id": "y", "data": "z"}
    register = {"register_image": image_of(photos, "obama"), "register_image_type": "BASE64"}
    for name, sent in (("onlinePictureLiveV4", sample), ("faceMingJingMatch", {**lite, **register})):
        answer = wire.call(name, sent)
        assert (answer["error_code"], answer["error_msg"]) == NOT_OPENED


@pytest.mark.parametrize(
    ("picture", "code"), [("!!!!", 222013), ("bm8gcGljdHVyZQ==", 222203)], ids=["no base64", "no picture"]
)
def test_pictures_that_cannot_be_used(wire: Wire, photos: Photos, picture: str, code: int) -> None:
    good = image_of(photos, "obama")
    assert wire.code("onlinePictureLiveV4", {"image_list": [good, picture]}) == code
    assert wire.code("faceMingJingMatch", pair(picture, good)) == code
    assert wire.code("faceMingJingMatch", pair(good, picture)) == code


def test_a_picture_without_a_face(wire: Wire, photos: Photos) -> None:
    gray = encoded(np.full((200, 200, 3), 128, np.uint8))
    assert wire.code("onlinePictureLiveV4", {"image_list": [gray]}) == 222202
    assert wire.code("faceMingJingMatch", pair(image_of(photos, "obama"), gray)) == 222202


def test_nothing_answers_without_a_token(wire: Wire) -> None:
    for call in CALLS:
        answer = wire.post(call.path, json.dumps(call.example).encode(), query="aipSdk=python")
        assert answer == {"error_code": 100, "error_msg": "Invalid parameter"}


def test_v4_has_permissions_of_its_own(service: Service, http: httpx.Client) -> None:
    old = caller(service, http, {"faceverify", "match"})
    new = caller(service, http, {str(call.permission) for call in CALLS})
    for call in CALLS:
        assert old.code(call.name) == 6
        assert new.code(call.name) == 222001
