"""Verification of a person in the words of V4: what the authority does not confirm is an answer there, not an error."""

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
from service.values import App


class VerifyStatus(enum.IntEnum):
    """``verify_status``, to the vendor's numbers."""

    CONFIRMED = 0
    NOT_CONFIRMED = 1
    NO_PICTURE = 2


@dataclass(frozen=True, slots=True)
class Verification:
    """``score`` 0..99.99; 0 unless confirmed, so that no comparison with a threshold can pass."""

    status: VerifyStatus
    score: float = 0.0


def of_face(service: UseCases, app: App, request: PersonRequest) -> Verification:
    """``mingjing/verify`` and ``verify_date``. Raises what concerns the caller's picture, ``AuthorityUnavailable``."""
    return _answered(
        lambda: service.person.face(app, request.claim, request.source, request.controls, request.validity)
    )


def of_claim(service: UseCases, app: App, request: DatedClaim) -> Verification:
    """``idmatch_date``. Raises ``AuthorityUnavailable``."""

    def ask() -> float:
        service.person.identity(app, request.claim, request.validity)
        return 0.0

    return _answered(ask)


def _answered(ask: Callable[[], float]) -> Verification:
    try:
        return Verification(VerifyStatus.CONFIRMED, ask())
    except (IdentityMismatch, IdNumberUnknown, IdentityInvalid):
        return Verification(VerifyStatus.NOT_CONFIRMED)
    except (ReferencePictureMissing, ReferencePicturePoor):
        return Verification(VerifyStatus.NO_PICTURE)
