"""The calls of V3 that verify a person. The vendor's private deployment has none, so its alias has none either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.api import people, pictures
from service.api.body import Parameters
from service.api.calls import Call
from service.api.envelope import SCORE_DIGITS, rounded
from service.api.fields import single
from service.api.presenting import nothing
from service.identity.claims import Claim
from service.intake.controls import Controls
from service.values import ImageSource

PREFIX = "/rest/2.0/face/v3/person"

_PERSON = {"id_card_number": "11010519491231002X", "name": "韦小宝"}


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    claim: Claim
    source: ImageSource
    controls: Controls


def verify(parameters: Parameters) -> VerifyRequest:
    """Arguments of ``person/verify``."""
    fields = single(parameters)
    return VerifyRequest(people.claim(fields), pictures.source(fields), pictures.controls(fields))


def match(parameters: Parameters) -> Claim:
    """Arguments of ``person/idmatch``."""
    return people.claim(single(parameters))


_VERIFY = Call(
    path=f"{PREFIX}/verify",
    name="personVerify",
    summary="Compare a face with the one that the authority knows by number and name.",
    permission="person/verify",
    parse=verify,
    run=lambda service, app, r: service.person.face(app, r.claim, r.source, r.controls),
    present=lambda _, score: {"score": rounded(score, SCORE_DIGITS)},
    example={"image": "https://example.org/picture.jpg", "image_type": "URL", **_PERSON},
)

_MATCH = Call(
    path=f"{PREFIX}/idmatch",
    name="facePersonIdmatchV3",
    summary="Tell whether the number of an identity card and a name belong together.",
    permission="person/idmatch",
    parse=match,
    run=lambda service, app, claim: service.person.identity(app, claim),
    present=nothing,
    example=_PERSON,
)

CALLS: tuple[Call[Any, Any], ...] = (_VERIFY, _MATCH)
"""Every call of V3 that asks the authority."""
