"""Golden requests and answers of the V2 calls that look at pictures, over the library that V3 sees too."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from service.api.v2.routes import CALLS
from service.app import Service
from tests.contract.conftest import caller
from tests.contract.v2.conftest import Photos
from tests.contract.v2.forms import PATHS, Forms
from tests.contract.wire import Answer, Wire

NO_FACE = (216402, "face not found")
NO_USER = (216612, "user not exist")
EMPTY_GROUP = (216618, "no user in group")


def enrol(forms: Forms, photo: dict[str, str], uid: str, groups: str = "g1", **more: str) -> None:
    form = {**photo, "uid": uid, "group_id": groups, "user_info": f"info of {uid}", **more}
    assert forms.result("addUser", form) == {}


def identify(forms: Forms, photo: dict[str, str], groups: str = "g1", **more: str) -> list[Any]:
    answer = forms.call("identify", {**photo, "group_id": groups, **more})
    assert list(answer) == ["log_id", "result_num", "result"], answer
    assert answer["result_num"] == len(answer["result"])
    result: list[Any] = answer["result"]
    return result


def check_box(box: Answer) -> None:
    """Whole pixels."""
    assert list(box)[:4] == ["left", "top", "width", "height"]
    assert all(type(box[name]) is int for name in ("left", "top", "width", "height"))


@pytest.fixture(scope="session")
def gray() -> dict[str, str]:
    """A picture without a face."""
    done, data = cv2.imencode(".png", np.full((200, 300, 3), 127, np.uint8))
    assert done
    return {"image": base64.b64encode(data.tobytes()).decode()}


# --- without a library ----------------------------------------------------------------------------------------------


def test_detect(forms: Forms, photos: Photos) -> None:
    answer = forms.call("detect", photos["astronaut"])
    assert list(answer) == ["result_num", "result", "log_id"]
    assert answer["result_num"] == 1
    (face,) = answer["result"]
    assert list(face) == ["location", "face_probability", "rotation_angle", "yaw", "pitch", "roll"]
    assert list(face["location"]) == ["left", "top", "width", "height"]
    check_box(face["location"])
    assert type(face["rotation_angle"]) is int
    assert face["face_probability"] == 1
    assert type(face["face_probability"]) is int


def test_detect_at_the_path_of_the_first_clients(forms: Forms, photos: Photos) -> None:
    asked = {**photos["astronaut"], "face_fields": "age,race,qualities", "max_face_num": "2"}
    assert PATHS["detectV1"] == "/rest/2.0/face/v1/detect"
    assert forms.result("detectV1", asked) == forms.result("detect", asked)


def test_detect_with_fields(forms: Forms, photos: Photos) -> None:
    form = {**photos["t1"], "face_fields": "landmark, nonsense", "max_face_num": "100"}
    faces = forms.result("detect", form)["result"]
    assert len(faces) == 6
    for face in faces:
        left, right, nose, mouth = face["landmark"]
        assert left["x"] < right["x"]
        assert left["y"] < nose["y"] < mouth["y"]
        assert {type(value) for point in face["landmark"] for value in point.values()} == {int}


def test_detect_with_everything(forms: Forms, photos: Photos) -> None:
    words = "age,beauty,expression,faceshape,gender,glasses,landmark,race,qualities"
    (face,) = forms.result("detect", {**photos["obama"], "face_fields": words})["result"]
    assert (len(face["landmark"]), len(face["landmark72"])) == (4, 72)
    assert 20 < face["age"] < 80
    assert 0 <= face["beauty"] <= 100
    assert face["expression"] in {0, 1, 2}
    assert face["expression_probability"] == face["expression_probablity"]
    assert [shape["type"] for shape in face["faceshape"]] == ["square", "triangle", "oval", "heart", "round"]
    assert sum(shape["probability"] for shape in face["faceshape"]) == pytest.approx(1, abs=0.03)
    assert face["gender"] == "male"
    assert face["glasses"] in {0, 1, 2}
    qualities = face["qualities"]
    assert list(qualities) == ["occlusion", "blur", "illumination", "completeness", "type"]
    assert qualities["completeness"] == 1
    assert qualities["type"]["human"] + qualities["type"]["cartoon"] == pytest.approx(1)
    assert "race" not in face


def test_liveness_of_a_picture(forms: Forms, photos: Photos, gray: dict[str, str]) -> None:
    answer = forms.call("faceverify", {**photos["astronaut"], "face_fields": "qualities,faceliveness"})
    assert list(answer) == ["result_num", "result", "log_id"]
    (face,) = answer["result"]
    assert 0.5 < face.pop("faceliveness") <= 1
    (detected,) = forms.result("detect", {**photos["astronaut"], "face_fields": "qualities"})["result"]
    assert face == detected
    assert "faceliveness" in forms.result("faceverify", photos["astronaut"])["result"][0]
    assert forms.result("faceverify", gray) == {"result_num": 0, "result": []}


def test_liveness(forms: Forms, photos: Photos) -> None:
    enrol(forms, photos["obama"], "u1")
    form = {**photos["obama"], "group_id": "g1", "ext_fields": "faceliveness"}
    answers = [forms.call(name, {**form, "uid": "u1"}) for name in ("identify", "verify", "multiIdentify")]
    scores = {answer["ext_info"]["faceliveness"] for answer in answers}
    assert len(scores) == 1
    assert 0 < float(scores.pop()) <= 1
    images = f"{photos['obama']['image']},{photos['biden']['image']}"
    matched = forms.call("match", {"images": images, "image_liveness": ",faceliveness"})
    assert list(matched) == ["log_id", "result_num", "result", "ext_info"]
    first, second = matched["ext_info"]["faceliveness"].split(",")
    assert first == "0"
    assert 0 < float(second) <= 1


def test_a_picture_without_a_face(forms: Forms, photos: Photos, gray: dict[str, str]) -> None:
    assert forms.result("detect", gray) == {"result_num": 0, "result": []}
    assert forms.failure("addUser", {**gray, "uid": "u1", "group_id": "g1", "user_info": "x"}) == NO_FACE
    assert forms.failure("match", {"images": f"{gray['image']},{photos['obama']['image']}"}) == NO_FACE
    assert forms.failure("identify", {**gray, "group_id": "g1"}) == NO_FACE
    assert forms.failure("multiIdentify", {**gray, "group_id": "g1"}) == NO_FACE


def test_match_compares_each_with_each(forms: Forms, photos: Photos) -> None:
    images = [photos[name]["image"] for name in ("obama", "obama2", "obama", "biden")]
    answer = forms.call("match", {"images": ",".join(images)})
    assert list(answer) == ["log_id", "result_num", "result"]
    assert answer["result_num"] == 6
    scores = {(pair["index_i"], pair["index_j"]): pair["score"] for pair in answer["result"]}
    assert list(answer["result"][0]) == ["index_i", "index_j", "score"]
    assert sorted(scores) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert scores[0, 2] == 100
    assert 80 < scores[0, 1] < 100
    assert scores[0, 3] < 80


def test_match_with_heads_of_addresses(forms: Forms, photos: Photos) -> None:
    images = ",".join(f"data:image/jpeg;base64,{photos[name]['image']}" for name in ("obama", "obama2"))
    assert forms.result("match", {"images": images})["result"][0]["score"] > 80


# --- the library ------------------------------------------------------------------------------------------------------


def test_enrol_in_several_groups(forms: Forms, photos: Photos) -> None:
    enrol(forms, photos["obama"], "u1", "g1, g2,g1")
    assert forms.result("getGroupList")["result"] == ["g1", "g2"]
    answer = forms.call("getUser", {"uid": "u1"})
    assert list(answer) == ["result_num", "result", "log_id"]
    assert answer["result_num"] == 2
    assert answer["result"][0] == {"uid": "u1", "user_info": "info of u1", "group_id": "g1", "groups": ["g1", "g2"]}
    assert forms.result("getUser", {"uid": "u1", "group_id": "g2,g3"})["result_num"] == 1
    answer = forms.call("getGroupUsers", {"group_id": "g2"})
    assert list(answer) == ["log_id", "result_num", "result"]
    assert answer["result"] == [{"uid": "u1", "user_info": "info of u1"}]
    everywhere = forms.wire.result("getUser", {"group_id": "@ALL", "user_id": "u1"})["user_list"]
    assert [entry["group_id"] for entry in everywhere] == ["g1", "g2"]


def test_the_same_picture_twice(forms: Forms, photos: Photos) -> None:
    enrol(forms, photos["obama"], "u1", "g1")
    form = {**photos["obama"], "uid": "u1", "group_id": "g1", "user_info": "again"}
    assert forms.failure("addUser", form) == (216616, "image exist")
    assert forms.result("getUser", {"uid": "u1"})["result"][0]["user_info"] == "info of u1"
    enrol(forms, photos["obama"], "u1", "g1,g2")
    assert [entry["group_id"] for entry in forms.result("getUser", {"uid": "u1"})["result"]] == ["g1", "g2"]
    user = {"group_id": "g1", "user_id": "u1"}
    assert len(forms.wire.result("faceGetlist", user)["face_list"]) == 1


def test_append_and_replace(forms: Forms, photos: Photos) -> None:
    user = {"group_id": "g1", "user_id": "u1"}
    enrol(forms, photos["obama"], "u1")
    enrol(forms, photos["obama2"], "u1", action_type="append")
    assert len(forms.wire.result("faceGetlist", user)["face_list"]) == 2
    enrol(forms, photos["biden"], "u1", action_type="replace")
    assert len(forms.wire.result("faceGetlist", user)["face_list"]) == 1
    assert identify(forms, photos["biden"])[0]["scores"] == [100]


def test_update(forms: Forms, photos: Photos) -> None:
    enrol(forms, photos["obama"], "u1", "g1,g2")
    form = {**photos["biden"], "uid": "u1", "user_info": "new"}
    assert forms.failure("updateUser", {**form, "group_id": "g1,g3"}) == NO_USER
    assert forms.failure("updateUser", {**form, "uid": "u2", "group_id": "g1"}) == NO_USER
    assert forms.result("updateUser", {**form, "group_id": "g1"}) == {}
    entries = forms.result("getUser", {"uid": "u1"})["result"]
    assert [entry["user_info"] for entry in entries] == ["new", "info of u1"]
    assert identify(forms, photos["biden"], "g1")[0]["scores"] == [100]
    assert identify(forms, photos["obama"], "g2")[0]["scores"] == [100]
    assert forms.result("updateUser", form) == {}
    assert identify(forms, photos["biden"], "g2")[0]["scores"] == [100]
    assert forms.result("updateUser", {**form, "uid": "u2", "group_id": "g4", "action_type": "replace"}) == {}
    assert forms.result("getUser", {"uid": "u2"})["result"][0]["group_id"] == "g4"


def test_multipart_as_the_documents_samples_in_php_send_it(forms: Forms, photos: Photos) -> None:
    parameters = {**photos["obama"], "uid": "u1", "group_id": "g1", "user_info": "总统"}
    answer = forms.wire.http.post(
        f"{PATHS['addUser']}?access_token={forms.wire.token}",
        files={name: (None, value) for name, value in parameters.items()},
    )
    assert list(forms.checked(answer)) == ["log_id"]
    assert identify(forms, photos["obama"])[0]["user_info"] == "总统"


def test_replace_registers_nobody_for_an_app_that_may_not_add(
    service: Service, http: httpx.Client, photos: Photos
) -> None:
    narrow = Forms(caller(service, http, {"faceset/user/update"}))
    form = {**photos["biden"], "uid": "u1", "user_info": "new", "group_id": "g1", "action_type": "replace"}
    assert narrow.failure("updateUser", form) == NO_USER


def test_copy_and_leave(forms: Forms, photos: Photos) -> None:
    enrol(forms, photos["obama"], "u1")
    copy = {"uid": "u1", "src_group_id": "g1", "group_id": "g2,g3"}
    assert forms.failure("addGroupUser", {**copy, "uid": "u2"}) == NO_USER
    assert forms.result("addGroupUser", copy) == {}
    assert forms.failure("addGroupUser", copy) == (216100, "already add")
    assert forms.result("addGroupUser", {**copy, "group_id": "g3,g4"}) == {}
    assert identify(forms, photos["obama"], "g4")[0]["group_id"] == "g4"
    assert forms.result("deleteGroupUser", {"uid": "u1", "group_id": "g2,g3"}) == {}
    assert forms.failure("identify", {**photos["obama"], "group_id": "g2,g3"}) == EMPTY_GROUP
    alone = (216619, "user must be in one group at least")
    assert forms.failure("deleteGroupUser", {"uid": "u1", "group_id": "g1,g4"}) == alone
    assert forms.result("deleteGroupUser", {"uid": "u1", "group_id": "g1"}) == {}
    assert forms.failure("deleteGroupUser", {"uid": "u1", "group_id": "g4"}) == alone
    assert forms.failure("deleteGroupUser", {"uid": "u1", "group_id": "g1"}) == NO_USER


def test_delete(forms: Forms, photos: Photos) -> None:
    enrol(forms, photos["obama"], "u1", "g1,g2,g3")
    assert forms.result("deleteUser", {"uid": "u1", "group_id": "g2"}) == {}
    assert forms.result("getUser", {"uid": "u1"})["result_num"] == 2
    assert forms.result("deleteUser", {"uid": "u1"}) == {}
    assert forms.failure("getUser", {"uid": "u1"}) == NO_USER
    assert forms.failure("identify", {**photos["obama"], "group_id": "g1,g2,g3"}) == EMPTY_GROUP


def test_twenty_faces_are_enough(forms: Forms, photos: Photos) -> None:
    data = np.frombuffer(base64.b64decode(photos["astronaut"]["image"]), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert image is not None
    face = image[0:300, 80:380]
    for shade in range(21):
        done, content = cv2.imencode(".png", np.asarray(face // 2 + shade, np.uint8))
        assert done
        photo = {"image": base64.b64encode(content.tobytes()).decode()}
        form = {**photo, "uid": "u1", "group_id": "g1,g2", "user_info": "x"}
        if shade < 20:
            assert forms.result("addUser", form) == {}
    assert forms.failure("addUser", form) == (216617, "fail to add user")
    verified = forms.result("verify", {**photo, "uid": "u1", "group_id": "g1", "top_num": "1000"})
    assert verified["result_num"] == 20


# --- who is it --------------------------------------------------------------------------------------------------------


def test_identify(forms: Forms, photos: Photos) -> None:
    enrol(forms, photos["obama"], "u1")
    enrol(forms, photos["obama2"], "u1")
    enrol(forms, photos["biden"], "u2", "g2")
    (user,) = identify(forms, photos["obama"], "g1,g2,missing")
    assert list(user) == ["group_id", "uid", "user_info", "scores"]
    assert user == {"group_id": "g1", "uid": "u1", "user_info": "info of u1", "scores": [100]}
    both = identify(forms, photos["obama"], "g1,g2", user_top_num="99", face_top_num="5")
    assert [(user["uid"], len(user["scores"])) for user in both] == [("u1", 2), ("u2", 1)]
    assert both[0]["scores"][0] == 100
    assert 80 < both[0]["scores"][1] < 100
    assert both[1]["scores"][0] < 80


def test_one_face_has_one_score_however_many_are_asked_for(forms: Forms, wire: Wire, photos: Photos) -> None:
    """That of the index, which has embeddings in half precision."""
    for name in ("obama2", "biden", "astronaut"):
        enrol(forms, photos[name], name)
    one, several = (
        {user["uid"]: user["scores"] for user in identify(forms, photos["obama"], user_top_num="3", face_top_num=most)}
        for most in ("1", "2")
    )
    assert len(one) == 3
    assert several == one
    for name, scores in one.items():
        verified = forms.result("verify", {**photos["obama"], "uid": name, "group_id": "g1"})
        assert verified["result"] == scores
    sent = {**photos["obama"], "image_type": "BASE64", "group_id_list": "g1", "max_user_num": 3, "match_threshold": 0}
    found = wire.result("search", sent)["user_list"]
    assert {user["user_id"]: [user["score"]] for user in found} == one


def test_identify_without_anybody(forms: Forms, photos: Photos) -> None:
    form = {**photos["obama"], "group_id": "g1"}
    assert forms.failure("identify", form) == EMPTY_GROUP
    assert forms.failure("multiIdentify", form) == EMPTY_GROUP
    forms.wire.result("groupAdd", {"group_id": "g1"})
    assert forms.failure("identify", form) == EMPTY_GROUP
    assert forms.failure("verify", {**form, "uid": "u1"}) == NO_USER


def test_verify(forms: Forms, photos: Photos) -> None:
    enrol(forms, photos["obama"], "u1")
    enrol(forms, photos["biden"], "u1", "g2")
    form = {**photos["obama2"], "uid": "u1", "group_id": "g1,g2"}
    answer = forms.call("verify", {"images" if name == "image" else name: value for name, value in form.items()})
    assert list(answer) == ["log_id", "result_num", "result"]
    assert answer["result_num"] == 1
    assert 80 < answer["result"][0] < 100
    both = forms.result("verify", {**form, "top_num": "5"})["result"]
    assert len(both) == 2
    assert both[0] == answer["result"][0]
    assert both[1] < 80
    assert forms.result("verify", {**photos["obama"], "uid": "u1", "group_id": "g1"})["result"] == [100]


def test_multi_identify(forms: Forms, photos: Photos) -> None:
    enrol(forms, photos["obama"], "u1")
    form = {**photos["t1"], "group_id": "g1", "detect_top_num": "3", "user_top_num": "2"}
    answer = forms.call("multiIdentify", form)
    assert list(answer) == ["log_id", "result_num", "result"]
    assert answer["result_num"] == len(answer["result"]) == 3
    for found in answer["result"]:
        assert list(found) == ["group_id", "uid", "user_info", "scores", "position"]
        assert list(found["position"]) == ["left", "top", "width", "height", "degree", "prob"]
        check_box(found["position"])
        assert len(found["scores"]) == 1
    assert len({found["position"]["left"] for found in answer["result"]}) == 3
    (one,) = forms.result("multiIdentify", {**photos["obama"], "group_id": "g1"})["result"]
    assert one["scores"] == [100]


def test_what_v2_enrols_v3_finds(forms: Forms, photos: Photos) -> None:
    enrol(forms, photos["obama"], "u1")
    search = {"image": photos["obama2"]["image"], "image_type": "BASE64", "group_id_list": "g1"}
    assert forms.wire.result("search", search)["user_list"][0]["user_id"] == "u1"


def test_every_call_has_been_shown() -> None:
    """Each name of a call stands in a test of this folder."""
    text = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    assert [call.name for call in CALLS if f'"{call.name}"' not in text] == []
