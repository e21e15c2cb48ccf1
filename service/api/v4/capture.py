"""Pictures in capture envelopes, for any call of V4 that takes captured ones: ``accepting`` wraps the call.

The wrapped call takes plain pictures as before. An envelope is opened first; then the call runs with the pictures from
inside as if they had come plain, and the answer has these pictures and the risk next to its result.
"""

from __future__ import annotations

import base64
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from service.api.body import Parameters
from service.api.calls import Call
from service.api.dialect import ResultWithExtras
from service.api.fields import Fields
from service.api.ports import UseCases
from service.api.v4.codes import CODES, ENCRYPTED
from service.api.v4.requests import LEFT_OUT
from service.capture.envelope import Capture
from service.capture.jose import looks_like_jwe
from service.capture.rules import Risk
from service.errors import (
    EnvelopeError,
    FaceNotFound,
    FaceRejected,
    ParameterMalformed,
    PictureUnreadable,
    ServiceError,
    ServiceUnavailable,
    WrongPictureCount,
)
from service.intake.seen import SeenFace
from service.values import App, ImageKind

A = TypeVar("A")
R = TypeVar("R")

RISK = "risk_identify"

FAILURES: tuple[type[ServiceError], ...] = (PictureUnreadable, FaceNotFound, FaceRejected)
"""Errors that a captured picture leads to when it is not what it should be."""

_YES = ("true", "1")
_NO = ("false", "0")
_PLACEHOLDER = "AAAA"
"""Stands for a picture while the other parameters are checked, before the envelope is opened."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a call takes captured pictures, and how it is told that they come encrypted.

    ``name``: the parameter with the picture, or with a list of pictures where ``several``. ``mode``: the parameter that
    says how they come; its value is ``encrypted`` for envelopes and ``plain`` otherwise. ``risk``: whether the answer
    has the risk where ``risk_identify`` was not sent; in the documents only ``mingjing/match`` has that parameter.
    """

    name: str
    mode: str
    plain: str
    encrypted: str
    several: bool = False
    risk: bool = True

    def sealed(self, values: Mapping[str, object]) -> str | None:
        """The envelope of a request, ``None`` for plain pictures.

        Raises ``ParameterMalformed`` for pictures that are encrypted in another way: nobody but the vendor opens them.
        Beside plain pictures ``data`` is passed over, unless the request says that pictures come encrypted.
        """
        data = values.get(ENCRYPTED)
        if not self._says_encrypted(values) and (values.get(self.name) not in LEFT_OUT or data in LEFT_OUT):
            return None
        if not isinstance(data, str) or not looks_like_jwe(data.strip()):
            raise ParameterMalformed(ENCRYPTED, "pictures encrypted for the vendor cannot be opened")
        return data.strip()

    def filled(self, values: Mapping[str, object], pictures: Sequence[str]) -> Mapping[str, object]:
        """The request as if ``pictures``, base64 texts, had come plain. Raises ``WrongPictureCount``."""
        rest = {name: value for name, value in values.items() if name != ENCRYPTED}
        if self._says_encrypted(values):
            rest[self.mode] = self.plain
        if self.several:
            return {**rest, self.name: list(pictures)}
        if len(pictures) != 1:
            raise WrongPictureCount
        return {**rest, self.name: pictures[0], f"{self.name}_type": ImageKind.BASE64.value}

    def asks_risk(self, values: Mapping[str, object]) -> bool:
        """Whether risk is to be told. Raises ``ParameterMalformed`` for neither true nor false."""
        text = (Fields(values).optional_text(RISK) or "").strip().lower()
        if text not in (*_YES, *_NO, ""):
            raise ParameterMalformed(RISK, "neither true nor false")
        return text in _YES if text else self.risk

    def _says_encrypted(self, values: Mapping[str, object]) -> bool:
        return (Fields(values).optional_text(self.mode) or "").strip() == self.encrypted


IMAGE_LIST = Slot("image_list", mode="sdk_version", plain="1", encrypted="4", several=True)
"""Where ``faceverify`` takes captured pictures."""

