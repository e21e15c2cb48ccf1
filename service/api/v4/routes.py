"""The calls of V4, one value each."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from service.api import calls
from service.api.calls import Call, Dispatcher
from service.api.descriptions import compared
from service.api.v4 import capture, requests, responses
from service.calibration.liveness import THRESHOLDS
from service.recognition.compare import Comparison, Probe
from service.recognition.liveness import LivenessVerdict

PREFIX = "/rest/2.0/face/v4"

_PICTURE = "/9j/4AAQSkZJRgABAQAAAQABAAD"

LIVE = THRESHOLDS["frr_1e-3"]
"""The liveness score that the documents recommend as a cut."""

SAME_PERSON_SCORE = 80.0
"""The documents' cut for two pictures of one person."""

FACE_VERIFY: Call[requests.LivenessRequest, LivenessVerdict] = Call(
    path=f"{PREFIX}/faceverify",
    name="onlinePictureLiveV4",
    summary="Tell whether pictures of one person were taken of a living one.",
    permission="v4/faceverify",
    parse=requests.face_verify,
    run=lambda service, app, r: service.liveness(app, r.sources, r.fields),
    present=responses.verified,
    example={"sdk_version": "1", "option": "COMMON", "face_field": "spoofing", "image_list": [_PICTURE]},
)

MATCH: Call[tuple[Probe, ...], Comparison] = Call(
    path=f"{PREFIX}/mingjing/match",
    name="faceMingJingMatch",
    summary="Compare the face of a picture just taken with the one on record (1:1).",
    permission="v4/mingjing/match",
    parse=requests.match,
    run=lambda service, app, probes: service.compare(app, probes),
    present=lambda _, comparison: compared(comparison),
    example={
        "image": _PICTURE,
        "image_type": "BASE64",
        "register_image": _PICTURE,
        "register_image_type": "BASE64",
    },
)

CALLS: tuple[Call[Any, Any], ...] = (
    capture.accepting(
        FACE_VERIFY,
        capture.IMAGE_LIST,
        face=lambda verdict: verdict.faces[0],
        passed=lambda verdict: verdict.score >= LIVE,
    ),
    capture.accepting(
        MATCH,
        capture.IMAGE_OF_MATCH,
        face=lambda comparison: comparison.faces[0],
        passed=lambda comparison: comparison.score >= SAME_PERSON_SCORE,
    ),
)
"""Every call of V4 that this server answers."""


def router(dispatcher: Dispatcher) -> APIRouter:
    """The routes of V4."""
    return calls.router(CALLS, responses.Envelope(), dispatcher, tag="v4")
