from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from service.api.body import Parameters
from service.api.v3 import requests
from service.api.v3.codes import CODES
from service.errors import ServiceError
from service.intake.controls import Controls
from service.intake.order import FaceOrder
from service.library.users import EnrolAction
from service.recognition.compare import Probe
from service.recognition.identify import SearchOptions
from service.values import Control, FaceField, ImageKind, ImageSource, PictureType

PICTURE: dict[str, object] = {"image": "aGFsbG8=", "image_type": "BASE64"}
SOURCE = ImageSource(ImageKind.BASE64, "aGFsbG8=")
SEARCH = {**PICTURE, "group_id_list": "g1"}
ENROL = {**PICTURE, "group_id": "g1", "user_id": "u1"}
USER: dict[str, object] = {"group_id": "g1", "user_id": "u1"}
COPY: dict[str, object] = {"user_id": "u1", "src_group_id": "g1", "dst_group_id": "g2"}
FACE = {**USER, "face_token": "t1"}
GROUP: dict[str, object] = {"group_id": "g1"}
NOTHING: dict[str, object] = {}

Parse = Callable[[Mapping[str, object]], object]


def match_first(entry: Mapping[str, object]) -> object:
    """``match`` with a good second picture."""
    return requests.match([entry, PICTURE])


def code_of(parse: Callable[[], object]) -> int:
    with pytest.raises(ServiceError) as failure:
        parse()
    return CODES.of(failure.value).number


def test_detect() -> None:
    assert requests.detect(PICTURE) == requests.DetectRequest(SOURCE, 1, frozenset(), Controls())
    everything = {
        **PICTURE,
        "image_type": "URL",
        "face_type": "IDCARD",
        "max_face_num": "10",
        "face_field": "age, faceshape,landmark4",
        "quality_control": "HIGH",
        "liveness_control": "LOW",
        "aipSdk": "ignored",
    }
    assert requests.detect(everything) == requests.DetectRequest(
        ImageSource(ImageKind.URL, "aGFsbG8=", PictureType.IDCARD),
        10,
        frozenset({FaceField.AGE, FaceField.FACE_SHAPE, FaceField.LANDMARK}),
        Controls(Control.HIGH, Control.LOW),
    )


def test_detect_knows_every_field_that_the_documents_name() -> None:
    documented = (
        "age,beauty,expression,face_shape,faceshape,gender,glasses,landmark,landmark4,landmark72,landmark150,quality,"
        "eye_status,emotion,face_type,facetype,mask,spoofing,parsing_info"
    )
    assert len(requests.detect({**PICTURE, "face_field": documented}).fields) == 16


def test_detect_takes_an_order() -> None:
    assert requests.detect({**PICTURE, "face_sort_type": "1"}).order is FaceOrder.CENTRE
    assert requests.detect({**PICTURE, "face_sort_type": 0}).order is FaceOrder.AREA
    assert code_of(lambda: requests.detect({**PICTURE, "face_sort_type": 2})) == 222001


def test_empty_strings_are_left_out_parameters() -> None:
    names = ("face_type", "max_face_num", "face_field", "quality_control", "liveness_control")
    assert requests.detect({**PICTURE, **dict.fromkeys(names, "")}) == requests.detect(PICTURE)


def test_match() -> None:
    second = {**PICTURE, "quality_control": "LOW"}
    assert requests.match([PICTURE, second]) == (Probe(SOURCE), Probe(SOURCE, Controls(Control.LOW)))


def test_programs_may_name_what_every_answer_tells() -> None:
    asked = {**PICTURE, "face_field": "age,location,angle,qualities,race,feature"}
    assert requests.detect(asked).fields == {FaceField.AGE, FaceField.QUALITY}
    assert requests.face_verify([asked]).fields == {FaceField.AGE, FaceField.QUALITY}


