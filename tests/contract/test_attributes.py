"""Every ``face_field``: keys, types, ranges, order; quality and liveness control; ``faceverify``."""

from __future__ import annotations

import base64
import gzip
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from service.app import Service
from service.inference.landmark_names import NAMES_72, NAMES_150
from tests.contract.test_recognition import Photos, by_token, enrol, photos
from tests.contract.wire import Answer, Wire
from tests.fixtures.pictures import Pictures

__all__ = ["photos"]

EVERYTHING = (
    "age,beauty,expression,face_shape,gender,glasses,landmark,landmark150,quality,eye_status,emotion,face_type,"
    "mask,spoofing,liveness,parsing_info"
)
CLASSES: dict[str, set[Any]] = {
    "expression": {"none", "smile", "laugh"},
    "gender": {"male", "female"},
    "glasses": {"none", "common", "sun"},
    "face_shape": {"square", "triangle", "oval", "heart", "round"},
    "emotion": {"angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"},
    "face_type": {"human", "cartoon"},
    "mask": {0, 1},
}
PARTS = ["left_eye", "right_eye", "nose", "mouth", "left_cheek", "right_cheek", "chin_contour", "chin"]


@pytest.fixture(scope="module")
def astronaut(pictures: Pictures) -> NDArray[np.uint8]:
    image = cv2.imdecode(np.frombuffer(pictures.bytes("astronaut.png"), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return np.asarray(image, np.uint8)


def as_photo(image: NDArray[np.uint8]) -> dict[str, object]:
    done, data = cv2.imencode(".png", image)
    assert done
    return {"image": base64.b64encode(data.tobytes()).decode(), "image_type": "BASE64"}


def face_of(wire: Wire, photo: dict[str, object], fields: str = EVERYTHING) -> Any:
    return wire.result("detect", {**photo, "face_field": fields})["face_list"][0]


def check_point(point: Answer) -> None:
    assert list(point) == ["x", "y"]
    assert all(round(value, 2) == value for value in point.values())


def test_every_field_together(wire: Wire, photos: Photos) -> None:
    face = face_of(wire, photos["astronaut"])
    assert list(face) == [
        *("face_token", "location", "face_probability", "angle", "liveness", "landmark", "landmark72", "landmark150"),
        *("age", "beauty", "expression", "gender", "glasses", "face_shape", "emotion", "face_type", "mask"),
        *("eye_status", "quality", "spoofing", "parsing_info"),
    ]
    for name, types in CLASSES.items():
        assert list(face[name]) == ["type", "probability"]
        assert face[name]["type"] in types
        assert 0 <= face[name]["probability"] <= 1
    assert face["gender"]["type"] == "female"
    assert face["emotion"]["type"] == "happy"
    assert face["expression"]["type"] in {"smile", "laugh"}
    assert face["glasses"]["type"] == "none"
    assert face["face_type"]["type"] == "human"
    assert face["mask"]["type"] == 0
    assert isinstance(face["age"], int)
    assert 20 <= face["age"] <= 55
    assert 0 <= face["beauty"] <= 100
    assert list(face["eye_status"]) == ["left_eye", "right_eye"]
    assert all(0.5 < value <= 1 for value in face["eye_status"].values())
    assert 0 <= face["spoofing"] <= 1
    assert face["liveness"]["livemapscore"] == face["liveness"]["faceliveness"]
    assert 0 <= face["liveness"]["livemapscore"] <= 1


def test_quality(wire: Wire, photos: Photos) -> None:
    quality = face_of(wire, photos["astronaut"], "quality")["quality"]
    assert list(quality) == ["occlusion", "blur", "illumination", "completeness"]
    assert list(quality["occlusion"]) == PARTS
    assert all(0 <= value <= 1 for value in quality["occlusion"].values())
    assert 0 <= quality["blur"] < 0.7
    assert isinstance(quality["illumination"], int)
    assert 40 < quality["illumination"] <= 255
    assert quality["completeness"] == 1


def test_landmarks(wire: Wire, photos: Photos) -> None:
    face = face_of(wire, photos["astronaut"], "landmark,landmark150")
    assert len(face["landmark"]) == 4
    assert len(face["landmark72"]) == 72
    assert list(face["landmark150"]) == list(NAMES_150)
    assert list(face["landmark150"].values())[:72] == face["landmark72"]
    assert len(NAMES_72) == 72
    for point in (*face["landmark"], *face["landmark150"].values()):
        check_point(point)
    # The subject's right is on the picture's left.
    assert face["landmark150"]["eye_right_eyeball_center"]["x"] < face["landmark150"]["eye_left_eyeball_center"]["x"]


def test_parsing(wire: Wire, photos: Photos, astronaut: NDArray[np.uint8]) -> None:
    text = gzip.decompress(base64.b64decode(face_of(wire, photos["astronaut"], "parsing")["parsing_info"])).decode()
    labels = np.array(text.split(","), int)
    assert labels.size == astronaut.shape[0] * astronaut.shape[1]
    assert labels.min() == 0
    assert labels.max() == 9


@pytest.mark.parametrize(
    ("word", "key"),
    [("faceshape", "face_shape"), ("facetype", "face_type"), ("landmark4", "landmark"), ("landmark72", "landmark72")],
)
def test_spellings(wire: Wire, photos: Photos, word: str, key: str) -> None:
    face = face_of(wire, photos["astronaut"], word)
    assert list(face) == ["face_token", "location", "face_probability", "angle", key]


def test_a_token_tells_what_the_picture_told(wire: Wire, photos: Photos) -> None:
    face = face_of(wire, photos["astronaut"])
    again = face_of(wire, by_token(face))
    assert list(again) == list(face)
    for name in ("gender", "glasses", "emotion", "face_type", "mask"):
        assert again[name]["type"] == face[name]["type"]
    assert again["quality"]["completeness"] == face["quality"]["completeness"]
    assert abs(again["age"] - face["age"]) <= 5


# --- controls ---------------------------------------------------------------------------------------------------------


def darkened(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(image // 12, np.uint8)


def blurred(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 5), np.uint8)


def cut(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image[:, 212:])


@pytest.mark.parametrize(
    ("spoil", "code"), [(darkened, 223115), (blurred, 223114), (cut, 223116)], ids=["dark", "blurred", "cut"]
)
def test_quality_control(wire: Wire, astronaut: NDArray[np.uint8], spoil: Any, code: int) -> None:
    photo = as_photo(spoil(astronaut))
    enrolment = {**photo, "group_id": "g", "user_id": "u"}
    assert wire.call("addUser", {**enrolment, "quality_control": "NORMAL"})["error_code"] == code
    assert wire.call("addUser", enrolment)["error_code"] == 0


def test_a_good_face_passes_quality_control(wire: Wire, photos: Photos) -> None:
    enrol(wire, photos["astronaut"], "u1", quality_control="NORMAL")
    found = wire.result("search", {**photos["astronaut"], "group_id_list": "g20180601", "quality_control": "NORMAL"})
    assert found["user_list"][0]["score"] == 100


def test_search_skips_faces_that_fail(wire: Wire, photos: Photos, astronaut: NDArray[np.uint8]) -> None:
    """The larger of two faces is dark: with quality control the smaller one is looked for."""
    enrol(wire, photos["astronaut"], "u1")
    large = cv2.resize(darkened(astronaut), None, fx=1.5, fy=1.5)
    both = np.zeros((768, 1280, 3), np.uint8)
    both[:, :768] = large
    both[:512, 768:] = astronaut
    asked = {**as_photo(both), "group_id_list": "g20180601", "match_threshold": 60}
    good = wire.result("search", {**asked, "quality_control": "NORMAL"})
    faces = wire.result("detect", {**as_photo(both), "max_face_num": 2})["face_list"]
    assert len(faces) == 2
    assert good["face_token"] == faces[1]["face_token"]
    assert good["user_list"][0]["user_id"] == "u1"


# --- faceverify -------------------------------------------------------------------------------------------------------


def test_faceverify(wire: Wire, photos: Photos) -> None:
    result = wire.result("faceverify", [photos["obama"], {**photos["obama2"], "face_field": "age,quality"}])
    assert list(result) == ["thresholds", "face_liveness", "face_list"]
    assert result["thresholds"] == {"frr_1e-4": 0.05, "frr_1e-3": 0.3, "frr_1e-2": 0.9}
    scores = [face["liveness"]["livemapscore"] for face in result["face_list"]]
    assert result["face_liveness"] == max(scores)
    assert all({"age", "quality"} <= set(face) for face in result["face_list"])


@pytest.mark.parametrize("count", [0, 9])
def test_faceverify_counts_pictures(wire: Wire, photos: Photos, count: int) -> None:
    assert wire.call("faceverify", [photos["obama"]] * count)["error_code"] == 222208


def test_faceverify_makes_up_no_liveness(
    service: Service, wire: Wire, photos: Photos, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a pack that brings no networks for it, as ``buffalo_l``."""
    monkeypatch.setattr(service.liveness._intake, "_reporter", None)
    assert wire.call("faceverify", [photos["obama"]])["error_code"] == 2
