"""Whether the person who was recorded alive is the one of a selfie: ``/identity/liveness_selfie_verification``."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service import metrics
from service.access import permissions
from service.access.sealed_data import SealedDataError
from service.api import body, openapi
from service.api.body import Received
from service.api.caller import address_of, same_secret
from service.api.calls import JSON, Dispatcher, closing
from service.api.envelope import dump, rounded
from service.api.linkface import codes, liveness_data, requests
from service.api.linkface.codes import Refusal
from service.api.linkface.requests import Upload, Values
from service.api.ports import UseCases
from service.auditing import OK, Operation
from service.calibration.confidence import confidence
from service.errors import (
    AccessError,
    ParameterMalformed,
    PictureUnreadable,
    ServiceError,
    UnknownCall,
    VideoDamaged,
    VideoTooLarge,
    VideoUnreadable,
)
from service.images import gif
from service.images.headers import Format, HeaderError, read_header
from service.values import App

CALL = "liveness_selfie_verification"
PATH = f"/identity/{CALL}"
PERMISSIONS = ("match", "faceverify")
"""What an app must be allowed to do, both."""

MAX_SELFIE_BYTES = 5 * 2**20
MIN_SIDE, MAX_SIDE = 9, 4000
"""Pixels: more than 8, at most 4000."""

SCORE_DIGITS = 6

SELFIE, LIVENESS_DATA = "selfie", "liveness_data"
"""Kinds of uploads: the id of one is no id of the other."""

_FORMATS = frozenset({Format.JPEG, Format.PNG, Format.BMP, Format.TIFF})

_TEXT, _FILE = {"type": "string"}, {"type": "string", "format": "binary"}
_FORM = {
    "type": "object",
    "required": ["api_id", "api_secret"],
    "properties": {
        "api_id": _TEXT,
        "api_secret": _TEXT,
        "selfie_file": _FILE,
        "liveness_data_file": _FILE,
        "selfie_image_id": _TEXT,
        "liveness_data_id": _TEXT,
        "selfie_auto_rotate": {"type": "boolean"},
    },
}
"""The usual form of a request; docs/linkface.md has the others."""

logger = logging.getLogger(__name__)


def router(service: UseCases, dispatcher: Dispatcher, max_body_bytes: int) -> APIRouter:
    """The route, and the answer for every other path and method below ``/identity/``."""
    routes = APIRouter(tags=["linkface"])

    async def verification(request: Request) -> Response:
        request_id, started = f"TID{secrets.token_hex(16)}", time.perf_counter()
        outcome = codes.OK
        operation = Operation("", CALL)
        try:
            with dispatcher.limited(), dispatcher.room.share(max_body_bytes) as hold:
                received = await body.receive(request, max_body_bytes, hold)
                content_type = request.headers.get("content-type", "")
                query, address = request.scope["query_string"], address_of(request)
                work = partial(_verify, service, query, content_type, received, address, operation)
                answer = await dispatcher.in_thread(work)
            response = Response(dump({"request_id": request_id, "status": outcome, **answer}), media_type=JSON)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except ServiceError as error:
            outcome = codes.of(error).text
            response = _failed(error, request_id)
        except Exception:
            logger.exception("unexpected failure of a call", extra={"call": CALL, "request_id": request_id})
            outcome = "INTERNAL_ERROR"
            response = _failed(ServiceError("unexpected"), request_id)
        seconds = time.perf_counter() - started
        metrics.observe_call(metrics.call_label(PATH), outcome, seconds, failed=outcome != codes.OK)
        _log(request_id, outcome, seconds)
        service.audit.note(operation, OK if outcome == codes.OK else outcome)
        return response

    async def nothing(_request: Request) -> Response:
        return _failed(UnknownCall(), f"TID{secrets.token_hex(16)}")

    routes.add_api_route(
        PATH,
        verification,
        methods=["POST"],
        operation_id="linkface_liveness_selfie_verification",
        summary="Compare a selfie with recorded liveness data.",
        response_class=Response,
        openapi_extra={"requestBody": {"content": {"multipart/form-data": {"schema": _FORM}}}},
        responses=openapi.answers(
            _200="The scores.",
            _400="A parameter, a file or an address is not as it must be.",
            _401="Unknown keys, or a disabled app.",
            _403="A quota, a missing permission, too many failed attempts, or too much to do.",
            _500="Anything else, also a database that does not answer.",
        ),
    )
    routes.add_api_route(
        "/identity/{rest:path}",
        nothing,
        methods=["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"],
        include_in_schema=False,
        response_class=Response,
    )
    return routes


def authenticate(service: UseCases, api_id: str, api_secret: str, address: str) -> App:
    """The app with these keys, allowed to make the call. Raises an ``AccessError``."""
    with service.attempts.attempt(api_id, address):
        app = service.apps.by_api_key(api_id)
        same = same_secret(service, app, api_secret)
        if app is None or not same:
            raise AccessError("unknown api_id or wrong api_secret")
    for permission in PERMISSIONS:
        permissions.check(app, permission)
    return app


def check_selfie(data: bytes, name: str) -> None:
    """Size, format and sides, from the header alone. Raises ``Refusal``."""
    if len(data) > MAX_SELFIE_BYTES:
        raise Refusal("IMAGE_FILE_SIZE_TOO_BIG", image=name)
    try:
        sides = _sides(data)
    except HeaderError:
        raise Refusal("CORRUPT_IMAGE", image=name) from None
    if sides is None:
        raise Refusal("INVALID_IMAGE_FORMAT_OR_SIZE", image=name, reason="neither JPG, BMP, PNG, GIF nor TIFF")
    if min(sides) < MIN_SIDE or max(sides) > MAX_SIDE:
        reason = f"{sides[0]}x{sides[1]} pixels: a side must have {MIN_SIDE} to {MAX_SIDE}"
        raise Refusal("INVALID_IMAGE_FORMAT_OR_SIZE", image=name, reason=reason)


def _sides(data: bytes) -> tuple[int, int] | None:
    """Width and height; ``None`` for a format that is not taken. Raises ``HeaderError``."""
    if gif.is_gif(data):
        return gif.screen_size(data)
    header = read_header(data)
    return (header.width, header.height) if header.format in _FORMATS else None


_WRONG_DATA = (
    SealedDataError,
    liveness_data.LivenessDataError,
    ParameterMalformed,
    PictureUnreadable,
    VideoUnreadable,
    VideoTooLarge,
    VideoDamaged,
)


def _verify(
    service: UseCases, query: bytes, content_type: str, received: Received, address: str, operation: Operation
) -> dict[str, object]:
    """Runs in a worker thread. Notes the app in ``operation`` as soon as it is known."""
    sent: Values = requests.values(query, content_type, received)
    app = authenticate(service, requests.text(sent, "api_id"), requests.text(sent, "api_secret"), address)
    operation.actor, operation.app_pk = f"app:{app.app_id}", app.pk
    with service.quotas.admitted(app, PATH):
        return _answer(service, app, sent)


def _answer(service: UseCases, app: App, sent: Values) -> dict[str, object]:
    asked = requests.selfie_request(sent)
    selfie = _content(service, app, asked.selfie, SELFIE)
    check_selfie(selfie, asked.selfie.name)
    recorded = _content(service, app, asked.liveness_data, LIVENESS_DATA)
    with _concerning(asked.liveness_data.name):
        try:
            recorded = service.selfie.opened(app, recorded)
            data = liveness_data.parse(recorded)
            frames = service.selfie.frames(data.video) if data.video else data.frames
            frame = service.selfie.liveliest(app, frames)
        except _WRONG_DATA as error:
            raise Refusal("WRONG_LIVENESS_DATA", reason=str(error)) from None
    with _concerning(asked.selfie.name):
        score = service.selfie.score(app, service.selfie.still(selfie), frame)
    return {
        "hack_score": rounded(1 - frame.score, SCORE_DIGITS),
        "verify_score": rounded(confidence(score), SCORE_DIGITS),
        # Kept in plain form (sealed by the store), since a new secret key must not make it unreadable.
        "liveness_data_id": _kept(service, app, asked.liveness_data, LIVENESS_DATA, recorded),
        "image_id": _kept(service, app, asked.selfie, SELFIE, selfie),
    }


def _content(service: UseCases, app: App, upload: Upload, kind: str) -> bytes:
    if upload.upload_id is not None:
        known = service.uploads.content(app, kind, upload.upload_id)
        if known is None:
            raise Refusal("IMAGE_ID_NOT_EXIST", image=upload.name)
        return known
    if upload.url is None:
        return upload.data
    with _concerning(upload.name):
        return service.selfie.fetch(upload.url)


def _kept(service: UseCases, app: App, upload: Upload, kind: str, content: bytes) -> str:
    """Keep a file; returns the id by which later calls can name it, "" when it is not kept."""
    return upload.upload_id or service.uploads.store(app, kind, content) or ""


@contextmanager
def _concerning(name: str) -> Iterator[None]:
    """Add the parameter ``name`` to failures inside the block."""
    try:
        yield
    except ServiceError as error:
        raise codes.about(error, name) from error


def _log(request_id: str, outcome: str, seconds: float) -> None:
    """One line for each call, as the other generations of the API write it."""
    milliseconds = round(seconds * 1000, 1)
    extra = {"call": CALL, "request_id": request_id, "outcome": outcome, "milliseconds": milliseconds}
    logger.info("call", extra=extra)


def _failed(error: ServiceError, request_id: str) -> Response:
    status = codes.of(error)
    content: dict[str, object] = {"status": status.text, "request_id": request_id}
    image, reason = (error.image, error.reason) if isinstance(error, Refusal) else (None, None)
    if status.text == "KEY_EXPIRED":
        reason = "the app is disabled"
    if image is not None:
        content["image"] = image
    if reason is not None:
        content["reason"] = reason
    return Response(dump(content), status_code=status.http, media_type=JSON, headers=dict(closing(error)))
