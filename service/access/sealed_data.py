"""Data that a caller encrypted for us under a key derived from its app's secret.

The form is a compact JWE (RFC 7516) with ``alg`` = ``dir`` and ``enc`` = ``A256GCM`` (RFC 7518), nothing else. The key
is HKDF-SHA256 (RFC 5869) of the secret key's text, without salt, 32 bytes. Both sides can derive it, so no further key
has to be exchanged. This hides the data from everything between device and server; it does not prove when it was made.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import OctKey

from service.values import App

KEY_INFO = b"aipface liveness data v1"
"""HKDF's ``info``: another purpose would get another key."""

_KEY_BYTES = 32
_HEADER = {"alg": "dir", "enc": "A256GCM"}

# Header, no encrypted key, 96-bit nonce, ciphertext, 128-bit tag.
_COMPACT = re.compile(rb"eyJ[\w-]{1,1000}\.\.[\w-]{16}\.[\w-]*\.[\w-]{22}\s*")


class SealedDataError(ValueError):
    """The data cannot be opened: it was sealed under another key, is damaged, or is another form of JWE."""


def derive_key(secret: str) -> bytes:
    """The 32-byte key of an app with this secret key."""
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=KEY_INFO).derive(secret.encode())


class SealedData:
    """Opens what was sealed under an app's key; ``secret`` returns an app's secret key."""

    def __init__(self, secret: Callable[[App], str]) -> None:
        self._secret = secret

    def recognises(self, data: bytes) -> bool:
        """Whether this has the form of sealed data; anything else is meant to be plain."""
        return _COMPACT.fullmatch(data) is not None

    def open(self, app: App, data: bytes) -> bytes:
        """The plaintext. Raises :class:`SealedDataError`."""
        registry = jwe.JWERegistry(algorithms=list(_HEADER.values()))
        registry.max_ciphertext_length = len(data)  # the request's own limit has been checked
        key = OctKey.import_key(derive_key(self._secret(app)))
        try:
            _check_header(data)
            plaintext = jwe.decrypt_compact(data.strip(), key, registry=registry).plaintext
        except (JoseError, ValueError) as error:
            raise SealedDataError(f"the encrypted data cannot be opened: {type(error).__name__}") from None
        return plaintext or b""


def _check_header(data: bytes) -> None:
    """Raise ``ValueError`` unless the header names the two algorithms and nothing else.

    Further fields could make the library do things that nobody here has thought of.
    """
    letters = data.strip().partition(b".")[0]
    try:
        header = json.loads(base64.urlsafe_b64decode(letters + b"=" * (-len(letters) % 4)))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if header != _HEADER:
        raise ValueError("the header has another form")