@pytest.mark.parametrize("parameters", [{}, [], PICTURE, [PICTURE], [PICTURE] * 3, [{}] * 3])
def test_match_counts_before_it_looks(parameters: Parameters) -> None:
    assert code_of(lambda: requests.match(parameters)) == 222208


def test_search() -> None:
    assert requests.search(SEARCH) == requests.SearchRequest(SOURCE, ("g1",), SearchOptions())
    everything = {
        **SEARCH,
        "group_id_list": " g20180601, g1 ,g1",
        "match_threshold": "70.5",
        "max_user_num": 50,
        "max_face_num": 3,
        "user_id": "u1",
        "liveness_control": "NORMAL",
    }
    assert requests.search(everything) == requests.SearchRequest(
        SOURCE, ("g20180601", "g1"), SearchOptions(70.5, 50, 1, "u1", Controls(liveness=Control.NORMAL))
    )


def test_multi_search() -> None:
    assert requests.multi_search({**SEARCH, "max_face_num": 10, "max_user_num": "20"}) == requests.SearchRequest(
        SOURCE, ("g1",), SearchOptions(max_users=20, max_faces=10)
    )


def test_ten_groups_are_enough_and_repetitions_do_not_count() -> None:
    ten = ",".join(f"g{number}" for number in range(10))
    assert len(requests.search({**SEARCH, "group_id_list": f"{ten},g0"}).group_ids) == 10
    assert code_of(lambda: requests.search({**SEARCH, "group_id_list": f"{ten},g10"})) == 223104


def test_enrolment() -> None:
    request = requests.add_user({**ENROL, "user_info": "人" * 85, "action_type": "REPLACE"})
    assert request == requests.EnrolRequest(SOURCE, "g1", "u1", "人" * 85, EnrolAction.REPLACE, Controls())
    assert requests.add_user(ENROL).action is EnrolAction.APPEND
    assert requests.add_user(ENROL).user_info is None
    assert requests.update_user(ENROL).action is EnrolAction.UPDATE
    assert requests.update_user({**ENROL, "action_type": "REPLACE"}).action is EnrolAction.REPLACE


def test_the_library() -> None:
    assert requests.user(USER) == requests.UserRequest("g1", "u1")
    assert requests.user_of_groups({**USER, "group_id": "@ALL"}) == requests.UserRequest("@ALL", "u1")
    assert requests.face(FACE) == requests.FaceRequest("g1", "u1", "t1")
    assert requests.copy_user(COPY) == requests.CopyRequest("u1", "g1", "g2")
    assert requests.group({"group_id": 20_180_601}) == "20180601"
    assert requests.page(NOTHING) == requests.PageRequest(0, 100)
    assert requests.page({"start": "5", "length": "1000"}) == requests.PageRequest(5, 1000)
    assert requests.group_users(GROUP) == requests.GroupUsersRequest("g1", requests.PageRequest(0, 100))


@pytest.mark.parametrize("text", ["not-a-token", "t" * 65, "令牌"])
def test_what_cannot_be_a_face_token_is_not_looked_for(text: str) -> None:
    assert code_of(lambda: requests.detect({"image": text, "image_type": "FACE_TOKEN"})) == 222209


