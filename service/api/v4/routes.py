"""The calls of V4, one value each."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from service.api import calls
from service.api.calls import Call, Dispatcher
from service.api.descriptions import compared
from service.api.presenting import outcome_only
from service.api.v4 import capture, requests, responses, verification
from service.api.v4.verification import Verification, VerifyStatus
from service.calibration.liveness import THRESHOLDS
from service.recognition.compare import Comparison, Probe
from service.recognition.liveness import LivenessVerdict

PREFIX = "/rest/2.0/face/v4"

_PICTURE = "/9j/4AAQSkZJRgABAQAAAQABAAD"
_PERSON = {"id_card_number": "11010519491231002X", "name": "韦小宝"}
_TERM = {"start_date": "20160304", "end_date": "20360304"}

VERIFY: Call[requests.PersonRequest, Verification] = Call(
    path=f"{PREFIX}/mingjing/verify",
    name="faceMingJingVerify",
    summary="Compare a face with the one that the authority knows by number and name.",
    permission="v4/mingjing/verify",
    parse=requests.verify,
    run=verification.of_face,
    present=outcome_only(responses.person_verified),
    example={**_PERSON, "image": _PICTURE, "image_type": "BASE64"},
)

MATCH_DATE: Call[requests.DatedClaim, Verification] = Call(
    path=f"{PREFIX}/idmatch_date",
    name="faceIdmatchDateV4",
    summary="Tell whether number, name and term of validity of an identity card belong together.",
    permission="v4/idmatch_date",
    parse=requests.match_date,
    run=verification.of_claim,
    present=outcome_only(responses.claim_verified),
    example={**_PERSON, **_TERM},
)

VERIFY_DATE: Call[requests.PersonRequest, Verification] = Call(
    path=f"{PREFIX}/verify_date",
    name="faceVerifyDateV4",
    summary="Compare a face with the one that the authority knows by number, name and term of validity.",
    permission="v4/verify_date",
    parse=requests.verify_date,
    run=verification.of_face,
    present=outcome_only(responses.person_verified),
    example={**_PERSON, **_TERM, "image": _PICTURE, "image_type": "BASE64"},
)

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
    present=outcome_only(compared),
    example={
        "image": _PICTURE,
        "image_type": "BASE64",
        "register_image": _PICTURE,
        "register_image_type": "BASE64",
    },
)


def _of_person(call: Call[requests.PersonRequest, Verification]) -> Call[Any, Any]:
    return capture.accepting(
        call,
        capture.IMAGE,
        face=lambda verified: verified.face,
        passed=lambda verified: verified.status is VerifyStatus.CONFIRMED and verified.score >= SAME_PERSON_SCORE,
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
    _of_person(VERIFY),
    MATCH_DATE,
    _of_person(VERIFY_DATE),
)
"""Every call of V4 that this server answers."""


def router(dispatcher: Dispatcher) -> APIRouter:
    """The routes of V4."""
    return calls.router(CALLS, responses.Envelope(), dispatcher, tag="v4")
