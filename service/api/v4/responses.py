"""V4 answers: V3's envelope. What stands beside ``result`` is told by ``service.api.v4.capture``.

``dec_image``, ``risk_level`` and ``risk_tag`` are there for pictures that came in an envelope. Of plain ones there is
nothing to tell, and a made-up value would be trusted.
"""

from __future__ import annotations

from service.api.descriptions import described_face, judged
from service.api.dialect import Enveloped
from service.api.envelope import SCORE_DIGITS, rounded
from service.api.v4.codes import CODES
from service.api.v4.requests import LivenessRequest
from service.api.v4.verification import Verification
from service.recognition.liveness import LivenessVerdict
from service.values import FaceField


class Envelope(Enveloped):
    """The V4 dialect."""

    def __init__(self) -> None:
        super().__init__(CODES)


def verified(request: LivenessRequest, verdict: LivenessVerdict) -> dict[str, object]:
    """Result of ``faceverify``. It has the angles twice, as ``angel`` (the documents' table) and ``angle`` (sample)."""
    fields = request.fields | {FaceField.LIVENESS}
    faces = [described_face(face, fields) for face in verdict.faces]
    return judged(verdict, [{**face, "angel": face["angle"]} for face in faces])


def person_verified(verification: Verification) -> dict[str, object]:
    """Result of ``mingjing/verify`` and ``verify_date``."""
    return {"score": rounded(verification.score, SCORE_DIGITS), "verify_status": int(verification.status)}


def claim_verified(verification: Verification) -> dict[str, object]:
    """Result of ``idmatch_date``."""
    return {"verify_status": int(verification.status)}
