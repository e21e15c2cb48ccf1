"""The calls of V4, one value each."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from service.api import calls
from service.api.calls import Call, Dispatcher
from service.api.descriptions import compared
from service.api.v4 import requests, responses, verification
from service.api.v4.verification import Verification

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
    present=lambda _, verified: responses.person_verified(verified),
    example={**_PERSON, "image": _PICTURE, "image_type": "BASE64"},
)

MATCH_DATE: Call[requests.DatedClaim, Verification] = Call(
    path=f"{PREFIX}/idmatch_date",
    name="faceIdmatchDateV4",
    summary="Tell whether number, name and term of validity of an identity card belong together.",
    permission="v4/idmatch_date",
    parse=requests.match_date,
    run=verification.of_claim,
    present=lambda _, verified: responses.claim_verified(verified),
    example={**_PERSON, **_TERM},
)

VERIFY_DATE: Call[requests.PersonRequest, Verification] = Call(
    path=f"{PREFIX}/verify_date",
    name="faceVerifyDateV4",
    summary="Compare a face with the one that the authority knows by number, name and term of validity.",
    permission="v4/verify_date",
    parse=requests.verify_date,
    run=verification.of_face,
    present=lambda _, verified: responses.person_verified(verified),
    example={**_PERSON, **_TERM, "image": _PICTURE, "image_type": "BASE64"},
)

CALLS: tuple[Call[Any, Any], ...] = (
    Call(
        path=f"{PREFIX}/faceverify",
        name="onlinePictureLiveV4",
        summary="Tell whether pictures of one person were taken of a living one.",
        permission="v4/faceverify",
        parse=requests.face_verify,
        run=lambda service, app, r: service.liveness(app, r.sources, r.fields),
        present=responses.verified,
        example={"sdk_version": "1", "option": "COMMON", "face_field": "spoofing", "image_list": [_PICTURE]},
    ),
    Call(
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
    ),
    VERIFY,
    MATCH_DATE,
    VERIFY_DATE,
)
"""Every call of V4 that this server answers."""


def router(dispatcher: Dispatcher) -> APIRouter:
    """The routes of V4."""
    return calls.router(CALLS, responses.Envelope(), dispatcher, tag="v4")
