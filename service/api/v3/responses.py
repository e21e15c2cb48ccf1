"""V3 answers: keys, their order and their rounding as in the documents' samples."""

from __future__ import annotations

from collections.abc import Sequence

from service.api.descriptions import FINE_DIGITS, describe
from service.api.envelope import SCORE_DIGITS, Stamp, dump, rounded
from service.api.v3.codes import CODES
from service.api.v3.requests import DetectRequest, LivenessRequest
from service.calibration.liveness import THRESHOLDS
from service.errors import ServiceError
from service.intake.seen import SeenFace
from service.recognition.compare import Comparison
from service.recognition.identify import Identification, Match
from service.recognition.liveness import LivenessVerdict
from service.values import Angles, FaceEntry, FaceField, Location, UserEntry

SUCCESS = "SUCCESS"


class Envelope:
    """The V3 dialect: every answer in one envelope, but for the gateway's errors."""

    def success(self, result: object, stamp: Stamp) -> bytes:
        """``result`` is ``None`` for calls that only do something."""
        return _envelope(0, SUCCESS, stamp, result)

    def failure(self, error: ServiceError, stamp: Stamp) -> bytes:
        """Code and text of the error; ``result`` is null, and missing with everything else for the gateway's."""
        code = CODES.of(error)
        if code.of_gateway:
            return dump({"error_code": code.number, "error_msg": code.text})
        return _envelope(code.number, code.text, stamp, None)


def _envelope(code: int, text: str, stamp: Stamp, result: object) -> bytes:
    return dump(
        {
            "error_code": code,
            "error_msg": text,
            "log_id": stamp.log_id,
            "timestamp": stamp.timestamp,
            "cached": 0,
            "result": result,
        }
    )


def detected(request: DetectRequest, faces: Sequence[SeenFace]) -> dict[str, object]:
    """Of ``detect``. A field that was asked for and is not known of this face is left out."""
    return {"face_num": len(faces), "face_list": [_detected_face(face, request.fields) for face in faces]}


def _detected_face(face: SeenFace, fields: frozenset[FaceField]) -> dict[str, object]:
    return {
        "face_token": face.token,
        "location": location(face.location),
        "face_probability": rounded(face.confidence),
        "angle": _angle(face.report.angles or face.angles),
        **describe(face, fields),
    }


def compared(comparison: Comparison) -> dict[str, object]:
    """Of ``match``, in the order of the sample."""
    return {
        "score": rounded(comparison.score, SCORE_DIGITS),
        "face_list": [{"face_token": face.token} for face in comparison.faces],
    }


def verified(request: LivenessRequest, verdict: LivenessVerdict) -> dict[str, object]:
    """Of ``faceverify``: thresholds, the best picture's score, every picture's face."""
    fields = request.fields | {FaceField.LIVENESS}
    return {
        "thresholds": dict(THRESHOLDS),
        "face_liveness": rounded(verdict.score, FINE_DIGITS),
        "face_list": [_detected_face(face, fields) for face in verdict.faces],
    }


def identified(identification: Identification) -> dict[str, object]:
    """Of ``search``."""
    return {"face_token": identification.face.token, "user_list": _user_list(identification.matches)}


def identified_all(identifications: Sequence[Identification]) -> dict[str, object]:
    """Of ``multi-search``."""
    return {
        "face_num": len(identifications),
        "face_list": [
            {
                "face_token": found.face.token,
                "location": location(found.face.location),
                "user_list": _user_list(found.matches),
            }
            for found in identifications
        ],
    }


def _user_list(matches: Sequence[Match]) -> list[dict[str, object]]:
    return [
        {
            "group_id": match.group_id,
            "user_id": match.user_id,
            "user_info": match.user_info,
            "score": rounded(match.score, SCORE_DIGITS),
        }
        for match in matches
    ]


def enrolled(face: SeenFace) -> dict[str, object]:
    """Of ``faceset/user/{add,update}``."""
    return {"face_token": face.token, "location": location(face.location)}


def users(entries: Sequence[UserEntry]) -> dict[str, object]:
    """Of ``faceset/user/get``."""
    return {"user_list": [{"user_info": entry.user_info, "group_id": entry.group_id} for entry in entries]}


def faces(entries: Sequence[FaceEntry]) -> dict[str, object]:
    """Of ``faceset/face/getlist``; ``ctime`` is local time of the server, as the cloud's is of its own."""
    return {
        "face_list": [
            {"face_token": entry.token, "ctime": f"{entry.created.astimezone():%Y-%m-%d %H:%M:%S}"} for entry in entries
        ]
    }


def user_ids(names: Sequence[str]) -> dict[str, object]:
    """Of ``faceset/group/getusers``."""
    return {"user_id_list": list(names)}


def group_ids(names: Sequence[str]) -> dict[str, object]:
    """Of ``faceset/group/getlist``."""
    return {"group_id_list": list(names)}


def location(value: Location) -> dict[str, object]:
    """A face's box: left and top with two decimals, the rest whole."""
    return {
        "left": rounded(value.left),
        "top": rounded(value.top),
        "width": round(value.width),
        "height": round(value.height),
        "rotation": round(value.rotation),
    }


def _angle(angles: Angles) -> dict[str, object]:
    return {"yaw": rounded(angles.yaw), "pitch": rounded(angles.pitch), "roll": rounded(angles.roll)}
