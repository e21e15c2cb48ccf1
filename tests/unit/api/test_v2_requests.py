from __future__ import annotations

from collections.abc import Callable

import pytest

from service.api.body import Parameters
from service.api.calls import Call
from service.api.v2 import requests
from service.api.v2.routes import CALLS
from service.errors import ParameterMalformed, ParameterMissing, ParameterTooLong
from service.values import FaceField, PictureType

PICTURE = {"image": "abcd"}
USER = {"uid": "u1", "group_id": "g1"}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: str(call.name))
def test_calls_are_complete(call: Call[object, object]) -> None:
    assert call.summary.endswith(".")
    assert call.parse(call.example) is not None  # type: ignore[arg-type]


def test_there_are_fifteen_calls() -> None:
    assert len({call.path for call in CALLS}) == len({call.name for call in CALLS}) == 15


@pytest.mark.parametrize("name", ["image", "images"])
def test_a_picture_goes_by_two_names(name: str) -> None:
    assert requests.detect({name: "abcd"}).source.text == "abcd"


@pytest.mark.parametrize(
    ("text", "pictures"),
    [
        ("ab,cd", ["ab", "cd"]),
        ("ab, cd ,", ["ab", " cd "]),
        (" ,,ab,, ,cd", ["ab", "cd"]),
        (" data:image/png;base64,ab,cd", [" data:image/png;base64,ab", "cd"]),
        ("data:image/png;base64,ab,cd", ["data:image/png;base64,ab", "cd"]),
        ("data:image/png;base64,ab,data:image/png;base64,cd", ["data:image/png;base64,ab", "data:image/png;base64,cd"]),
    ],
)
def test_pictures_are_separated_by_commas(text: str, pictures: list[str]) -> None:
    assert [probe.source.text for probe in requests.match({"images": text})] == pictures


def test_one_picture_may_have_a_head() -> None:
    assert requests.detect({"image": "data:image/png;base64,abcd"}).source.text == "data:image/png;base64,abcd"


def test_types_of_pictures() -> None:
    request = requests.match({"images": "ab,cd,ef", "types": "7,13"})
    assert [probe.source.picture_type for probe in request] == [
        PictureType.LIVE,
        PictureType.CERT,
        PictureType.LIVE,
    ]
    with pytest.raises(ParameterMalformed, match="types"):
        requests.match({"images": "ab,cd", "types": "8"})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("faceliveness,faceliveness", [True, True]),
        (",faceliveness", [False, True]),
        ("faceliveness,", [True, False]),
        ("", [False, False]),
        ("nonsense", [False, False]),
    ],
)
def test_liveness_is_asked_for_by_position(text: str, wanted: list[bool]) -> None:
    request = requests.match({"images": "ab,cd", "image_liveness": text})
    assert [probe.fields == {FaceField.LIVENESS} for probe in request] == wanted


def test_fields() -> None:
    assert requests.detect({**PICTURE, "face_fields": "age, landmark,race,nonsense"}).fields == {
        FaceField.AGE,
        FaceField.LANDMARK,
        FaceField.LANDMARK72,
    }
    assert requests.detect(PICTURE).fields == frozenset()
    form = {**PICTURE, **USER, "ext_fields": "faceliveness"}
    assert requests.verify(form).fields == {FaceField.LIVENESS}
    assert requests.identify(form).options.fields == {FaceField.LIVENESS}
    assert requests.multi_identify({**form, "ext_fields": ""}).options.fields == frozenset()


@pytest.mark.parametrize(("sent", "meant"), [("1", 1), ("5", 5), ("6", 5), ("1000", 5), ("", 1), (None, 1), (3.0, 3)])
def test_large_numbers_count_as_the_largest(sent: object, meant: int) -> None:
    request = requests.identify({**PICTURE, "group_id": "g1", "user_top_num": sent})
    assert request.options.max_users == meant


@pytest.mark.parametrize("sent", ["0", "-1", "x", "1.5", True, str(2**31)])
def test_numbers_that_are_none(sent: object) -> None:
    with pytest.raises(ParameterMalformed, match="user_top_num"):
        requests.identify({**PICTURE, "group_id": "g1", "user_top_num": sent})


@pytest.mark.parametrize(
    ("action", "replace"), [(None, False), ("", False), ("append", False), ("app", False), (" Replace", True)]
)
def test_actions_of_add(action: str | None, replace: bool) -> None:
    assert requests.add_user({**PICTURE, **USER, "action_type": action}).replace is replace


def test_actions_of_update() -> None:
    assert requests.update_user({**PICTURE, "uid": "u1"}).group_ids is None
    assert requests.update_user({**PICTURE, **USER, "action_type": "REPLACE"}).replace
    with pytest.raises(ParameterMissing, match="group_id"):
        requests.update_user({**PICTURE, "uid": "u1", "action_type": "replace"})
    with pytest.raises(ParameterMalformed, match="action_type"):
        requests.update_user({**PICTURE, **USER, "action_type": "append"})


@pytest.mark.parametrize(
    ("sent", "length"),
    [
        ({}, 100),
        ({"end": "20"}, 20),
        ({"num": "", "end": 20}, 20),
        ({"num": "10", "end": "20"}, 10),
        ({"end": "1001"}, 1000),
    ],
)
def test_a_page_has_its_length_by_two_names(sent: dict[str, object], length: int) -> None:
    assert requests.page(sent) == requests.PageRequest(0, length)
    assert requests.group_users({"group_id": "g1", **sent}).page == requests.PageRequest(0, length)


def test_an_empty_info_is_none() -> None:
    assert requests.add_user({**PICTURE, **USER, "user_info": ""}).user_info is None
    assert requests.add_user({**PICTURE, **USER, "user_info": "人" * 85}).user_info == "人" * 85
    with pytest.raises(ParameterTooLong, match="user_info"):
        requests.add_user({**PICTURE, **USER, "user_info": "人" * 86})


def test_groups_with_blanks_each_once() -> None:
    assert requests.user({"uid": "u1", "group_id": " g1 ,g2,g1"}).group_ids == ("g1", "g2")
    assert requests.user({"uid": "u1", "group_id": ""}).group_ids is None
    with pytest.raises(ParameterMalformed, match="group_id"):
        requests.user({"uid": "u1", "group_id": ","})


@pytest.mark.parametrize("sent", [[], [""]])
@pytest.mark.parametrize("parse", [requests.user, requests.update_user])
def test_a_list_that_names_no_group_does_not_mean_all(parse: Callable[[Parameters], object], sent: list[str]) -> None:
    assert requests.user({"uid": "u1", "group_id": [0]}).group_ids == ("0",)
    with pytest.raises(ParameterMalformed, match="group_id"):
        parse({**PICTURE, "uid": "u1", "group_id": sent})


@pytest.mark.parametrize("head", [" ", "data:image/png;base64"])
def test_commas_without_end_are_refused(head: str) -> None:
    """Each took time by the length of the whole: half an hour for ten megabytes."""
    with pytest.raises(ParameterTooLong, match="image"):
        requests.detect({"image": head + "A" * 5_000_000 + "," * 5_000_000})
