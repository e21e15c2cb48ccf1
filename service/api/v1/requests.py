"""V1 requests: from parameters to the arguments of the use cases. Everything is checked here, before any work."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from service.api import pictures
from service.api.body import Parameters
from service.api.fields import is_identifier, single
from service.api.v1.codes import VIDEO
from service.errors import SessionUnusable, VideoUnreadable
from service.intake.order import FaceOrder
from service.recognition.liveness_sessions import SessionKind
from service.values import FaceField, ImageSource

MOST_FACES = 10
LONGEST_SESSION_ID = 64

CODE_LENGTHS: Mapping[SessionKind, tuple[int, int]] = {SessionKind.VOICE: (3, 6), SessionKind.ACTION: (1, 3)}
"""Fewest and most digits of a code, which are also the defaults of the two parameters for its length."""

_KINDS = (SessionKind.VOICE, SessionKind.ACTION)
"""By the number of ``type``."""

_LANDMARK_FIELDS = {**pictures.FACE_FIELDS, "landmark201": frozenset[FaceField]()}
"""The 51 further points of ``landmark201`` have no public names: asking for them is allowed and adds nothing."""

_USUAL_LANDMARKS = frozenset({FaceField.LANDMARK, FaceField.LANDMARK72})


class LipReading(str, enum.Enum):
    """``lip_identify``."""

    OFF = "OFF"
    COMMON = "COMMON"
    STRICT = "STRICT"


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """Arguments of ``sessioncode``."""

    kind: SessionKind
    shortest: int
    longest: int


@dataclass(frozen=True, slots=True)
class VideoRequest:
    """Arguments of ``verify``; ``video`` is base64. ``kind`` is ``None`` where the session itself tells."""

    video: str
    session_id: str | None
    kind: SessionKind | None
    fields: frozenset[FaceField]
    lips: bool


@dataclass(frozen=True, slots=True)
class LandmarkRequest:
    """Arguments of ``landmark``."""

    source: ImageSource
    max_faces: int
    fields: frozenset[FaceField]
    order: FaceOrder


def session_code(parameters: Parameters) -> CodeRequest:
    """Arguments of ``faceliveness/sessioncode``; ``appid``, which the documents have, is the token's in any case."""
    fields = single(parameters)
    kind = _KINDS[fields.integer("type", default=0, low=0, high=len(_KINDS) - 1)]
    low, high = CODE_LENGTHS[kind]
    return CodeRequest(
        kind,
        shortest=fields.integer("min_code_length", default=low, low=low, high=high),
        longest=fields.integer("max_code_length", default=high, low=low, high=high),
    )


def verify(parameters: Parameters) -> VideoRequest:
    """Arguments of ``faceliveness/verify``. Raises ``VideoUnreadable`` without a video, as the cloud does."""
    fields = single(parameters)
    video = fields.optional_text(VIDEO)
    if video is None:
        raise VideoUnreadable("there is no video")
    session_id = fields.optional_text("session_id")
    if session_id is not None and not is_identifier(session_id, LONGEST_SESSION_ID):
        raise SessionUnusable("no session of ours looks like that")
    sent = fields.optional_text("type_identify")
    kind = None if sent is None else fields.choice("type_identify", SessionKind)
    if kind is SessionKind.ACTION and session_id is None:
        raise SessionUnusable("actions are those of a session")
    asked = fields.words("face_field", pictures.FACE_FIELDS)
    lips = fields.choice("lip_identify", LipReading, LipReading.OFF)
    return VideoRequest(
        video, session_id, kind, asked & {FaceField.QUALITY, FaceField.SPOOFING}, lips is not LipReading.OFF
    )


def landmark(parameters: Parameters) -> LandmarkRequest:
    """Arguments of ``landmark``; without ``face_field`` the 4 and the 72 points are told."""
    fields = single(parameters)
    asked = fields.words("face_field", _LANDMARK_FIELDS)
    return LandmarkRequest(
        source=pictures.source(fields),
        max_faces=fields.integer("max_face_num", default=1, low=1, high=MOST_FACES),
        fields=_USUAL_LANDMARKS if fields.lacks("face_field") else asked,
        order=pictures.order(fields),
    )
