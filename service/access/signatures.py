"""Requests signed with an API key and its secret: the cloud's ``bce-auth-v1``.

``Authorization: bce-auth-v1/<key>/<timestamp>/<seconds valid>/<signed headers>/<signature>`` with

* signing key = hex HMAC-SHA256(secret, everything up to and including the seconds),
* signature = hex HMAC-SHA256(signing key, canonical request),
* canonical request = method, encoded path, sorted encoded query, sorted encoded ``name:value`` lines of the signed
  headers, joined by line feeds.

The official clients agree on that and differ in details: whether the host carries the port, how a blank of the query
is encoded, whether the path is encoded again. Each reading that one of them uses is tried, and all are compared in
constant time. A reading can only ever match a signature made with the secret, so trying several gives nothing away.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import product
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from service.errors import SignatureInvalid

SCHEME = "bce-auth-v1"

CLOCK_SKEW_SECONDS = 300
"""How far a client's clock may run ahead of ours. A clock that runs behind only makes its signatures expire sooner."""

MAX_VALIDITY_SECONDS = 86_400
"""A signature is good for a day at most, whatever it says; the official clients ask for 1200 or 1800 seconds."""

HALF_A_DAY = 43_200

DEFAULT_SIGNED_HEADERS = frozenset({"host", "content-length", "content-type", "content-md5"})
"""Headers that count as signed when the list of signed headers is empty: those of these that were sent, and every
``x-bce-*``."""

_CUSTOM_PREFIX = "x-bce-"
_TIMESTAMP = "%Y-%m-%dT%H:%M:%SZ"
_SIGNATURE = re.compile(r"[0-9a-f]{64}")
_SECONDS = re.compile(r"[0-9]{1,9}")
_MAX_SIGNED_HEADERS = 32


@dataclass(frozen=True, slots=True)
class Authorization:
    """A parsed ``Authorization`` header. ``signed_headers`` is lower case and empty for "the default set"."""

    access_key: str
    timestamp: str
    seconds: int
    signed_headers: tuple[str, ...]
    signature: str

    @property
    def prefix(self) -> str:
        """What the signing key is derived from."""
        return f"{SCHEME}/{self.access_key}/{self.timestamp}/{self.seconds}"


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A request as it arrived: nothing decoded. Header names in lower case; ``query`` without its ``?``."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


def is_signed(authorization: str | None) -> bool:
    """Whether an ``Authorization`` header is of this scheme."""
    return authorization is not None and authorization.lstrip().startswith(SCHEME + "/")


def parse(header: str) -> Authorization:
    """Take the header apart. Raises ``SignatureInvalid``."""
    parts = header.strip().split("/")
    if len(parts) != 6 or parts[0] != SCHEME:
        raise SignatureInvalid
    _, access_key, timestamp, seconds, names, signature = parts
    if not access_key or not _SECONDS.fullmatch(seconds) or seconds != str(int(seconds)):
        raise SignatureInvalid
    signed = tuple(name.strip().lower() for name in names.split(";") if name.strip())
    if len(signed) > _MAX_SIGNED_HEADERS:
        raise SignatureInvalid
    return Authorization(access_key, timestamp, int(seconds), signed, signature.lower())


def verify(
    authorization: Authorization,
    request: SignedRequest,
    secret: str | None,
    now: float,
    content: Callable[[], bytes] | None = None,
) -> None:
    """Check signature and time window; ``now`` in unix seconds. Raises ``SignatureInvalid``.

    ``content`` returns the request's body, ``None`` stands for a body that nobody will look at. It is called only where
    the time window depends on the body.

    ``secret`` is ``None`` for an unknown key: the same work is done and the same error raised, so that answer and
    time do not tell unknown keys from wrong signatures.
    """
    names = _signed_names(authorization, request)
    signing_key = _hmac_hex((secret or "").encode(), authorization.prefix)
    given = authorization.signature.encode()
    matches = [
        hmac.compare_digest(given, _hmac_hex(signing_key.encode(), text).encode())
        for text in _canonical_requests(request, names)
    ]
    if not any(matches) or not secret or not _in_window(authorization, request, now, content):
        raise SignatureInvalid


