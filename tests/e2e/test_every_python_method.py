"""Every method of the official Python client gets an answer, those included that other tests do not call."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from aip import AipFace

from tests.fixtures.pictures import Pictures
from tests.fixtures.python_sdk import OWN_METHODS
from tests.seeds import data, table

MISSING = data.missing().calls
UNSUPPORTED = 3
PERSON = ("110101199003070038", "张三")
PERIOD = ("20200101", "20400101")


@pytest.fixture
def client(python_sdk: AipFace) -> AipFace:
    return python_sdk


def assert_known(name: str, answer: dict[str, Any]) -> None:
    """The call lives at its path, and says so in its own envelope, unless it is listed as missing."""
    code = answer.get("error_code", answer.get("err_no"))
    assert isinstance(code, int), answer
    assert (code == UNSUPPORTED) == (name in MISSING), answer


def test_face_verification(client: AipFace, pictures: Pictures) -> None:
    images = [{"image": pictures.base64(name), "image_type": "BASE64"} for name in ("obama.jpg", "obama2.jpg")]
    answer = client.faceverify(images)
    assert answer["error_msg"] == "SUCCESS", answer
    assert 0 <= answer["result"]["face_liveness"] <= 1
    assert len(answer["result"]["face_list"]) == len(images)


def test_calls_about_a_registered_person(client: AipFace, pictures: Pictures) -> None:
    """Nobody is registered here: what counts is that the call knows it."""
    number, name = PERSON
    face = pictures.base64("obama.jpg")
    assert_known("personVerify", client.personVerify(face, "BASE64", number, name))
    assert_known("facePersonIdmatchV3", client.facePersonIdmatchV3(number, name))
    assert_known("faceMingJingVerify", client.faceMingJingVerify(number, name, face))
    assert_known("faceIdmatchDateV4", client.faceIdmatchDateV4(name, number, *PERIOD))
    assert_known("faceVerifyDateV4", client.faceVerifyDateV4(name, number, *PERIOD, face, "BASE64"))


def test_calls_of_the_first_generation(client: AipFace, pictures: Pictures) -> None:
    assert_known("videoSessioncode", client.videoSessioncode())
    assert_known("videoSessioncode", client.videoSessioncode({"appid": "1"}))
    assert_known("facelivenessVerifyV1", client.facelivenessVerifyV1("AAAA", {"session_id": "S1"}))
    assert_known("faceLandmarkV1", client.faceLandmarkV1(pictures.base64("obama.jpg"), "BASE64"))


def test_no_method_of_the_client_is_left_out() -> None:
    methods = {name for name, _ in inspect.getmembers(AipFace, inspect.isfunction) if not name.startswith("_")}
    known = {names["python"] for names in data.clients().values()}
    assert methods - OWN_METHODS == known
    assert known <= set(table.python_calls())
