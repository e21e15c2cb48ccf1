from __future__ import annotations

import json

import numpy as np
import pytest

from service.api.envelope import Stamp
from service.api.v2 import responses
from service.api.v2.requests import DetectRequest
from service.api.v2.responses import Plain
from service.errors import FaceNotFound, Overloaded
from service.inference.attributes import Typed
from service.inference.occlusion import Occlusion
from service.inference.quality import Quality
from service.intake.report import FaceReport
from service.intake.seen import RememberedFace, SeenFace
from service.recognition.compare import Pair, Pairs
from service.recognition.identify import Identification, Match
from service.recognition.ranking import Verification
from service.values import Angles, FaceField, ImageKind, ImageSource, Location

STAMP = Stamp(log_id=12345, timestamp=1)
SOURCE = ImageSource(ImageKind.BASE64, "abcd")
LOCATION = Location(10.6, 20.4, 100.2, 120.7, -12)
ANGLES = Angles(1.234, -2.345, 3.456)
SHAPES = (Typed("square", 0.1), Typed("oval", 0.519), Typed("round", 0.381))


def seen(**report: object) -> SeenFace:
    """A face with a report and nothing behind it."""
    points = np.arange(146, dtype=np.float32).reshape(73, 2)
    origin: RememberedFace = RememberedFace.__new__(RememberedFace)
    face = SeenFace("0" * 32, location=LOCATION, angles=ANGLES, confidence=0.987, points=points, origin=origin)
    face.report = FaceReport(**report)  # type: ignore[arg-type]
    return face


def test_the_log_id_stands_where_the_samples_have_it() -> None:
    assert Plain().success(None, STAMP) == b'{"log_id":12345}'
    assert Plain().success(responses.group_ids(["g1"]), STAMP) == b'{"result_num":1,"result":["g1"],"log_id":12345}'
    assert Plain().success(responses.group_users([]), STAMP) == b'{"log_id":12345,"result_num":0,"result":[]}'


def test_failures() -> None:
    failure = b'{"error_code":216402,"log_id":12345,"error_msg":"face not found"}'
    assert Plain().failure(FaceNotFound(), STAMP) == failure
    assert Plain().failure(Overloaded(), STAMP) == b'{"error_code":18,"error_msg":"Open api qps request limit reached"}'


def test_everything_about_a_face() -> None:
    face = seen(
        age=31.456,
        beauty=55.128,
        expression=Typed("smile", 0.554),
        face_shapes=SHAPES,
        gender=Typed("female", 0.998),
        glasses=Typed("sun", 0.9),
        face_type=Typed("cartoon", 0.8),
        quality=Quality(Occlusion(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7), 0.01, 141.4, 1),
        landmarks=np.full((150, 2), 10.6, np.float32),
    )
    fields = frozenset({FaceField.LANDMARK, FaceField.LANDMARK72})
    (answer,) = json.loads(json.dumps(responses.detected(DetectRequest(SOURCE, 1, fields), [face])))["result"]
    assert list(answer)[:6] == ["location", "face_probability", "rotation_angle", "yaw", "pitch", "roll"]
    assert answer["location"] == {"left": 11, "top": 20, "width": 100, "height": 121}
    assert (answer["rotation_angle"], answer["face_probability"]) == (-12, 0.99)
    assert (len(answer["landmark"]), len(answer["landmark72"])) == (4, 72)
    assert answer["landmark72"][0] == {"x": 11, "y": 11}
    assert {type(value) for point in answer["landmark"] + answer["landmark72"] for value in point.values()} == {int}
    assert (answer["age"], answer["beauty"]) == (31.46, 55.13)
    assert (answer["expression"], answer["expression_probability"], answer["expression_probablity"]) == (1, 0.55, 0.55)
    assert answer["faceshape"] == [
        {"type": "square", "probability": 0.1},
        {"type": "oval", "probability": 0.52},
        {"type": "round", "probability": 0.38},
    ]
    assert (answer["gender"], answer["gender_probability"]) == ("female", 1)
    assert (answer["glasses"], answer["glasses_probability"]) == (2, 0.9)
    qualities = answer["qualities"]
    assert list(qualities) == ["occlusion", "blur", "illumination", "completeness", "type"]
    assert set(qualities["occlusion"]) >= {
        "left_eye",
        "right_eye",
        "nose",
        "mouth",
        "left_cheek",
        "right_cheek",
        "chin",
    }
    assert (qualities["illumination"], qualities["completeness"]) == (141, 1)
    assert qualities["type"] == {"human": 0.2, "cartoon": 0.8}


@pytest.mark.parametrize(
    ("scores", "text"), [((0.5, None), "0.5,0"), ((None, 1e-5), "0,0.00001"), ((1.0, 0.999999), "1,0.999999")]
)
def test_liveness_is_text(scores: tuple[float | None, ...], text: str) -> None:
    pairs = Pairs((Pair(0, 1, 44.3),), tuple(seen(liveness=score) for score in scores))
    answer = responses.compared(pairs)
    assert list(answer) == ["log_id", "result_num", "result", "ext_info"]
    assert answer["result"] == [{"index_i": 0, "index_j": 1, "score": 44.3}]
    assert answer["ext_info"] == {"faceliveness": text}


def test_liveness_that_nobody_asked_for_is_not_told() -> None:
    assert "ext_info" not in responses.compared(Pairs((), (seen(), seen())))
    assert "ext_info" not in responses.verified(Verification(seen(), (99.3,)))
    assert responses.verified(Verification(seen(liveness=0.49999), (99.3, 83.6))) == {
        "log_id": 0,
        "result_num": 2,
        "result": [99.3, 83.6],
        "ext_info": {"faceliveness": "0.49999"},
    }


def test_each_face_and_each_user_is_an_entry() -> None:
    matches = (Match("g1", "u1", "one", 99.3), Match("g1", "u2", "two", 11))
    found = [Identification(seen(liveness=0.5), matches), Identification(seen(liveness=0.25), ())]
    answer = responses.identified_all(found)
    assert answer["result_num"] == 2
    assert answer["ext_info"] == {"faceliveness": "0.5,0.25"}
    entries = answer["result"]
    assert isinstance(entries, list)
    assert entries[0] == {
        "group_id": "g1",
        "uid": "u1",
        "user_info": "one",
        "scores": [99.3],
        "position": {"left": 11, "top": 20, "width": 100, "height": 121, "degree": -12, "prob": 0.99},
    }
