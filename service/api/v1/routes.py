"""The calls of V1, one value each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fastapi import APIRouter

from service.api import calls
from service.api.calls import Call, Dispatcher
from service.api.presenting import outcome_only
from service.api.v1 import requests, responses
from service.intake.controls import NO_CONTROLS

PREFIX = "/rest/2.0/face/v1"

VERIFY = Call(
    path=f"{PREFIX}/faceliveness/verify",
    name="facelivenessVerifyV1",
    summary="Tell whether a video shows one living person who does what a session asked for.",
    permission="v1/faceliveness/verify",
    parse=requests.verify,
    run=lambda service, app, r: service.video(app, r.video, r.session_id, r.kind, r.fields),
    present=responses.verified,
    example={
        "video_base64": "AAAAIGZ0eXBpc29tAAACAGlzb21pc28y",
        "session_id": "S59faeeebb9111890355690",
        "type_identify": "action",
        "face_field": "quality,spoofing",
    },
)

_SESSION_CODE = Call(
    path=f"{PREFIX}/faceliveness/sessioncode",
    name="videoSessioncode",
    summary="Open a session: digits to speak or actions to perform in one video.",
    permission="v1/faceliveness/sessioncode",
    parse=requests.session_code,
    run=lambda service, app, r: service.liveness_sessions.open(app, r.kind, r.shortest, r.longest),
    present=outcome_only(responses.session),
    example={"type": 1, "min_code_length": 1, "max_code_length": 3},
    methods=("POST", "GET"),  # programs that ask for nothing in particular send no body either
)

VIDEO_CALLS: tuple[Call[Any, Any], ...] = (_SESSION_CODE, VERIFY)

_LANDMARK = Call(
    path=f"{PREFIX}/landmark",
    name="faceLandmarkV1",
    summary="Find the named points of faces.",
    permission="v1/landmark",
    parse=requests.landmark,
    run=lambda service, app, r: service.detect(app, r.source, r.max_faces, r.fields, NO_CONTROLS, r.order),
    present=responses.landmarks,
    example={"image": "https://example.org/picture.jpg", "image_type": "URL", "face_field": "landmark150"},
)

LANDMARK_CALLS: tuple[Call[Any, Any], ...] = (_LANDMARK,)

CALLS = (*VIDEO_CALLS, *LANDMARK_CALLS)
"""Every call of V1 that this server answers, but for those that edit pictures."""


def router(dispatcher: Dispatcher, max_video_bytes: int) -> APIRouter:
    """The routes of V1. A body holds a video in base64, in a form with its signs escaped, so half as much again."""
    routes = APIRouter()
    sized = [replace(call, max_body_bytes=max_video_bytes * 3 // 2) if call is VERIFY else call for call in VIDEO_CALLS]
    routes.include_router(calls.router(sized, responses.OldEnvelope(), dispatcher, tag="v1"))
    routes.include_router(calls.router(LANDMARK_CALLS, responses.Envelope(), dispatcher, tag="v1"))
    return routes
