"""V1 ``landmark`` over the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from tests.contract.wire import Wire
from tests.fixtures.pictures import Pictures

LANDMARK = "/rest/2.0/face/v1/landmark"


def test_landmarks(wire: Wire, pictures: Pictures) -> None:
    image = {"image": pictures.base64("obama.jpg"), "image_type": "BASE64"}
    answer = wire.post(LANDMARK, json.dumps(image).encode())
    (face,) = answer["result"]["face_list"]
    assert answer["result"]["face_num"] == 1
    assert len(face["landmark72"]) == 72
    assert len(face["landmark4"]) == 4
    assert face["landmark4"] == face["landmark"]
    assert {"face_token", "location", "face_probability", "angle"} <= set(face)


def test_landmarks_by_name(wire: Wire, pictures: Pictures) -> None:
    image = {"image": pictures.base64("obama.jpg"), "image_type": "BASE64"}
    for asked in ("landmark150,landmark201,age", ["landmark150", "landmark201", "age"]):
        answer = wire.post(LANDMARK, json.dumps({**image, "face_field": asked}).encode())
        (face,) = answer["result"]["face_list"]
        assert len(face["landmark150"]) == 150
        assert {"landmark72", "landmark201", "landmark4"}.isdisjoint(face)
        assert face["age"] > 20
    answer = wire.post(LANDMARK, json.dumps({**image, "face_field": ["landmark201"]}).encode())
    assert {"landmark72", "landmark4"}.isdisjoint(answer["result"]["face_list"][0])
    answer = wire.post(LANDMARK, json.dumps({**image, "face_field": []}).encode())
    assert {"landmark72", "landmark4"} <= set(answer["result"]["face_list"][0])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"face_field": "landmark5"}, 222017),
        ({"max_face_num": 11}, 222016),
        ({"image": ""}, 222001),
        ({"image_type": "FILE"}, 222015),
        ({"image": "AAAA"}, 222203),
    ],
)
def test_landmarks_of_nothing(wire: Wire, pictures: Pictures, body: Mapping[str, object], code: int) -> None:
    sent = {"image": pictures.base64("obama.jpg"), "image_type": "BASE64", **body}
    assert wire.post(LANDMARK, json.dumps(sent).encode())["error_code"] == code
