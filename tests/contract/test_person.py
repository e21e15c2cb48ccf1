"""Person verification through the real server: every call, what the register confirms, and what it does not."""

from __future__ import annotations

import base64
from datetime import date

import cv2
import numpy as np
import pytest

from service.api.v3 import person
from service.app import Service
from service.identity.claims import Validity
from service.identity.register import Person, ReferencePicture
from service.intake.acceptance import SPOOFING_LIMITS
from tests.contract.people import CARD, NAME, TERM, V3_CALLS, V4_CALLS, VALIDITY, Registered, asking, obama, registered
from tests.contract.test_recognition import Photos, photos
from tests.contract.wire import Wire
from tests.fixtures.library import random_embedding
from tests.fixtures.people import claim, number
from tests.fixtures.pictures import Pictures

__all__ = ["obama", "photos", "registered"]


# --- what is confirmed ------------------------------------------------------------------------------------------------


def test_v3_verify(obama: Registered, photos: Photos) -> None:
    same = obama.wire.result("personVerify", asking("personVerify", photos["obama2"]))
    assert list(same) == ["score"]
    assert 80 < same["score"] < 100
    other = obama.wire.result("personVerify", asking("personVerify", photos["biden"]))
    assert other["score"] < 60
    assert same == {"score": obama.wire.result("match", [photos["obama"], photos["obama2"]])["score"]}


def test_the_picture_on_record_is_not_100(obama: Registered, photos: Photos) -> None:
    assert 99 < obama.wire.result("personVerify", asking("personVerify", photos["obama"]))["score"] < 100


def test_v3_idmatch(obama: Registered) -> None:
    answer = obama.wire.call("facePersonIdmatchV3", CARD)
    assert (answer["error_code"], answer["error_msg"], answer["result"]) == (0, "SUCCESS", None)


@pytest.mark.parametrize("name", ["faceMingJingVerify", "faceVerifyDateV4"])
def test_v4_verify(obama: Registered, photos: Photos, name: str) -> None:
    same = obama.wire.result(name, asking(name, {"image": photos["obama2"]["image"]}))
    assert list(same) == ["score", "verify_status"]
    assert 80 < same["score"] < 100
    assert same["verify_status"] == 0
    other = obama.wire.result(name, asking(name, photos["biden"]))
    assert other["score"] < 60
    assert other["verify_status"] == 0


def test_v4_idmatch_date(obama: Registered) -> None:
    assert obama.wire.result("faceIdmatchDateV4", {**CARD, **TERM}) == {"verify_status": 0}
    obama.enter(claim(2), validity=Validity(date(2016, 3, 4), None))
    for_good = {"id_card_number": number(2), "start_date": "20160304", "end_date": "00000000"}
    assert obama.wire.result("faceIdmatchDateV4", {**CARD, **for_good}) == {"verify_status": 0}
    expired = {"start_date": "20000101", "end_date": "20050101"}
    obama.enter(claim(3), validity=Validity(date(2000, 1, 1), date(2005, 1, 1)))
    sent = {**CARD, **expired, "id_card_number": number(3)}
    assert obama.wire.result("faceIdmatchDateV4", sent) == {"verify_status": 0}


def test_numbers_and_names_as_people_type_them(obama: Registered) -> None:
    digits = number(1)
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in digits)
    for typed in (f" {digits.lower()} ", wide):
        assert obama.answer("facePersonIdmatchV3", {"id_card_number": typed, "name": f" {NAME} "}) == (0, "SUCCESS")
    form = f"id_card_number={digits}&name=%E9%9F%A6%E5%B0%8F%E5%AE%9D".encode()
    assert obama.wire.post(person.CALLS[1].path, form)["error_code"] == 0


@pytest.mark.parametrize("name", ["\U000323af小", "\ue863小", "\U0002ebf0"])
def test_names_with_rare_characters(registered: Registered, name: str) -> None:
    """Younger than the tables of this Python, or of private use."""
    registered.enter(claim(1, name))
    assert registered.answer("facePersonIdmatchV3", {**CARD, "name": name}) == (0, "SUCCESS")
    assert registered.answer("facePersonIdmatchV3", {**CARD, "name": f"{name}\U000323b0"})[0] == 222351


