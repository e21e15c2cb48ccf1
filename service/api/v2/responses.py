"""V2 answers: no envelope; keys, their order and their rounding as in the documents' samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.api.descriptions import FINE_DIGITS
from service.api.envelope import SCORE_DIGITS, Stamp, dump, rounded
from service.api.v2 import descriptions
from service.api.v2.codes import CODES
from service.api.v2.requests import LIVENESS, DetectRequest
from service.errors import ServiceError
from service.intake.seen import SeenFace
from service.recognition.compare import Pairs
from service.recognition.identify import Identification, Match
from service.recognition.liveness import liveness_of
from service.recognition.ranking import RankedIdentification, Verification
from service.values import FaceField, Location, UserEntry

Answer = dict[str, object]

_LOG_ID = "log_id"
_LOG_ID_FIRST: Mapping[str, object] = {_LOG_ID: 0}
"""Start of an answer whose sample begins with ``log_id``. ``Plain`` fills the number in; otherwise it comes last."""


class Plain:
    """The V2 dialect: the answer's own keys and ``log_id`` beside each other."""

    def success(self, result: object, stamp: Stamp) -> bytes:
        """``result`` is a mapping, or ``None`` for calls that only do something."""
        answer: Answer = dict(result) if isinstance(result, Mapping) else {}
        return dump({**answer, _LOG_ID: stamp.log_id})

    def failure(self, error: ServiceError, stamp: Stamp) -> bytes:
        """Code, text and ``log_id``, which the gateway's errors lack."""
        code = CODES.of(error)
        if code.of_gateway:
            return dump({"error_code": code.number, "error_msg": code.text})
        return dump({"error_code": code.number, _LOG_ID: stamp.log_id, "error_msg": code.text})

    def code(self, error: ServiceError) -> int:
        """Its number."""
        return CODES.of(error).number


def detected(request: DetectRequest, faces: Sequence[SeenFace]) -> Answer:
    """Result of ``detect``. A field that was asked for and is not known of this face is left out."""
    return {"result_num": len(faces), "result": [_detected_face(face, request.fields) for face in faces]}


def live(request: DetectRequest, faces: Sequence[SeenFace]) -> Answer:
    """Result of ``faceverify``: as ``detect``, with a number that programs compare with cuts of their own."""
    told = [{**_detected_face(face, request.fields), LIVENESS: _fine(liveness_of(face))} for face in faces]
    return {"result_num": len(told), "result": told}


def _detected_face(face: SeenFace, fields: frozenset[FaceField]) -> Answer:
    angles = face.report.angles or face.angles
    return {
        "location": _box(face.location),
        "face_probability": rounded(face.confidence),
        "rotation_angle": round(face.location.rotation),
        "yaw": rounded(angles.yaw),
        "pitch": rounded(angles.pitch),
        "roll": rounded(angles.roll),
        **descriptions.describe(face, fields),
    }


def compared(pairs: Pairs) -> Answer:
    """Result of ``match``."""
    return {
        **_LOG_ID_FIRST,
        "result_num": len(pairs.pairs),
        "result": [
            {"index_i": pair.first, "index_j": pair.second, "score": rounded(pair.score, SCORE_DIGITS)}
            for pair in pairs.pairs
        ],
        **_extra([face.report.liveness for face in pairs.faces]),
    }


def identified(found: RankedIdentification) -> Answer:
    """Result of ``identify``."""
    result = [_user(ranked.match, ranked.scores) for ranked in found.matches]
    return _listed(result, found.face.report.liveness)


def identified_all(identifications: Sequence[Identification]) -> Answer:
    """Result of ``multi-identify``: one entry for every user that a face may be, with the place of the face."""
    return _listed(
        [
            {**_user(match, [match.score]), "position": _position(found.face)}
            for found in identifications
            for match in found.matches
        ],
        *(found.face.report.liveness for found in identifications),
    )


def verified(verification: Verification) -> Answer:
    """Result of ``verify``: bare scores."""
    scores = [rounded(score, SCORE_DIGITS) for score in verification.scores]
    return _listed(scores, verification.face.report.liveness)


def users(entries: Sequence[UserEntry]) -> Answer:
    """Result of ``faceset/user/get``: an entry for every group, named as in the sample and listed as in the table."""
    return {
        "result_num": len(entries),
        "result": [
            {
                "uid": entry.user_id,
                "user_info": entry.user_info,
                "group_id": entry.group_id,
                "groups": [other.group_id for other in entries],
            }
            for entry in entries
        ],
    }


def group_ids(names: Sequence[str]) -> Answer:
    """Result of ``faceset/group/getlist``."""
    return {"result_num": len(names), "result": list(names)}


def group_users(entries: Sequence[UserEntry]) -> Answer:
    """Result of ``faceset/group/getusers``."""
    return _listed([{"uid": entry.user_id, "user_info": entry.user_info} for entry in entries])


def _listed(result: Sequence[object], *liveness: float | None) -> Answer:
    return {**_LOG_ID_FIRST, "result_num": len(result), "result": list(result), **_extra(liveness)}


def _extra(liveness: Sequence[float | None]) -> Answer:
    """``ext_info`` with the liveness of each face as text, 0 where it was not asked for; nothing if for none."""
    if all(score is None for score in liveness):
        return {}
    scores = (0 if score is None else _fine(score) for score in liveness)
    return {"ext_info": {LIVENESS: ",".join(f"{score:.{FINE_DIGITS}f}".rstrip("0").rstrip(".") for score in scores)}}


def _fine(score: float) -> float:
    return rounded(score, FINE_DIGITS)


def _user(match: Match, scores: Sequence[float]) -> Answer:
    return {
        "group_id": match.group_id,
        "uid": match.user_id,
        "user_info": match.user_info,
        "scores": [rounded(score, SCORE_DIGITS) for score in scores],
    }


def _box(location: Location) -> Answer:
    """Whole pixels, unlike V3."""
    return {name: round(getattr(location, name)) for name in ("left", "top", "width", "height")}


def _position(face: SeenFace) -> Answer:
    return {**_box(face.location), "degree": round(face.location.rotation), "prob": rounded(face.confidence)}
