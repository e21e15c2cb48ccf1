"""Whether somebody is who they say to be: by name and number, by the document's validity, by face."""

from __future__ import annotations

import numpy as np

from service.calibration.scores import ScoreTable
from service.errors import IdentityInvalid, IdentityMismatch, IdNumberUnknown, ReferencePictureMissing, ValidityMismatch
from service.identity.authority import Attestation, Authority, Verdict
from service.identity.claims import Claim, Validity
from service.intake.controls import NO_CONTROLS, Controls
from service.intake.intake import Intake
from service.intake.seen import SeenFace
from service.values import App, ImageSource

_REFUSALS = {
    Verdict.MISMATCH: IdentityMismatch,
    Verdict.UNKNOWN: IdNumberUnknown,
    Verdict.INVALID: IdentityInvalid,
}


class VerifyPerson:
    """The ``person/*`` calls of V3, and V4's ``mingjing/verify``, ``idmatch_date`` and ``verify_date``."""

    def __init__(self, intake: Intake, scores: ScoreTable, authority: Authority) -> None:
        self._intake = intake
        self._scores = scores
        self._authority = authority

    def identity(self, app: App, claim: Claim, validity: Validity | None = None) -> None:
        """Whether number and name belong together and, if given, the document is valid from and to these days.

        Raises ``IdentityMismatch``, ``ValidityMismatch``, ``IdNumberUnknown``, ``IdentityInvalid``,
        ``AuthorityUnavailable``. Days that have passed are no reason to refuse: the caller knows them.
        """
        self._confirmed(app, claim, validity, picture=False)

    def face(self, app: App, claim: Claim, source: ImageSource, controls: Controls = NO_CONTROLS) -> float:
        """``seen``, then ``compared``, as the documents have it: pictures that fail do not bother the authority."""
        return self.compared(app, claim, self.seen(app, source, controls))

    def seen(self, app: App, source: ImageSource, controls: Controls = NO_CONTROLS) -> SeenFace:
        """The largest face of a picture, embedded. Raises what ``Intake.faces`` raises."""
        return self._intake.faces(app, source, embed=True, controls=controls)[0]

    def compared(self, app: App, claim: Claim, face: SeenFace, validity: Validity | None = None) -> float:
        """How much a face is that of the person: 0..99.99, 80 at a false accept rate of 1e-4.

        Raises what ``identity`` raises, ``ReferencePictureMissing`` and ``ReferencePicturePoor``.
        """
        known = self._confirmed(app, claim, validity, picture=True)
        if known.embedding is None:
            raise ReferencePictureMissing
        return self._scores.score(float(np.dot(self._intake.embedding(face), known.embedding)))

    def _confirmed(self, app: App, claim: Claim, validity: Validity | None, *, picture: bool) -> Attestation:
        known = self._authority.ask(app, claim, picture=picture)
        if known.verdict is not Verdict.MATCH:
            raise _REFUSALS[known.verdict]
        if validity is not None and known.validity != validity:
            raise ValidityMismatch
        return known