def test_a_face_token_is_a_picture(obama: Registered, photos: Photos) -> None:
    (face,) = obama.wire.result("detect", photos["obama2"])["face_list"]
    token = {"image": face["face_token"], "image_type": "FACE_TOKEN"}
    assert obama.wire.result("personVerify", asking("personVerify", token))["score"] > 80
    assert obama.wire.result("faceMingJingVerify", asking("faceMingJingVerify", token))["score"] > 80


# --- what is not ------------------------------------------------------------------------------------------------------


def refuse(obama: Registered, what: str) -> dict[str, object]:
    """Make the register refuse in one way; what to change in the question for it."""
    if what == "mismatch":
        return {"name": "张三"}
    if what == "unknown":
        return {"id_card_number": number(999)}
    if what == "revoked":
        obama.service.register.revoke(number(1), obama.app)
        return {}
    if what == "no picture":
        obama.enter(claim(2))
        return {"id_card_number": number(2)}
    foreign = ReferencePicture("other-weights", random_embedding(1), None)
    obama.service.register.put(Person(claim(3), VALIDITY, foreign), b"", obama.app)
    return {"id_card_number": number(3)}


@pytest.mark.parametrize(
    ("what", "code", "text", "status"),
    [
        ("mismatch", 222351, "id number and name not match or id number not exist", 1),
        ("unknown", 222354, "id number not exist", 1),
        ("revoked", 222360, "invalid name or id number", 1),
        ("no picture", 222355, "police picture not exist", 2),
        ("foreign picture", 222350, "police picture is none or low quality", 2),
    ],
)
def test_what_the_register_does_not_confirm(
    obama: Registered, photos: Photos, what: str, code: int, text: str, status: int
) -> None:
    changes = refuse(obama, what)
    needs_picture = status == 2
    assert obama.answer("personVerify", asking("personVerify", photos["obama2"], **changes)) == (code, text)
    expected = (0, "SUCCESS") if needs_picture else (code, text)
    assert obama.answer("facePersonIdmatchV3", {**CARD, **changes}) == expected
    for name in ("faceMingJingVerify", "faceVerifyDateV4"):
        result = obama.wire.result(name, asking(name, photos["obama2"], **changes))
        assert result == {"score": 0, "verify_status": status}
    result = obama.wire.result("faceIdmatchDateV4", {**CARD, **TERM, **changes})
    assert result == {"verify_status": 0 if needs_picture else status}


@pytest.mark.parametrize("changes", [{"start_date": "20160305"}, {"end_date": "20360303"}, {"end_date": "00000000"}])
def test_another_term(obama: Registered, photos: Photos, changes: dict[str, object]) -> None:
    assert obama.wire.result("faceIdmatchDateV4", {**CARD, **TERM, **changes}) == {"verify_status": 1}
    sent = asking("faceVerifyDateV4", photos["obama2"], **changes)
    assert obama.wire.result("faceVerifyDateV4", sent) == {"score": 0, "verify_status": 1}


def test_a_term_that_the_register_does_not_know(registered: Registered) -> None:
    registered.enter(claim(1), validity=None)
    assert registered.wire.result("faceIdmatchDateV4", {**CARD, **TERM}) == {"verify_status": 1}


def test_another_app_s_register_is_not_asked(obama: Registered, other_wire: Wire) -> None:
    assert obama.wire.call("facePersonIdmatchV3", CARD)["error_code"] == 0
    assert other_wire.code("facePersonIdmatchV3", CARD) == 222354


def test_the_common_register_is_asked_by_every_app(service: Service, wire: Wire, other_wire: Wire) -> None:
    common = claim(500)
    service.enrolment.enter(common, None, None)
    try:
        for each in (wire, other_wire):
            sent = {"id_card_number": common.number, "name": common.name}
            assert each.call("facePersonIdmatchV3", sent)["error_code"] == 0
    finally:
        assert service.register.erase(common.number)
    assert wire.code("facePersonIdmatchV3", {"id_card_number": common.number, "name": common.name}) == 222354


