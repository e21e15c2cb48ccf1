"""Access tokens: signed by us, checked without the database, revoked by counting up an app's epoch.

The shape is the cloud's: ``24.<32 hex digits>.2592000.<expiry, unix seconds>.282335-<app id>``. The hex digits are
the first 128 bits of an HMAC-SHA256 over app id, expiry and the app's epoch, under a key of the keyring.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from service.access.keys import Keyring
from service.errors import AppUnavailable, TokenExpired, TokenInvalid, TokenMissing
from service.values import App

LIFETIME_SECONDS = 2_592_000
"""30 days; also the third part of every token."""

SCOPE = "public brain_all_scope vis-faceverify_faceverify_h5-face-liveness vis-faceverify_FACE_V3 brain_face_scope"
"""The ``scope`` of a grant. An SDK that does not find the word ``brain_all_scope`` in it signs its requests instead."""

_PREFIX = "24"
_CLIENT = "282335"
_SHAPE = re.compile(r"24\.(?P<mac>[^.]+)\.(?P<lifetime>[^.]+)\.(?P<expiry>[^.]+)\.(?P<client>[^.-]+)-(?P<app_id>[^.]+)")
_EXPIRY = re.compile(r"[0-9]{1,12}")
_MAC_HEX_DIGITS = 32
_REFRESH_PREFIX = "25"
_REFRESH_SECONDS = 315_360_000  # ten years, as the cloud's


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """What the token endpoint answers. Only ``access_token`` means anything here; clients expect the others."""

    access_token: str
    expires_in: int
    refresh_token: str
    session_key: str
    session_secret: str
    scope: str


class Tokens:
    """Issues and verifies access tokens. Stateless and thread-safe."""

    def __init__(self, keyring: Keyring) -> None:
        self._keys = keyring.derive("tokens")

    def issue(self, app: App, now: float | None = None) -> TokenGrant:
        """A token for 30 days from ``now`` (unix seconds, default: the clock)."""
        issued = int(time.time() if now is None else now)
        expiry = issued + LIFETIME_SECONDS
        mac = self._mac(self._keys[0], app, str(expiry))
        return TokenGrant(
            access_token=f"{_PREFIX}.{mac}.{LIFETIME_SECONDS}.{expiry}.{_CLIENT}-{app.app_id}",
            expires_in=LIFETIME_SECONDS,
            refresh_token=(
                f"{_REFRESH_PREFIX}.{secrets.token_hex(16)}.{_REFRESH_SECONDS}.{issued + _REFRESH_SECONDS}"
                f".{_CLIENT}-{app.app_id}"
            ),
            session_key=secrets.token_urlsafe(48),
            session_secret=secrets.token_hex(16),
            scope=SCOPE,
        )

    def verify(self, token: str | None, lookup: Callable[[str], App | None], now: float | None = None) -> App:
        """The app that a token was issued to; ``lookup`` finds apps by public id.

        Whatever follows a ``?`` is cut off, because the Node SDK appends its suffix to the address a second time.
        Raises ``TokenMissing`` for a text that is no token at all, ``TokenInvalid`` for a token that was not issued
        here or was revoked, ``TokenExpired`` for one that is too old, ``AppUnavailable`` for one of a disabled app.
        """
        shape = _SHAPE.fullmatch((token or "").partition("?")[0].strip())
        if shape is None:
            raise TokenMissing
        app = lookup(shape["app_id"])
        if app is None or not self._genuine(shape, app):
            raise TokenInvalid
        if int(shape["expiry"]) <= (time.time() if now is None else now):
            raise TokenExpired
        if not app.enabled:
            raise AppUnavailable(app.app_id)
        return app

    def _genuine(self, shape: re.Match[str], app: App) -> bool:
        if shape["lifetime"] != str(LIFETIME_SECONDS) or shape["client"] != _CLIENT:
            return False
        if not _EXPIRY.fullmatch(shape["expiry"]):
            return False
        given = shape["mac"].encode()
        matches = [hmac.compare_digest(given, self._mac(key, app, shape["expiry"]).encode()) for key in self._keys]
        return any(matches)

    @staticmethod
    def _mac(key: bytes, app: App, expiry: str) -> str:
        message = "\0".join([app.app_id, str(app.epoch), expiry]).encode()
        return hmac.new(key, message, hashlib.sha256).hexdigest()[:_MAC_HEX_DIGITS]
