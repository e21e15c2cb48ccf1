"""Parameters of Linkface, from the query and from a form, multipart or JSON body; the body wins."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from service.api import forms, multipart
from service.api.body import BODY, JSON_BEGINNINGS, Received, unmarked
from service.api.linkface.codes import Refusal
from service.errors import ParameterMalformed
from service.images.inline import decode_base64

SELFIE = ("selfie_file", "selfie_url", "selfie_image_id")
LIVENESS_DATA = ("liveness_data_file", "liveness_data_url", "liveness_data_id")

MAX_FILE_BYTES = 20 * 2**20
"""Largest file sent as base64 text; the limit of the whole body applies before it."""

_ADDRESS = re.compile(r"\s*https?://", re.IGNORECASE)
# Encrypted data are text as they are; base64 has no dots.
_ENCRYPTED = re.compile(r"\s*eyJ[\w-]+\.")
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_MOST_FIELDS = 100

Values = Mapping[str, "str | bytes"]
"""Parameters by name; ``bytes`` is the content of a multipart file, whatever it holds."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file by its content, its address or the id of an earlier one; ``name`` is the parameter that it came in."""

    name: str
    data: bytes = b""
    url: str | None = None
    upload_id: str | None = None


@dataclass(frozen=True, slots=True)
class SelfieRequest:
    """``auto_rotate`` is checked and changes nothing: faces are found in every orientation anyway."""

    selfie: Upload
    liveness_data: Upload
    auto_rotate: bool


def values(query: bytes, content_type: str, received: Received) -> Values:
    """Everything that was sent, empty parameters left out. Raises ``Refusal``."""
    if received.too_large:
        raise Refusal("IMAGE_FILE_SIZE_TOO_BIG", image=SELFIE[0], reason="the body is too large")
    try:
        sent: dict[str, str | bytes] = {**_form(query), **_body(content_type, received.content)}
    except UnicodeDecodeError:
        raise Refusal("ENCODING_ERROR") from None
    except ParameterMalformed as error:
        raise Refusal("INVALID_ARGUMENT", reason=str(error)) from None
    except ValueError as error:
        raise Refusal("INVALID_ARGUMENT", reason=f"body: {error}") from None
    return {name: value for name, value in sent.items() if value}


def text(sent: Values, name: str) -> str:
    """A parameter as text, "" when it was not sent. Raises ``Refusal``."""
    value = sent.get(name, "")
    if isinstance(value, str):
        return value.strip()
    try:
        return value.decode().strip()
    except UnicodeDecodeError:
        raise Refusal("ENCODING_ERROR", reason=f"{name} is not UTF-8") from None


def selfie_request(sent: Values) -> SelfieRequest:
    """Raises ``Refusal`` naming the parameter."""
    rotate = text(sent, "selfie_auto_rotate").lower() or "false"
    if rotate not in _BOOLEANS:
        raise Refusal("INVALID_ARGUMENT", reason="selfie_auto_rotate is neither true nor false")
    return SelfieRequest(_upload(sent, SELFIE), _upload(sent, LIVENESS_DATA), _BOOLEANS[rotate])


def _upload(sent: Values, names: tuple[str, str, str]) -> Upload:
    given = [name for name in names if name in sent]
    if len(given) != 1:
        raise Refusal("INVALID_ARGUMENT", reason=f"exactly one of {', '.join(names)} is needed")
    (name,) = given
    value = sent[name]
    if name == names[2]:
        return Upload(name, upload_id=text(sent, name))
    if name == names[1]:
        return Upload(name, url=text(sent, name))
    # Some callers put an address where the file belongs, and JSON can carry a file only as base64 text.
    if isinstance(value, str):
        if _ADDRESS.match(value):
            return Upload(name, url=value.strip())
        return Upload(name, value.strip().encode() if _ENCRYPTED.match(value) else _base64(name, value))
    address = len(value) < 4096 and value.isascii() and _ADDRESS.match(value.decode())
    return Upload(name, url=value.decode().strip()) if address else Upload(name, value)


def _base64(name: str, value: str) -> bytes:
    try:
        return decode_base64(value, MAX_FILE_BYTES)
    except ParameterMalformed:
        raise Refusal("INVALID_ARGUMENT", reason=f"{name} is neither a file nor base64") from None


def _body(content_type: str, content: bytes) -> Mapping[str, str | bytes]:
    boundary = multipart.boundary_of(content_type)
    if boundary is not None:
        return multipart.parse(content, boundary)
    sent = unmarked(content)
    if not sent.startswith(JSON_BEGINNINGS):
        return _form(sent.rstrip())
    decoded = orjson.loads(sent.decode())
    if isinstance(decoded, str):
        decoded = orjson.loads(decoded)
    if not isinstance(decoded, dict):
        raise ParameterMalformed(BODY, "not an object")
    return {name: _word(name, value) for name, value in decoded.items()}


def _word(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, str | int | float):
        return "" if value is None else str(value)
    raise ParameterMalformed(name)


def _form(content: bytes) -> dict[str, str]:
    return dict(forms.pairs(content, _MOST_FIELDS))