# --- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*V3_CALLS, *V4_CALLS])
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"id_card_number": ""}, 222001),
        ({"name": None}, 222001),
        ({"id_card_number": "123"}, 222022),
        ({"id_card_number": "110105491231002"}, 222022),
        ({"id_card_number": ["x"]}, 222022),
        ({"id_card_number": "1" * 100}, 222022),
        ({"name": {"x": 1}}, 222023),
        ({"name": "张\n三"}, 222023),
        ({"name": "张\u2028三"}, 222023),
        ({"name": "张\u200e三"}, 222023),
        ({"name": "三" * 100}, 222023),
        ({"name": "张3"}, 222352),
        ({"name": "张\ufdd0"}, 222352),
        ({"name": "Robert'); DROP TABLE"}, 222352),
        ({"id_card_number": "110233112299822211"}, 222353),
        ({"id_card_number": number(1)[:-1] + ("1" if number(1)[-1] == "0" else "0")}, 222353),
    ],
)
def test_parameters_of_the_person(obama: Registered, name: str, changes: dict[str, object], code: int) -> None:
    image = {"image": "aGFsbG8=", "image_type": "BASE64"}
    assert obama.wire.code(name, asking(name, image, **changes)) == code


@pytest.mark.parametrize(
    "changes",
    [{"start_date": ""}, {"end_date": None}, {"start_date": "x"}, {"start_date": "19830101"}, {"end_date": "20170304"}],
)
@pytest.mark.parametrize("name", ["faceIdmatchDateV4", "faceVerifyDateV4"])
def test_parameters_of_the_term(obama: Registered, name: str, changes: dict[str, object]) -> None:
    image = {"image": "aGFsbG8=", "image_type": "BASE64"}
    assert obama.wire.code(name, asking(name, image, **changes)) == 222001


@pytest.mark.parametrize("name", ["personVerify", "faceMingJingVerify", "faceVerifyDateV4"])
@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"image": ""}, 222001),
        ({"image": "!!!!"}, 222013),
        ({"image": "bm8gcGljdHVyZQ=="}, 222203),
        ({"image_type": "FILE"}, 222015),
        ({"image": "unknown", "image_type": "FACE_TOKEN"}, 222209),
        ({"quality_control": "BEST"}, 222019),
        ({"liveness_control": "BEST"}, 222020),
    ],
)
def test_parameters_of_the_picture(obama: Registered, name: str, changes: dict[str, object], code: int) -> None:
    image = {"image": "aGFsbG8=", "image_type": "BASE64"}
    assert obama.wire.code(name, asking(name, image, **changes)) == code


def test_where_v3_and_v4_differ(obama: Registered, photos: Photos) -> None:
    only = {"image": photos["obama2"]["image"]}
    assert obama.wire.code("personVerify", asking("personVerify", only)) == 222001
    for name in ("faceMingJingVerify", "faceVerifyDateV4"):
        assert obama.wire.code(name, asking(name, only, spoofing_control="BEST")) == 222001
        assert obama.wire.code(name, asking(name, {}, sec_level="lite", data="x")) == 222013


def test_controls_come_before_the_register(obama: Registered, pictures: Pictures) -> None:
    image = cv2.imdecode(np.frombuffer(pictures.bytes("astronaut.png"), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    done, data = cv2.imencode(".png", image // np.uint8(12))
    assert done
    dark = {"image": base64.b64encode(data.tobytes()).decode(), "image_type": "BASE64"}
    unknown = {"id_card_number": number(999), "quality_control": "NORMAL"}
    for name in ("personVerify", "faceMingJingVerify", "faceVerifyDateV4"):
        assert obama.answer(name, asking(name, dark, **unknown)) == (223115, "face light is not good")
        assert obama.wire.code(name, asking(name, dark, **{**unknown, "id_card_number": "1"})) == 222022


def test_spoofing_control(obama: Registered, photos: Photos) -> None:
    seen = {"image_list": [photos["obama2"]["image"]], "face_field": "spoofing"}
    (face,) = obama.wire.result("onlinePictureLiveV4", seen)["face_list"]
    for control, limit in SPOOFING_LIMITS.items():
        passes = limit is None or face["spoofing"] <= limit
        for name in ("faceMingJingVerify", "faceVerifyDateV4"):
            sent = asking(name, photos["obama2"], spoofing_control=control.value)
            assert obama.wire.call(name, sent)["error_code"] == (0 if passes else 223120)
