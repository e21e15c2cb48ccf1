"""The token endpoint: API key and secret key in, access token out, in the words of OAuth 2.0."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Mapping
from functools import partial
from urllib.parse import parse_qsl

from fastapi import APIRouter
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service import metrics
from service.access.tokens import TokenGrant
from service.api import body, openapi
from service.api.body import Received
from service.api.caller import address_of, same_secret
from service.api.calls import JSON, Dispatcher
from service.api.envelope import dump
from service.api.ports import UseCases
from service.errors import ParameterMalformed, RequestError, ServiceError, TooManyFailures, UnknownClient, WrongSecret

PATH = "/oauth/2.0/token"
GRANT_TYPE = "client_credentials"

MAX_BODY_BYTES = 65_536
HTTP_OK = 200

_INVALID_CLIENT = "invalid_client"
_EXAMPLE = {"grant_type": GRANT_TYPE, "client_id": "the API key", "client_secret": "the secret key"}
_HEADERS = {"Cache-Control": "no-store"}
_END = b"\n"
"""Behind every answer, as behind the cloud's: a recipe that many programs follow cuts the last character off before it
reads the rest as an expression."""

logger = logging.getLogger(__name__)


class UnsupportedGrant(RequestError):
    """The ``grant_type`` is missing or another than ``client_credentials``."""


def router(service: UseCases, dispatcher: Dispatcher) -> APIRouter:
    """The routes of the token endpoint: ``GET`` and ``POST``, parameters in the query, the body, or both."""
    routes = APIRouter(tags=["oauth"])

    async def token(request: Request) -> Response:
        started = time.perf_counter()
        try:
            with dispatcher.limited():
                received = await body.receive(request, MAX_BODY_BYTES)
                query = request.scope["query_string"].decode("latin-1")
                work = partial(_grant, service, query, received, address_of(request))
                content, status = await dispatcher.in_thread(work)
        except ClientDisconnect:
            return Response(status_code=400)  # nobody is there to read it
        except ServiceError as error:
            content, status = _refusal(error)
        except Exception:
            logger.exception("unexpected failure of the token endpoint")
            content, status = _refusal(ServiceError("unexpected"))
        seconds = time.perf_counter() - started
        metrics.observe_call(metrics.call_label(PATH), status, seconds, failed=status != HTTP_OK)
        return Response(content + _END, status_code=status, media_type=JSON, headers=_HEADERS)

    for method in ("GET", "POST"):
        routes.add_api_route(
            PATH,
            token,
            methods=[method],
            operation_id=f"oauth_token_{method.lower()}",
            summary="Get an access token.",
            response_class=Response,
            responses=openapi.answers(
                _200="A token for 30 days.",
                _400="Another grant type, or a body that cannot be read.",
                _401="Unknown API key or wrong secret key.",
                _429="Too many failed attempts from this address.",
                _503="Busy, or the database does not answer.",
            ),
            openapi_extra={
                "parameters": [
                    {"name": name, "in": "query", "required": False, "schema": {"type": "string"}, "example": example}
                    for name, example in _EXAMPLE.items()
                ]
            },
        )
    return routes


def _grant(service: UseCases, query: str, received: Received, address: str) -> tuple[bytes, int]:
    """In a worker thread."""
    parameters: dict[str, object] = dict(parse_qsl(query))
    sent = body.decode(received)
    if isinstance(sent, Mapping):
        parameters.update(sent)
    if _text(parameters, "grant_type") != GRANT_TYPE:
        raise UnsupportedGrant
    grant = authorize(service, _text(parameters, "client_id"), _text(parameters, "client_secret"), address)
    return dump(dataclasses.asdict(grant)), 200


def authorize(service: UseCases, api_key: str, secret_key: str, address: str) -> TokenGrant:
    """A token for the app with these keys, asked for by ``address``.

    Raises ``UnknownClient`` (also for a disabled app), ``WrongSecret`` and ``TooManyFailures``.
    """
    with service.attempts.attempt(api_key, address):
        app = service.apps.by_api_key(api_key)
        known = app is not None and app.enabled
        same = same_secret(service, app, secret_key)
        if app is None or not known:
            raise UnknownClient
        if not same:
            raise WrongSecret
    return service.tokens.issue(app)


def _text(parameters: Mapping[str, object], name: str) -> str:
    value = parameters.get(name)
    return value.strip() if isinstance(value, str) else ""


def _refusal(error: ServiceError) -> tuple[bytes, int]:
    """Body and status; texts of RFC 6749 but for the two that the cloud's clients know."""
    if isinstance(error, UnknownClient):
        return _error(_INVALID_CLIENT, "unknown client id"), 401
    if isinstance(error, WrongSecret):
        return _error(_INVALID_CLIENT, "Client authentication failed"), 401
    if isinstance(error, UnsupportedGrant):
        return _error("unsupported_grant_type", "The authorization grant type is not supported"), 400
    if isinstance(error, ParameterMalformed):
        return _error("invalid_request", "The request body cannot be read"), 400
    if isinstance(error, TooManyFailures):
        return _error("temporarily_unavailable", "Too many failed attempts, try again later"), 429
    return _error("temporarily_unavailable", "The service cannot answer now"), 503


def _error(name: str, description: str) -> bytes:
    return dump({"error": name, "error_description": description})
