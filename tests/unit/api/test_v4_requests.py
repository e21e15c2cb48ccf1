from __future__ import annotations

from collections.abc import Callable

import pytest

from service.api.v4 import requests
from service.api.v4.codes import CODES
from service.api.v4.requests import LivenessRequest, Scene
from service.errors import ParameterMalformed, ServiceError
from service.intake.controls import Controls
from service.intake.order import FaceOrder
from service.recognition.compare import Probe
from service.values import Control, FaceField, ImageKind, ImageSource, PictureType

IMAGE = "aGFsbG8="
SOURCE = ImageSource(ImageKind.BASE64, IMAGE)
VERIFY: dict[str, object] = {"sdk_version": "1", "image_list": [IMAGE]}
MATCH: dict[str, object] = {"image": IMAGE, "register_image": IMAGE}
OF_THE_SDK: dict[str, object] = {"app": "ios", "s_key": "a", "skey": "a", "x_device_id": "b", "device_id": "b"}


def code_of(parse: Callable[[], object]) -> int:
    with pytest.raises(ServiceError) as failure:
        parse()
    return CODES.of(failure.value).number


# --- faceverify -------------------------------------------------------------------------------------------------------


def test_face_verify() -> None:
    assert requests.face_verify(VERIFY) == LivenessRequest((SOURCE,), frozenset(), Scene.COMMON)
    everything = {
        "sdk_version": 1,
        "option": "GATE",
        "face_field": "spoofing,quality",
        "image_list": [IMAGE, {"image": "t1", "image_type": "FACE_TOKEN"}, {"image": IMAGE}],
        **OF_THE_SDK,
        "data": "",
    }
    assert requests.face_verify(everything) == LivenessRequest(
        (SOURCE, ImageSource(ImageKind.FACE_TOKEN, "t1"), SOURCE),
        frozenset({FaceField.SPOOFING, FaceField.QUALITY}),
        Scene.GATE,
    )


def test_the_sample_of_the_documents_names_no_version() -> None:
    assert requests.face_verify({"image_list": [IMAGE]}).sources == (SOURCE,)
    assert requests.face_verify({"sdk_version": "", "image_list": [IMAGE]}).sources == (SOURCE,)


@pytest.mark.parametrize("sent", [[IMAGE], IMAGE, {"image": IMAGE}, [{"image": IMAGE, "image_type": "BASE64"}]])
def test_one_picture_in_every_shape(sent: object) -> None:
    assert requests.face_verify({**VERIFY, "image_list": sent}).sources == (SOURCE,)


@pytest.mark.parametrize(
    ("sent", "scene"),
    [
        (None, Scene.COMMON),
        ("", Scene.COMMON),
        ([], Scene.COMMON),
        ("FINANCE", Scene.FINANCE),
        (" LOGISTICS , GATE", Scene.LOGISTICS),
        ("INTERNET,WHATEVER", Scene.INTERNET),
        (["GATE", "COMMON"], Scene.GATE),
    ],
)
def test_the_first_scene_counts(sent: object, scene: Scene) -> None:
    assert requests.face_verify({**VERIFY, "option": sent}).scene is scene


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"image_list": None}, 222001),
        ({"image_list": ""}, 222001),
        ({"image_list": []}, 222208),
        ({"image_list": [IMAGE] * 9}, 222208),
        ({"image_list": [""]}, 222001),
        ({"image_list": [1]}, 222013),
        ({"image_list": [[IMAGE]]}, 222013),
        ({"image_list": [{"image": IMAGE, "image_type": "FILE"}]}, 222015),
        ({"image_list": [{"image": "no token", "image_type": "FACE_TOKEN"}]}, 222209),
        ({"face_field": "colour"}, 222017),
        ({"option": "MOON"}, 222001),
        ({"option": ["MOON", "GATE"]}, 222001),
        ({"option": [["GATE"]]}, 222001),
        ({"sdk_version": "2"}, 222001),
    ],
)
def test_face_verify_refuses(changes: dict[str, object], code: int) -> None:
    assert code_of(lambda: requests.face_verify({**VERIFY, **changes})) == code


@pytest.mark.parametrize(
    "parameters",
    [
        {"sdk_version": "4", "data": "qipE4E10", **OF_THE_SDK},
        {"sdk_version": 4, "image_list": [IMAGE]},
        {"sdk_version": "1", "data": "qipE4E10"},
        {"sdk_version": "1", "data": ["qipE4E10"]},
        {"data": "qipE4E10", "image_list": ""},
    ],
)
def test_face_verify_opens_nothing_encrypted(parameters: dict[str, object]) -> None:
    assert code_of(lambda: requests.face_verify(parameters)) == 222013


def test_data_beside_plain_pictures_is_passed_over() -> None:
    assert requests.face_verify({**VERIFY, "data": "qipE4E10"}).sources == (SOURCE,)
    assert requests.match({**MATCH, "data": "qipE4E10"})[0].source == SOURCE


# --- mingjing/match ---------------------------------------------------------------------------------------------------


def test_match() -> None:
    assert requests.match(MATCH) == (Probe(SOURCE), Probe(SOURCE))
    everything = {
        "image": "t1",
        "image_type": "FACE_TOKEN",
        "face_type": "LIVE",
        "quality_control": "LOW",
        "liveness_control": "HIGH",
        "register_image": "https://example.org/1.jpg",
        "register_image_type": "URL",
        "register_face_type": "WATERMARK",
        "register_quality_control": "NORMAL",
        "register_liveness_control": "NONE",
        "face_sort_type": 1,
        "sec_level": "common",
        **OF_THE_SDK,
    }
    assert requests.match(everything) == (
        Probe(ImageSource(ImageKind.FACE_TOKEN, "t1"), Controls(Control.LOW, Control.HIGH), order=FaceOrder.CENTRE),
        Probe(
            ImageSource(ImageKind.URL, "https://example.org/1.jpg", PictureType.WATERMARK),
            Controls(Control.NORMAL, Control.NONE),
            order=FaceOrder.CENTRE,
        ),
    )


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"image": ""}, 222001),
        ({"register_image": ""}, 222001),
        ({"register_image": ["x"]}, 222013),
        ({"register_image_type": "FILE"}, 222015),
        ({"register_image": "no token", "register_image_type": "FACE_TOKEN"}, 222209),
        ({"face_type": "CAT"}, 222024),
        ({"register_face_type": "CAT"}, 222024),
        ({"quality_control": "BEST"}, 222019),
        ({"register_quality_control": "BEST"}, 222019),
        ({"liveness_control": "BEST"}, 222020),
        ({"register_liveness_control": "BEST"}, 222020),
        ({"face_sort_type": 2}, 222001),
        ({"face_sort_type": "area"}, 222001),
        ({"sec_level": "max"}, 222001),
        ({"sec_level": "lite"}, 222013),
        ({"sec_level": "lite", "data": "x", "image": None}, 222013),
        ({"data": "x", "image": None}, 222013),
    ],
)
def test_match_refuses(changes: dict[str, object], code: int) -> None:
    assert code_of(lambda: requests.match({**MATCH, **changes})) == code


@pytest.mark.parametrize("parse", [requests.face_verify, requests.match])
def test_a_list_of_parameters_is_none_of_v4(parse: Callable[[list[dict[str, object]]], object]) -> None:
    with pytest.raises(ParameterMalformed):
        parse([VERIFY])
