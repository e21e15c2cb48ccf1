"""Photographs as phones take them: found in a sketch of them, told in their own pixels, the same whatever is asked."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np
import pytest

from tests.contract.wire import Wire
from tests.fixtures.pictures import Pictures

ZOOM = 5.5
"""The astronaut's 512 pixels become 2816: a sketch of a half."""

Photo = dict[str, object]


def photograph(image: Any) -> Photo:
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    return {"image": base64.b64encode(data).decode("ascii"), "image_type": "BASE64"}


@pytest.fixture(scope="module")
def astronaut(pictures: Pictures) -> Any:
    return cv2.imdecode(np.frombuffer(pictures.bytes("astronaut.png"), np.uint8), cv2.IMREAD_COLOR)


@pytest.fixture(scope="module")
def large(astronaut: Any) -> Photo:
    return photograph(cv2.resize(astronaut, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC))


@pytest.fixture(scope="module")
def small(astronaut: Any) -> Photo:
    return photograph(astronaut)


def test_faces_are_told_in_pixels_of_the_picture(wire: Wire, large: Photo, small: Photo) -> None:
    (face,) = wire.result("detect", {**large, "face_field": "landmark"})["face_list"]
    (expected,) = wire.result("detect", {**small, "face_field": "landmark"})["face_list"]
    for name in ("left", "top", "width", "height"):
        assert face["location"][name] / ZOOM == pytest.approx(expected["location"][name], abs=4)
    for point, known in zip(face["landmark72"], expected["landmark72"], strict=True):
        assert np.hypot(point["x"] / ZOOM - known["x"], point["y"] / ZOOM - known["y"]) < 4


def test_token_does_not_depend_on_what_is_asked(wire: Wire, large: Photo) -> None:
    asked: list[dict[str, object]] = [
        {},
        {"max_face_num": 10},
        {"face_field": "age,quality"},
        {"face_sort_type": 1},
        {"quality_control": "LOW"},
    ]
    faces = [wire.result("detect", {**large, **options})["face_list"][0] for options in asked]
    assert len({face["face_token"] for face in faces}) == 1
    assert all(face["location"] == faces[0]["location"] for face in faces)


def test_large_picture_is_the_person_of_the_small_one(wire: Wire, large: Photo, small: Photo) -> None:
    assert wire.result("match", [large, small])["score"] > 99
    (face,) = wire.result("detect", large)["face_list"]
    by_token = {"image": face["face_token"], "image_type": "FACE_TOKEN"}
    assert wire.result("match", [by_token, large])["score"] == 100


def test_small_faces_of_large_pictures_are_found(wire: Wire, astronaut: Any) -> None:
    canvas = np.full((2400, 3200, 3), 127, np.uint8)
    canvas[1500:2012, 2200:2712] = astronaut
    (face,) = wire.result("detect", photograph(canvas))["face_list"]
    assert face["location"]["left"] == pytest.approx(2380, abs=20)
    assert face["location"]["top"] == pytest.approx(1575, abs=30)
