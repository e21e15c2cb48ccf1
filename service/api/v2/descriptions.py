"""A face's report in the words of V2: classes are numbers, and stand beside their probabilities."""

from __future__ import annotations

from typing import Any

from service.api import descriptions
from service.api.envelope import rounded
from service.inference.attributes import Typed
from service.intake.report import FaceReport
from service.intake.seen import SeenFace
from service.values import FaceField

EXPRESSIONS = {"none": 0, "smile": 1, "laugh": 2}
GLASSES = {"none": 0, "common": 1, "sun": 2}
HUMAN = "human"


def describe(face: SeenFace, fields: frozenset[FaceField]) -> dict[str, object]:
    """What was asked for, keys in the order of the documents' sample; what could not be told is left out."""
    report = face.report
    shared: dict[str, Any] = descriptions.describe(face, fields)
    answer: dict[str, object] = {name: _whole(shared[name]) for name in ("landmark", "landmark72") if name in shared}
    if report.age is not None:
        answer["age"] = rounded(report.age)
    if report.beauty is not None:
        answer["beauty"] = rounded(report.beauty)
    answer |= _classes(report)
    if "quality" in shared:
        answer["qualities"] = shared["quality"] | _kind(report.face_type)
    return answer


def _whole(points: list[dict[str, float]]) -> list[dict[str, int]]:
    """V2 tells points in whole pixels: its clients' classes hold integers, which take nothing else."""
    return [{axis: round(value) for axis, value in point.items()} for point in points]


def _classes(report: FaceReport) -> dict[str, object]:
    answer: dict[str, object] = {}
    if (expression := report.expression) is not None:
        answer["expression"] = EXPRESSIONS[expression.type]
        # The documents' table and their sample spell it differently: callers of either find it.
        answer["expression_probablity"] = answer["expression_probability"] = rounded(expression.probability)
    if (shapes := report.face_shapes) is not None:
        answer["faceshape"] = [{"type": shape.type, "probability": rounded(shape.probability)} for shape in shapes]
    if (gender := report.gender) is not None:
        answer["gender"] = gender.type
        answer["gender_probability"] = rounded(gender.probability)
    if (glasses := report.glasses) is not None:
        answer["glasses"] = GLASSES[glasses.type]
        answer["glasses_probability"] = rounded(glasses.probability)
    return answer


def _kind(face_type: Typed | None) -> dict[str, object]:
    """How likely the face is a person's, and how likely it is drawn."""
    if face_type is None:
        return {}
    human = face_type.probability if face_type.type == HUMAN else 1 - face_type.probability
    return {"type": {"human": rounded(human), "cartoon": rounded(1 - human)}}
