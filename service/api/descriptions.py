"""A face's report in the words of the API: names, order and rounding, shared by its generations."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.api.envelope import SCORE_DIGITS, rounded
from service.calibration.liveness import THRESHOLDS
from service.inference.attributes import EyeStatus, Typed, likeliest
from service.inference.landmark_map import landmarks_4
from service.inference.landmark_names import NAMES_72, NAMES_150
from service.inference.quality import Quality
from service.intake.seen import ALIGNMENT_POINTS, SeenFace
from service.recognition.compare import Comparison
from service.recognition.liveness import LivenessVerdict
from service.values import Angles, FaceField, Location, Points

FINE_DIGITS = 6
"""Decimals of liveness and spoofing scores, whose thresholds lie close to zero."""

# Indices of the iBUG 68 points: https://ibug.doc.ic.ac.uk/resources/facial-point-annotations/ counts from 1.
_OUTLINE_PARTS = (slice(36, 42), slice(42, 48), slice(30, 31), slice(48, 60))


def compared(comparison: Comparison) -> dict[str, object]:
    """Result of the calls that compare two pictures, keys in the order of the documents' samples."""
    return {
        "score": rounded(comparison.score, SCORE_DIGITS),
        "face_list": [{"face_token": face.token} for face in comparison.faces],
    }


def judged(verdict: LivenessVerdict, faces: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """Result of the liveness calls: thresholds, the best picture's score, and ``faces``, described already."""
    return {"thresholds": dict(THRESHOLDS), "face_liveness": _fine(verdict.score), "face_list": list(faces)}


def described_face(face: SeenFace, fields: frozenset[FaceField]) -> dict[str, object]:
    """Where a face is, and what was asked about it."""
    return {
        "face_token": face.token,
        "location": location(face.location),
        "face_probability": rounded(face.confidence),
        "angle": _angle(face.report.angles or face.angles),
        **describe(face, fields),
    }


def location(value: Location) -> dict[str, object]:
    """A face's box: left and top with two decimals, the rest whole."""
    return {
        "left": rounded(value.left),
        "top": rounded(value.top),
        "width": round(value.width),
        "height": round(value.height),
        "rotation": round(value.rotation),
    }


def describe(face: SeenFace, fields: frozenset[FaceField]) -> dict[str, object]:
    """What was asked for, keys in the order of the documents' samples; what could not be told is left out."""
    report = face.report
    told: tuple[tuple[str, Any, Callable[[Any], object]], ...] = (
        ("liveness", report.liveness, _liveness),
        *((name, points, _as_it_is) for name, points in _points(face, fields).items()),
        ("age", report.age, round),
        ("beauty", report.beauty, rounded),
        ("expression", report.expression, _typed),
        ("gender", report.gender, _typed),
        ("glasses", report.glasses, _typed),
        ("face_shape", report.face_shapes, _likeliest),
        ("emotion", report.emotion, _typed),
        ("face_type", report.face_type, _typed),
        ("mask", report.mask, _mask),
        ("eye_status", report.eye_status, _eyes),
        ("quality", report.quality, _quality),
        ("spoofing", report.spoofing, _fine),
        ("parsing_info", report.parsing, packed),
    )
    return {name: written(value) for name, value, written in told if value is not None}


def four_points(points: Points) -> Points:
    """``(4, 2)``: eye centres (the picture's left one first), nose tip, mouth centre, from the 5 + 68 points.

    For packs without a mesh; where there is no outline either, from the five points alone.
    """
    outline = points[ALIGNMENT_POINTS:]
    if len(outline):
        return np.stack([outline[part].mean(axis=0) for part in _OUTLINE_PARTS])
    return np.stack([points[0], points[1], points[2], points[3:5].mean(axis=0)])


def packed(labels: NDArray[np.uint8]) -> str:
    """A label map as the documents want it: labels row by row, comma separated, gzipped, in base64."""
    text = ",".join(map(str, labels.ravel().tolist()))
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _angle(angles: Angles) -> dict[str, object]:
    return {"yaw": rounded(angles.yaw), "pitch": rounded(angles.pitch), "roll": rounded(angles.roll)}


def _points(face: SeenFace, fields: frozenset[FaceField]) -> dict[str, object]:
    landmarks, answer = face.report.landmarks, dict[str, object]()
    if FaceField.LANDMARK in fields:
        answer["landmark"] = _list(four_points(face.points) if landmarks is None else landmarks_4(landmarks))
    if landmarks is None:
        return answer
    if FaceField.LANDMARK72 in fields:
        answer["landmark72"] = _list(landmarks[: len(NAMES_72)])
    if FaceField.LANDMARK150 in fields:
        answer["landmark150"] = dict(zip(NAMES_150, _list(landmarks), strict=True))
    return answer


def _list(points: Points) -> list[dict[str, float]]:
    return [{"x": rounded(x), "y": rounded(y)} for x, y in points]


def _as_it_is(value: object) -> object:
    return value


def _fine(value: float) -> float:
    return rounded(value, FINE_DIGITS)


def _liveness(value: float) -> dict[str, object]:
    return {"faceliveness": _fine(value), "livemapscore": _fine(value)}


def _mask(value: Typed) -> dict[str, object]:
    return {"type": int(value.type), "probability": rounded(value.probability)}


def _eyes(value: EyeStatus) -> dict[str, object]:
    return {"left_eye": rounded(value.left_eye), "right_eye": rounded(value.right_eye)}


def _likeliest(values: Sequence[Typed]) -> dict[str, object]:
    return _typed(likeliest(values))


def _typed(value: Typed) -> dict[str, object]:
    return {"type": value.type, "probability": rounded(value.probability)}


def _quality(quality: Quality) -> dict[str, object]:
    occlusion = {name: rounded(value) for name, value in asdict(quality.occlusion).items()}
    # The documents' table calls the last part chin_contour, their sample chin: callers of either find it.
    occlusion["chin"] = occlusion["chin_contour"]
    return {
        "occlusion": occlusion,
        "blur": rounded(quality.blur),
        "illumination": round(quality.illumination),
        "completeness": quality.completeness,
    }