def _signed_names(authorization: Authorization, request: SignedRequest) -> list[str]:
    """Names of the signed headers. The host must be one of them, or the request could be replayed to another server."""
    if authorization.signed_headers:
        names = list(authorization.signed_headers)
        if any(name not in request.headers for name in names):
            raise SignatureInvalid
    else:
        names = [name for name in request.headers if name in DEFAULT_SIGNED_HEADERS or name.startswith(_CUSTOM_PREFIX)]
    if "host" not in names or not _SIGNATURE.fullmatch(authorization.signature):
        raise SignatureInvalid
    return names


def _in_window(
    authorization: Authorization, request: SignedRequest, now: float, content: Callable[[], bytes] | None
) -> bool:
    try:
        issued = datetime.strptime(authorization.timestamp, _TIMESTAMP).replace(tzinfo=timezone.utc)
    except ValueError:
        return False
    if _is_open(issued.timestamp(), authorization, now):
        return True
    other = _twelve_hour_reading(authorization, request, issued)
    if other is None or not _is_open(other, authorization, now):
        return False
    return content is None or _is_md5(request.headers["content-md5"], content())


def _is_open(start: float, authorization: Authorization, now: float) -> bool:
    valid = min(authorization.seconds, MAX_VALIDITY_SECONDS)
    return start - CLOCK_SKEW_SECONDS <= now <= start + valid


def _twelve_hour_reading(authorization: Authorization, request: SignedRequest, issued: datetime) -> float | None:
    """The other moment that a Java client's timestamp may mean.

    All its releases write the hour with the pattern ``hh``, 01 to 12, so that 15:00 is sent as 03:00 and half past
    midnight as 12:30. Such a request is told by its empty list of signed headers, by the ``Content-MD5`` that ties it
    to its body, and by an ``x-bce-date`` that repeats the timestamp.
    """
    headers = request.headers
    if authorization.signed_headers or "content-md5" not in headers:
        return None
    if headers.get("x-bce-date") == authorization.timestamp and 1 <= issued.hour <= 12:
        return issued.timestamp() + (-HALF_A_DAY if issued.hour == 12 else HALF_A_DAY)
    return None


def _is_md5(told: str, content: bytes) -> bool:
    """Whether a ``Content-MD5`` is right, in hexadecimal (Java clients) or in base64 (RFC 1864)."""
    digest = hashlib.md5(content, usedforsecurity=False)
    return told.strip().lower() == digest.hexdigest() or told.strip() == base64.b64encode(digest.digest()).decode()


def _canonical_requests(request: SignedRequest, names: Iterable[str]) -> Iterator[str]:
    """Every reading of the request that an official client signs."""
    for path, query, headers in product(
        _paths(request.path), _queries(request.query), _header_blocks(request.headers, list(names))
    ):
        yield f"{request.method.upper()}\n{path}\n{query}\n{headers}"


def _paths(raw: str) -> set[str]:
    """As sent; and decoded, then encoded with only ``/`` and unreserved characters left (RFC 3986)."""
    return {raw, quote(unquote(raw), safe="/")}


def _queries(raw: str) -> set[str]:
    """As sent; and each part decoded and encoded anew, a blank as ``%20`` or, by the Python client, as ``+``."""
    pairs = [pair.partition("=") for pair in raw.split("&") if pair]
    signed = [(name, value) for name, _, value in pairs if unquote(name).lower() != "authorization"]
    if not signed:
        return {""}
    encoded = [(unquote_plus(name), unquote_plus(value)) for name, value in signed]
    return {
        "&".join(sorted(f"{name}={value}" for name, value in signed)),
        "&".join(sorted(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in encoded)),
        "&".join(sorted(f"{quote_plus(name)}={quote_plus(value)}" for name, value in encoded)),
    }


def _header_blocks(headers: Mapping[str, str], names: list[str]) -> set[str]:
    """With the host as sent, and without its port: some clients send the port and sign the bare name."""
    blocks = set()
    for host in {headers["host"], _without_port(headers["host"])}:
        values = {**{name: headers[name] for name in names}, "host": host}
        lines = sorted(f"{quote(name, safe='')}:{quote(value.strip(), safe='')}" for name, value in values.items())
        blocks.add("\n".join(lines))
    return blocks


def _without_port(host: str) -> str:
    return re.sub(r":[0-9]+$", "", host)


def _hmac_hex(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
