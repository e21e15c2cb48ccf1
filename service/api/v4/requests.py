"""V4 requests: from parameters to the arguments of the use cases. Everything is checked here, before any work.

The vendor's capture SDK encrypts pictures for the vendor. Nobody else can open them, so every call refuses such
requests before it checks anything else. Pictures in our own envelopes are opened by ``service.api.v4.capture`` before a
request gets here.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace

from service.api import people, pictures
from service.api.body import BODY, Parameters
from service.api.fields import Fields
from service.api.v4.codes import ENCRYPTED
from service.errors import ParameterMalformed, ParameterMissing, WrongPictureCount
from service.identity.claims import Claim, Validity
from service.intake.controls import Controls
from service.recognition.compare import Probe
from service.recognition.liveness import MOST_PICTURES
from service.values import Control, FaceField, ImageKind, ImageSource

IMAGES = "image_list"

LEFT_OUT = (None, "")
"""Values of a parameter that was not sent."""


class SdkVersion(str, enum.Enum):
    """What the pictures come from (``sdk_version``)."""

    PLAIN = "1"
    ENCRYPTING = "4"


class SecurityLevel(str, enum.Enum):
    """How the capture SDK treated the pictures (``sec_level``)."""

    PLAIN = "common"
    ENCRYPTING = "lite"


class Scene(str, enum.Enum):
    """Where pictures are taken (``option``)."""

    COMMON = "COMMON"
    GATE = "GATE"
    FINANCE = "FINANCE"
    LOGISTICS = "LOGISTICS"
    INTERNET = "INTERNET"


@dataclass(frozen=True, slots=True)
class LivenessRequest:
    """``scene`` changes nothing: one liveness model serves every scene."""

    sources: tuple[ImageSource, ...]
    fields: frozenset[FaceField]
    scene: Scene


@dataclass(frozen=True, slots=True)
class DatedClaim:
    claim: Claim
    validity: Validity


@dataclass(frozen=True, slots=True)
class PersonRequest:
    claim: Claim
    source: ImageSource
    controls: Controls
    validity: Validity | None


def face_verify(parameters: Parameters) -> LivenessRequest:
    """Arguments of ``faceverify``. Without ``sdk_version`` pictures are plain, as in the documents' own sample."""
    fields, values = _single(parameters)
    version = fields.choice("sdk_version", SdkVersion, SdkVersion.PLAIN)
    sent = values.get(IMAGES)
    _refuse_encrypted(values, version is SdkVersion.ENCRYPTING, sent)
    asked = fields.words("face_field", pictures.FACE_FIELDS)
    return LivenessRequest(_sources(sent), asked, _scene(values))


def match(parameters: Parameters) -> tuple[Probe, ...]:
    """Arguments of ``mingjing/match``: the picture just taken, and the one on record (parameters ``register_...``)."""
    fields, values = _single(parameters)
    level = fields.choice("sec_level", SecurityLevel, SecurityLevel.PLAIN)
    _refuse_encrypted(values, level is SecurityLevel.ENCRYPTING, values.get("image"))
    order = pictures.order(fields)
    return tuple(
        Probe(
            pictures.source(fields, prefix, kind=ImageKind.BASE64),
            pictures.controls(fields, prefix),
            order=order,
        )
        for prefix in ("", "register_")
    )


def verify(parameters: Parameters) -> PersonRequest:
    """Arguments of ``mingjing/verify``. ``spoofing_control`` is the strictest when it is LOW."""
    return _person(parameters, with_dates=False)


def verify_date(parameters: Parameters) -> PersonRequest:
    """Arguments of ``verify_date``, which takes everything that ``mingjing/verify`` does and a term of validity."""
    return _person(parameters, with_dates=True)


def match_date(parameters: Parameters) -> DatedClaim:
    """Arguments of ``idmatch_date``."""
    fields, _ = _single(parameters)
    return DatedClaim(people.claim(fields), people.validity(fields))


def _person(parameters: Parameters, *, with_dates: bool) -> PersonRequest:
    fields, values = _single(parameters)
    level = fields.choice("sec_level", SecurityLevel, SecurityLevel.PLAIN)
    _refuse_encrypted(values, level is SecurityLevel.ENCRYPTING, values.get("image"))
    controls = replace(pictures.controls(fields), spoofing=fields.choice("spoofing_control", Control, Control.NONE))
    return PersonRequest(
        people.claim(fields),
        pictures.source(fields, kind=ImageKind.BASE64),
        controls,
        people.validity(fields) if with_dates else None,
    )


def _single(parameters: Parameters) -> tuple[Fields, Mapping[str, object]]:
    if not isinstance(parameters, Mapping):
        raise ParameterMalformed(BODY, "one set of parameters is expected")
    return Fields(parameters), parameters


def _refuse_encrypted(values: Mapping[str, object], declared: bool, plain: object) -> None:
    """``data`` beside ``plain`` pictures is passed over, as is everything else that the SDK adds to it."""
    if declared or (plain in LEFT_OUT and values.get(ENCRYPTED) not in LEFT_OUT):
        raise ParameterMalformed(ENCRYPTED, "pictures encrypted for the vendor cannot be opened")


def _sources(sent: object) -> tuple[ImageSource, ...]:
    """Base64 texts, or objects as V3 takes them; one may come without the list around it."""
    if sent in LEFT_OUT:
        raise ParameterMissing(IMAGES)
    entries = sent if isinstance(sent, list) else [sent]
    if not 1 <= len(entries) <= MOST_PICTURES:
        raise WrongPictureCount
    return tuple(_source(entry) for entry in entries)


def _source(entry: object) -> ImageSource:
    if isinstance(entry, str):
        entry = {"image": entry}
    if not isinstance(entry, Mapping):
        raise ParameterMalformed(IMAGES, "neither a text nor an object")
    return pictures.source(Fields(entry), kind=ImageKind.BASE64)


def _scene(values: Mapping[str, object]) -> Scene:
    """The first one where several are named."""
    sent = values.get("option")
    first = (sent[0] if sent else None) if isinstance(sent, list) else sent
    if isinstance(first, str):
        first = first.partition(",")[0]
    return Fields({"option": first}).choice("option", Scene, Scene.COMMON)
