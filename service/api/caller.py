"""Who is asking: an access token, or a request signed with the secret key."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.requests import Request

from service.access import signatures
from service.access.signatures import SignedRequest
from service.api import body
from service.api.body import Parameters, Received
from service.api.ports import UseCases
from service.errors import AppUnavailable, ParameterMalformed, SignatureInvalid, TokenMissing
from service.values import App

TOKEN = "access_token"  # noqa: S105 - the parameter's name


@dataclass(frozen=True, slots=True)
class Head:
    """What a request says about its caller outside its body."""

    token: str | None
    authorization: str | None
    signed: SignedRequest
    address: str
    """Where the request came from."""

    @classmethod
    def of(cls, request: Request) -> Head:
        """Of a request; nothing is decoded but the token."""
        headers: dict[str, str] = {}
        for name, value in request.headers.items():
            headers.setdefault(name, value)
        query = request.scope["query_string"].decode("latin-1")
        raw_path = request.scope.get("raw_path") or request.scope["path"].encode()
        path = raw_path.partition(b"?")[0].decode("latin-1")
        tokens = [value for name, value in parse_qsl(query, max_num_fields=None) if name == TOKEN]
        return cls(
            token=tokens[0] if tokens else None,
            authorization=headers.get("authorization"),
            signed=SignedRequest(request.method, path, query, headers),
            address=address_of(request),
        )

    @property
    def has_credentials(self) -> bool:
        """Whether there is a token or a signature to check, right or wrong."""
        return self.token is not None or signatures.is_signed(self.authorization)


def address_of(request: Request) -> str:
    """The address that a request came from; "" over a socket of the file system."""
    return "" if request.client is None else request.client.host


def same_secret(service: UseCases, app: App | None, given: str) -> bool:
    """Whether ``given`` is the app's secret.

    Without an app something is compared, too, so that the time taken does not reveal which keys exist.
    """
    secret = service.apps.secret(app) if app is not None else secrets.token_hex(16)
    same = hmac.compare_digest(secret.encode(), given.encode(errors="surrogatepass"))
    return same and app is not None


def identify(service: UseCases, head: Head, received: Received) -> tuple[App, Parameters | None]:
    """The app that sent a request: by its token or signature, else by a token among the body's parameters.

    Raises what ``authenticate`` and ``authenticate_by_body`` raise.
    """
    if head.has_credentials:
        return authenticate(service, head, received), None
    return authenticate_by_body(service, received)


def authenticate(service: UseCases, head: Head, received: Received) -> App:
    """The app that sent a request: by the token of its query, else by its signature.

    Raises ``TokenMissing``, ``TokenInvalid``, ``TokenExpired``, ``SignatureInvalid``, ``AppUnavailable``,
    ``TooManyFailures``.
    """
    if head.token is not None:
        return by_token(service, head.token)
    if head.authorization is not None and signatures.is_signed(head.authorization):
        return _by_signature(service, head.authorization, head, received)
    raise TokenMissing


def authenticate_by_body(service: UseCases, received: Received) -> tuple[App, Parameters]:
    """The app whose token stands among the body's parameters, where a few clients put it, and the parameters.

    Raises as ``authenticate`` does; a body that cannot be read holds no token.
    """
    try:
        parameters = body.decode(received)
    except ParameterMalformed:
        raise TokenMissing from None
    token = parameters.get(TOKEN) if isinstance(parameters, Mapping) else None
    if not isinstance(token, str):
        raise TokenMissing
    return by_token(service, token), parameters


def by_token(service: UseCases, token: str) -> App:
    """The app with a token. Raises as ``authenticate`` does."""
    return service.tokens.verify(token, service.apps.by_app_id)


def _by_signature(service: UseCases, header: str, head: Head, received: Received) -> App:
    authorization = signatures.parse(header)
    with service.attempts.attempt(authorization.access_key, head.address):
        app = service.apps.by_api_key(authorization.access_key)
        secret = service.apps.secret(app) if app is not None else None
        content = None if received.too_large else lambda: received.content
        signatures.verify(authorization, head.signed, secret, time.time(), content)
        if app is None:  # verify has refused already
            raise SignatureInvalid
    if not app.enabled:
        raise AppUnavailable(app.app_id)
    return app