IMAGE = Slot("image", mode="sec_level", plain="common", encrypted="lite")
"""Where ``mingjing/verify`` takes a captured picture."""

IMAGE_OF_MATCH = replace(IMAGE, risk=False)
"""Where ``mingjing/match`` takes a captured picture."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A request whose pictures are in an envelope; everything else about it has been checked."""

    envelope: str
    values: Mapping[str, object]
    risk: bool


@dataclass(frozen=True, slots=True)
class Opened(Generic[A, R]):
    """The outcome of a request whose pictures were in an envelope. ``risk`` is ``None`` where nobody asked for it."""

    arguments: A
    outcome: R
    capture: Capture
    risk: Risk | ServiceUnavailable | None


def accepting(
    call: Call[A, R],
    slot: Slot,
    *,
    face: Callable[[R], SeenFace | None],
    passed: Callable[[R], bool],
) -> Call[Any, Any]:
    """The call, which takes envelopes in ``slot`` too.

    ``face`` takes the face of the person in front of the device from the outcome; ``passed`` tells whether the outcome
    is what an honest capture leads to. Errors in ``FAILURES`` count as failed captures; others are no fault of the
    device.
    """

    def parse(parameters: Parameters) -> A | Sealed:
        if not isinstance(parameters, Mapping):
            return call.parse(parameters)
        envelope = slot.sealed(parameters)
        if envelope is None:
            slot.asks_risk(parameters)
            return call.parse(parameters)
        call.parse(slot.filled(parameters, [_PLACEHOLDER]))
        return Sealed(envelope, parameters, slot.asks_risk(parameters))

    def run(service: UseCases, app: App, request: A | Sealed) -> R | Opened[A, R]:
        if not isinstance(request, Sealed):
            return call.run(service, app, request)
        capture = _opened(service, app, request.envelope)
        arguments = call.parse(slot.filled(request.values, _written(capture)))
        try:
            outcome = call.run(service, app, arguments)
        except FAILURES:
            if request.risk:
                _judged(service, app, capture, None, passed=False)
            raise
        risk = _judged(service, app, capture, face(outcome), passed=passed(outcome)) if request.risk else None
        return Opened(arguments, outcome, capture, risk)

    def present(request: A | Sealed, outcome: R | Opened[A, R]) -> object:
        if not isinstance(outcome, Opened):
            return call.present(request, outcome)  # type: ignore[arg-type] # a plain request has a plain outcome
        pictures = _written(outcome.capture)
        told = {"dec_image": pictures if slot.several else pictures[0], **_told(outcome.risk)}
        return ResultWithExtras(call.present(outcome.arguments, outcome.outcome), told)

    return replace(call, parse=parse, run=run, present=present)  # type: ignore[arg-type] # another kind of Call


def _opened(service: UseCases, app: App, envelope: str) -> Capture:
    """What is in the envelope. The reason of a refusal goes to the log only, since it would help a forger."""
    try:
        return service.open_envelope(app, envelope)
    except EnvelopeError as error:
        logger.info("a capture envelope was refused: %s", error, extra={"app_id": app.app_id})
        raise


def _judged(
    service: UseCases, app: App, capture: Capture, face: SeenFace | None, *, passed: bool
) -> Risk | ServiceUnavailable:
    """The risk, or the error that keeps it unknown: the call itself is answered all the same."""
    try:
        return service.judge_risk(app, capture, face, passed=passed)
    except ServiceUnavailable as error:
        logger.warning("the risk of a capture cannot be told: %s", error)
        return error


def _told(risk: Risk | ServiceUnavailable | None) -> dict[str, object]:
    if risk is None:
        return {}
    if isinstance(risk, ServiceUnavailable):
        return {"risk_warn_code": CODES.of(risk).number}
    return {"risk_level": str(risk.level.value), "risk_tag": [tag.value for tag in risk.tags]}


def _written(capture: Capture) -> list[str]:
    return [base64.b64encode(image).decode() for image in capture.images]
