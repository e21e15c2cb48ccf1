"""The error codes of V1: the vendor's own table for videos, and the one of V3 for landmarks.

Texts of the table for videos are the vendor's to the letter; it names services (speech, Redis) that are not here.
"""

from __future__ import annotations

from service import errors
from service.api.codes import Code, CodeTable
from service.api.vendors_table import VENDORS_TABLE

LANDMARK_CODES = CodeTable(VENDORS_TABLE)
"""Codes that ``landmark`` answers."""

VIDEO = "video_base64"

_VIDEO = (
    Code(216430, "rtse/face service error", "reserved: one of the cloud's internal services; here 2 is answered"),
    Code(216431, "voice service error", "reserved: speech is not recognised, so nothing that recognises it can fail"),
    Code(
        216432,
        "video service call fail",
        "the video is damaged before it shows anything, or decoding it takes too long",
        (errors.VideoDamaged,),
    ),
    Code(
        216433,
        "video service error",
        "the video, or the body, has more bytes, seconds, frames or pixels than allowed",
        (errors.VideoTooLarge, errors.ParameterTooLong),
    ),
    Code(
        216434,
        "liveness check fail",
        "the face is not one person's from beginning to end: another is cut in, it jumps, or it is gone for a second",
        (errors.LivenessFailed,),
    ),
    Code(
        216500,
        "code digit error",
        "type_identify says voice and the session asked for actions, or the other way round",
        (errors.SessionOfAnotherKind,),
    ),
    Code(216501, "not found face", "no face, or hardly any frame with one", (errors.FaceNotFound,)),
    Code(
        216502,
        "session lapse",
        "the session is unknown to the app, was used, or is too old; action without a session",
        (errors.SessionError, errors.SessionUnusable),
    ),
    Code(216505, "redis connect error", "reserved: sessions are kept in PostgreSQL; here 2 is answered"),
    Code(216506, "redis operation error", "reserved: sessions are kept in PostgreSQL; here 2 is answered"),
    Code(216507, "found many faces", "two people are in front of the camera", (errors.SeveralFaces,)),
    Code(
        216508,
        "not found video info",
        "no video, not base64, not MP4, MOV, 3GP, WebM, Matroska, AVI or FLV, no moving picture in it, or under 0.8 s",
        (errors.PictureError, errors.VideoError, errors.VideoUnreadable),
        (VIDEO,),
    ),
    Code(
        216509,
        "voice can not identify",
        "digits were asked for and the video is silent, or not audible for as long as they take",
        (errors.SoundMissing,),
    ),
    Code(
        216908,
        "视频中人脸质量较差",
        "no frame passes as a picture: blurred, dark, cut off, covered or turned away",
        (errors.FaceRejected,),
    ),
)

_PARAMETERS = (
    Code(
        222001,
        "param[] is null",
        "another parameter is missing or malformed, or the body cannot be read at all",
        (errors.RequestError, errors.ParameterMissing, errors.ParameterMalformed, errors.IdentityError),
    ),
    Code(222017, "param[face_field] format error", "a field that is not known", parameters=("face_field",)),
    Code(
        222027,
        "code length param error",
        "min_code_length is greater than max_code_length",
        (errors.CodeLengthsContradict,),
    ),
    Code(
        222028,
        "param[min_code_length] format error",
        "not 3 to 6 digits, or 1 to 3 actions",
        parameters=("min_code_length",),
    ),
    Code(
        222029,
        "param[max_code_length] format error",
        "not 3 to 6 digits, or 1 to 3 actions",
        parameters=("max_code_length",),
    ),
    Code(222302, "system error", "the database refuses to write", (errors.LibraryError, errors.StorageFull)),
)

VIDEO_CODES = CodeTable([*(code for code in VENDORS_TABLE if code.of_gateway), *_VIDEO, *_PARAMETERS])
"""Codes that ``faceliveness/sessioncode`` and ``faceliveness/verify`` answer."""