BAD: list[tuple[Parse, Mapping[str, object], str, list[object], int]] = [
    (requests.detect, PICTURE, "image", [["x"], {"a": 1}, "a\0"], 222013),
    (requests.detect, PICTURE, "image_type", ["base64", "FILE", 1], 222015),
    (requests.detect, PICTURE, "face_type", ["live", "PASSPORT"], 222024),
    (requests.detect, PICTURE, "max_face_num", [0, 11, "many", 1.5], 222016),
    (requests.detect, PICTURE, "face_field", ["nonsense", "age;beauty", 1], 222017),
    (requests.detect, PICTURE, "quality_control", ["STRICT"], 222019),
    (requests.detect, PICTURE, "liveness_control", ["STRICT"], 222020),
    (match_first, PICTURE, "image_type", ["FILE"], 222015),
    (match_first, PICTURE, "face_type", ["PASSPORT"], 222024),
    (match_first, PICTURE, "quality_control", ["STRICT"], 222019),
    (match_first, PICTURE, "liveness_control", ["STRICT"], 222020),
    (requests.search, SEARCH, "group_id_list", ["g-1", "组", ",", "@ALL"], 222005),
    (requests.search, SEARCH, "match_threshold", [-1, 100.5, "high"], 222030),
    (requests.search, SEARCH, "max_user_num", [0, 51, "many"], 222021),
    (requests.search, SEARCH, "user_id", ["u 1", "u" * 129], 222018),
    (requests.multi_search, SEARCH, "max_user_num", [21], 222021),
    (requests.multi_search, SEARCH, "max_face_num", [0, 11], 222016),
    (requests.add_user, ENROL, "group_id", ["g 1", "@ALL", "g" * 129], 222006),
    (requests.add_user, ENROL, "user_id", ["u-1", "用户"], 222018),
    (requests.add_user, ENROL, "user_info", ["人" * 86, ["x"], "a\0"], 222010),
    (requests.add_user, ENROL, "action_type", ["UPDATE", "MERGE"], 222300),
    (requests.update_user, ENROL, "action_type", ["APPEND"], 222300),
    (requests.user, USER, "group_id", ["@ALL", "g-1"], 222006),
    (requests.user_of_groups, USER, "group_id", ["@all", "g-1"], 222006),
    (requests.user_of_groups, USER, "user_id", ["@ALL"], 222018),
    (requests.face, FACE, "face_token", ["t-1", "t" * 65], 222025),
    (requests.copy_user, COPY, "src_group_id", ["g-1"], 222006),
    (requests.copy_user, COPY, "dst_group_id", ["g-1"], 222006),
    (requests.copy_user, COPY, "user_id", ["u-1"], 222018),
    (requests.group, GROUP, "group_id", ["g-1"], 222006),
    (requests.page, NOTHING, "start", [-1, "first", 2**31], 222002),
    (requests.page, NOTHING, "length", [0, 1001, "all"], 222003),
    (requests.group_users, GROUP, "start", [-1], 222002),
]


@pytest.mark.parametrize(
    ("parse", "good", "name", "value", "number"),
    [(parse, good, name, value, number) for parse, good, name, values, number in BAD for value in values],
)
def test_each_bad_parameter_has_its_own_code(
    parse: Parse, good: Mapping[str, object], name: str, value: object, number: int
) -> None:
    assert code_of(lambda: parse({**good, name: value})) == number


REQUIRED: list[tuple[Parse, Mapping[str, object]]] = [
    (requests.detect, PICTURE),
    (match_first, PICTURE),
    (requests.search, SEARCH),
    (requests.multi_search, SEARCH),
    (requests.add_user, ENROL),
    (requests.update_user, ENROL),
    (requests.user, USER),
    (requests.user_of_groups, USER),
    (requests.face, FACE),
    (requests.copy_user, COPY),
    (requests.group, GROUP),
    (requests.group_users, GROUP),
]


@pytest.mark.parametrize("empty", [None, ""])
@pytest.mark.parametrize(("parse", "good", "name"), [(parse, good, name) for parse, good in REQUIRED for name in good])
def test_each_required_parameter_is_missed(parse: Parse, good: Mapping[str, object], name: str, empty: object) -> None:
    assert code_of(lambda: parse({**good, name: empty})) == 222001
    assert code_of(lambda: parse({key: value for key, value in good.items() if key != name})) == 222001


@pytest.mark.parametrize(
    "parse", [requests.detect, requests.search, requests.add_user, requests.user, requests.page, requests.group]
)
def test_a_list_where_one_set_is_expected(parse: Callable[[Parameters], object]) -> None:
    assert code_of(lambda: parse([PICTURE])) == 222001
