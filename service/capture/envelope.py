"""Opening capture envelopes: pictures that a device sealed for this server, to be used once and soon.

An envelope keeps pictures from being read or exchanged on their way, and from being sent again. It does not prove which
device made it: the key that it is sealed with is public.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from service.capture import jose, strict_json
from service.capture.keys import EnvelopeKeys
from service.errors import EnvelopeNotOpened, EnvelopeReplayed, EnvelopeStale
from service.images.inline import decode_base64
from service.storage.engine import Database
from service.values import App

MOST_IMAGES = 8
"""As many as any call takes."""

_NONCE = re.compile(r"[A-Za-z0-9_-]{16,128}")
_DEVICE = re.compile(r"[\x21-\x7e]{1,128}")
_LATEST = 2**40
"""Upper bound for times, in seconds since 1970, so that arithmetic on them cannot overflow."""

_SLACK = timedelta(minutes=1)
"""How much longer than it could be used a nonce is remembered, since the clocks of servers differ."""

_FURTHEST_AHEAD = timedelta(days=2)
"""An envelope from the future is refused, but will become valid later, so its nonce is remembered until it has expired.
This is the furthest ahead that a device's clock may be for that.

It is more than a wrong time zone makes (26 hours), and more than ``envelope_max_age`` may be. Nonces of later envelopes
are not remembered: otherwise anybody who can seal an envelope could fill the table for as long as they like.
"""


@dataclass(frozen=True, slots=True)
class Capture:
    """What an envelope held.

    ``images`` are the picture files as bytes; ``clock`` is how far the device's time of capture lay ahead of our clock
    in seconds, negative when behind.
    """

    images: tuple[bytes, ...] = field(repr=False)
    device_id: str = field(repr=False)
    clock: float


class OpenEnvelopes:
    """Decrypts, checks the content and uses up the nonce, so that an envelope works once, whatever the call answers."""

    def __init__(self, keys: EnvelopeKeys, database: Database, *, max_age: timedelta, max_picture_bytes: int) -> None:
        """``max_age`` is how far the time of capture may lie from our clock, in both directions."""
        self._keys = keys
        self._database = database
        self._max_age = max_age
        self._max_picture_bytes = max_picture_bytes

    def __call__(self, app: App, sealed: str) -> Capture:
        """Open a compact JWE that was sealed for ``app``.

        Raises ``EnvelopeNotOpened``, ``EnvelopeStale``, ``EnvelopeReplayed``, and ``ParameterMalformed`` for pictures
        that are no base64 or too large.
        """
        header = jose.header_of(sealed)
        content = _content(jose.decrypt(sealed, self._keys.private(app, header.kid, header.algorithm)))
        clock = _timestamp(content) - time.time()
        images = tuple(decode_base64(text, self._max_picture_bytes) for text in _images(content))
        capture = Capture(images, _text(content, "device_id", _DEVICE), clock)
        nonce = _text(content, "nonce", _NONCE)
        fresh = clock <= _FURTHEST_AHEAD.total_seconds() and self._claimed(app, nonce, clock)
        if not abs(clock) <= self._max_age.total_seconds():
            raise EnvelopeStale(f"its time of capture is {clock:+.0f} seconds off")
        if not fresh:
            raise EnvelopeReplayed("its nonce has been used")
        return capture

    def _claimed(self, app: App, nonce: str, clock: float) -> bool:
        """Use up the nonce for as long as the envelope could be opened; ``False`` where it was used before.

        That is until ``max_age`` after the envelope's time, which may still be to come.
        """
        ahead = max(timedelta(seconds=max(clock, 0.0)), self._max_age)  # a server whose clock is behind sees it so
        with self._database.admin(app.pk) as work:
            digest = hashlib.sha256(nonce.encode()).digest()
            return work.envelopes.claim_nonce(app.pk, digest, ahead + self._max_age + _SLACK)


def _content(plaintext: bytes) -> Mapping[str, object]:
    try:
        content = strict_json.loads(plaintext)
    except ValueError:
        raise EnvelopeNotOpened("the content is no JSON") from None
    if not isinstance(content, dict):
        raise EnvelopeNotOpened("the content is no JSON object")
    return content


def _images(content: Mapping[str, object]) -> list[str]:
    images = content.get("images")
    if not isinstance(images, list) or not 1 <= len(images) <= MOST_IMAGES:
        raise EnvelopeNotOpened("images must be a list of 1 to 8 texts")
    if not all(isinstance(image, str) for image in images):
        raise EnvelopeNotOpened("images must be a list of 1 to 8 texts")
    return images


def _text(content: Mapping[str, object], name: str, form: re.Pattern[str]) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not form.fullmatch(value):
        raise EnvelopeNotOpened(f"{name} is malformed")
    return value


def _timestamp(content: Mapping[str, object]) -> float:
    """Seconds since 1970."""
    value = content.get("timestamp")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < _LATEST:
        raise EnvelopeNotOpened("timestamp is malformed")
    return float(value)
