"""V3 answers: keys, their order and their rounding as in the documents' samples."""

from __future__ import annotations

from collections.abc import Sequence

from service.api.descriptions import described_face, judged, location
from service.api.dialect import Enveloped
from service.api.envelope import SCORE_DIGITS, rounded
from service.api.v3.codes import CODES
from service.api.v3.requests import DetectRequest, LivenessRequest
from service.intake.seen import SeenFace
from service.recognition.identify import Identification, Match
from service.recognition.liveness import LivenessVerdict
from service.values import FaceEntry, FaceField, UserEntry


class Envelope(Enveloped):
    """The V3 dialect."""

    def __init__(self) -> None:
        super().__init__(CODES)


def detected(request: DetectRequest, faces: Sequence[SeenFace]) -> dict[str, object]:
    """Result of ``detect``. A field that was asked for and is not known of this face is left out."""
    return {"face_num": len(faces), "face_list": [described_face(face, request.fields) for face in faces]}


def verified(request: LivenessRequest, verdict: LivenessVerdict) -> dict[str, object]:
    """Result of ``faceverify``."""
    fields = request.fields | {FaceField.LIVENESS}
    return judged(verdict, [described_face(face, fields) for face in verdict.faces])


def identified(identification: Identification) -> dict[str, object]:
    """Result of ``search``."""
    return {"face_token": identification.face.token, "user_list": _user_list(identification.matches)}


def identified_all(identifications: Sequence[Identification]) -> dict[str, object]:
    """Result of ``multi-search``."""
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
    """Result of ``faceset/user/{add,update}``."""
    return {"face_token": face.token, "location": location(face.location)}


def users(entries: Sequence[UserEntry]) -> dict[str, object]:
    """Result of ``faceset/user/get``."""
    return {"user_list": [{"user_info": entry.user_info, "group_id": entry.group_id} for entry in entries]}


def faces(entries: Sequence[FaceEntry]) -> dict[str, object]:
    """Result of ``faceset/face/getlist``; ``ctime`` is local time of the server, as the cloud's is of its own."""
    return {
        "face_list": [
            {"face_token": entry.token, "ctime": f"{entry.created.astimezone():%Y-%m-%d %H:%M:%S}"} for entry in entries
        ]
    }


def user_ids(names: Sequence[str]) -> dict[str, object]:
    """Result of ``faceset/group/getusers``."""
    return {"user_id_list": list(names)}


def group_ids(names: Sequence[str]) -> dict[str, object]:
    """Result of ``faceset/group/getlist``."""
    return {"group_id_list": list(names)}
