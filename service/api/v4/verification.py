"""Person verification as V4 answers it: a claim that the authority does not confirm is a result, not an error."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from service.api.ports import UseCases
from service.api.v4.requests import DatedClaim, PersonRequest
from service.errors import (
    IdentityInvalid,
    IdentityMismatch,
    IdNumberUnknown,
    ReferencePictureMissing,
    ReferencePicturePoor,
)
from service.intake.seen import SeenFace
from service.values import App


class VerifyStatus(enum.IntEnum):
    """``verify_status``, with the vendor's numbers."""

    CONFIRMED = 0
    NOT_CONFIRMED = 1
    NO_PICTURE = 2


@dataclass(frozen=True, slots=True, eq=False)
class Verification:
    """``score``: 0..99.99, and 0 unless the claim was confirmed, so that no comparison with a threshold can pass.

    ``face``: of the caller's picture, whether the claim was confirmed or not; ``None`` for the call without a picture.
    """

    status: VerifyStatus
    score: float = 0.0
    face: SeenFace | None = None


def of_face(service: UseCases, app: App, request: PersonRequest) -> Verification:
    """``mingjing/verify`` and ``verify_date``. Raises what concerns the caller's picture, ``AuthorityUnavailable``."""
    face = service.person.seen(app, request.source, request.controls)
    status, score = _answered(lambda: service.person.compared(app, request.claim, face, request.validity))
    return Verification(status, score, face)


def of_claim(service: UseCases, app: App, request: DatedClaim) -> Verification:
    """``idmatch_date``. Raises ``AuthorityUnavailable``."""

    def ask() -> float:
        service.person.identity(app, request.claim, request.validity)
        return 0.0

    return Verification(*_answered(ask))


def _answered(ask: Callable[[], float]) -> tuple[VerifyStatus, float]:
    """The status and the score that ``ask`` leads to; a refusal of the authority becomes a status."""
    try:
        return VerifyStatus.CONFIRMED, ask()
    except (IdentityMismatch, IdNumberUnknown, IdentityInvalid):
        return VerifyStatus.NOT_CONFIRMED, 0.0
    except (ReferencePictureMissing, ReferencePicturePoor):
        return VerifyStatus.NO_PICTURE, 0.0
