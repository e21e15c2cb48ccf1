"""V1 answers: the old envelope of the calls about videos, and what they tell."""

from __future__ import annotations

import base64
import statistics
from collections.abc import Sequence

from service.api.descriptions import FINE_DIGITS, describe, described_face
from service.api.dialect import SUCCESS, Enveloped
from service.api.envelope import Stamp, dump, rounded
from service.api.v1.codes import LANDMARK_CODES, VIDEO_CODES
from service.api.v1.requests import LandmarkRequest, VideoRequest
from service.calibration.liveness import THRESHOLDS
from service.errors import ServiceError
from service.intake.seen import SeenFace
from service.recognition.liveness_sessions import Session, SessionKind
from service.recognition.video import Picture, VideoVerdict
from service.values import FaceField


class Envelope(Enveloped):
    """The dialect of ``landmark``: V3's."""

    def __init__(self) -> None:
        super().__init__(LANDMARK_CODES)


class OldEnvelope:
    """The dialect of the calls about videos: ``err_no``, ``err_msg``, ``serverlogid``.

    ``error_code``, ``error_msg`` and ``log_id``, which the cloud came to send beside them, are there as well: SDKs look
    for them.
    """

    def success(self, result: object, stamp: Stamp) -> bytes:
        """``err_no`` 0 and the result."""
        return _old(0, SUCCESS, stamp, result)

    def failure(self, error: ServiceError, stamp: Stamp) -> bytes:
        """Code and text of the error; those of the gateway have nothing else."""
        code = VIDEO_CODES.of(error)
        if code.of_gateway:
            return dump({"error_code": code.number, "error_msg": code.text})
        return _old(code.number, code.text, stamp, None)

    def code(self, error: ServiceError) -> int:
        """Its number."""
        return VIDEO_CODES.of(error).number


def _old(code: int, text: str, stamp: Stamp, result: object) -> bytes:
    return dump(
        {
            "err_no": code,
            "err_msg": text,
            "result": result,
            "timestamp": stamp.timestamp,
            "cached": 0,
            "serverlogid": str(stamp.log_id),
            "error_code": code,
            "error_msg": text,
            "log_id": stamp.log_id,
        }
    )


def session(opened: Session) -> dict[str, object]:
    """Result of ``faceliveness/sessioncode``."""
    return {"session_id": opened.session_id, "code": opened.code}


def verified(request: VideoRequest, verdict: VideoVerdict) -> dict[str, object]:
    """Result of ``faceliveness/verify``.

    ``identify`` and ``similarity`` say how much of the code was recognised. For actions: those performed in the right
    order, and one more where more was done than asked. For spoken digits: nothing, since speech is not recognised.
    """
    pictures = [_picture(picture, request.fields) for picture in verdict.pictures]
    answer: dict[str, object] = {"score": rounded(verdict.score, FINE_DIGITS)}
    if verdict.spoofing:
        answer["maxspoofing"] = rounded(max(verdict.spoofing), FINE_DIGITS)
        answer["spoofing_score"] = rounded(statistics.median(verdict.spoofing), FINE_DIGITS)
    answer["thresholds"] = dict(THRESHOLDS)
    answer["code"] = _code(verdict)
    if verdict.session is not None and verdict.session.kind is SessionKind.ACTION:
        answer["action_verify"] = _passed(verdict.performed == verdict.session.actions)
    if request.lips:
        answer["lip_language"] = _passed(verdict.mouth_moved)
    answer["best_image"] = pictures[verdict.best]
    answer["pic_list"] = pictures
    return answer


def landmarks(request: LandmarkRequest, faces: Sequence[SeenFace]) -> dict[str, object]:
    """Result of ``landmark``: the four points under both names that the documents have used."""
    told = [described_face(face, request.fields) for face in faces]
    if FaceField.LANDMARK in request.fields:
        told = [{**face, "landmark4": face["landmark"]} for face in told]
    return {"face_num": len(told), "face_list": told}


def _code(verdict: VideoVerdict) -> dict[str, object]:
    if verdict.session is None:
        return {"create": "", "identify": "", "similarity": 0}
    code = verdict.session.code
    done = "".join(action.value for action in verdict.performed)
    shorter, longer = sorted([len(done), len(code)])
    return {"create": code, "identify": done, "similarity": rounded(shorter / longer)}


def _picture(picture: Picture, fields: frozenset[FaceField]) -> dict[str, object]:
    told = describe(picture.face, fields)
    return {
        "face_token": picture.face.token,
        "face_id": picture.face.token,
        "liveness_score": rounded(picture.face.report.liveness or 0.0, FINE_DIGITS),
        **{name: told[name] for name in ("spoofing", "quality") if name in told},
        "pic": base64.b64encode(picture.jpeg).decode(),
    }


def _passed(value: bool) -> str:
    return "pass" if value else "fail"
