"""Compact JWE (RFC 7516) as far as capture envelopes need it: two algorithms, one cipher, a header without extras.

joserfc does the cryptography. The header is read here before it gets there, because what a header may ask for
(decompression, keys fetched from addresses, algorithms of the sender's choice) is where such formats are attacked.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

from service.capture import strict_json
from service.errors import EnvelopeNotOpened

ECDH = "ECDH-ES"
RSA = "RSA-OAEP-256"
ALGORITHMS = (ECDH, RSA)
CIPHER = "A256GCM"

CURVE = "P-256"
RSA_BITS = 3072
"""As strong as the curve, by NIST SP 800-57 part 1, table 2: 128 bits."""

MAX_HEADER_LETTERS = 1024

_LETTERS = re.compile(r"[A-Za-z0-9_-]*")
_KID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PARTS = 5
_EPHEMERAL_KEY = {"kty": "EC", "crv": CURVE}

PrivateKey = ECKey | RSAKey


@dataclass(frozen=True, slots=True)
class KeyPair:
    """``public`` as a JWK (RFC 7517) that says what the key is for; ``private`` as PKCS #8 in DER."""

    kid: str
    algorithm: str
    public: Mapping[str, Any]
    private: bytes


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of an envelope may say."""

    algorithm: str
    kid: str


class _Registry(jwe.JWERegistry):
    """Pictures are larger than joserfc's default; how large a request may be is checked where it is read."""

    max_ciphertext_length = 2**30


_REGISTRY = _Registry(algorithms=[*ALGORITHMS, CIPHER])


def generate(algorithm: str) -> KeyPair:
    """A fresh key pair for one of ``ALGORITHMS``; its id is the thumbprint (RFC 7638)."""
    key: PrivateKey
    key = ECKey.generate_key(CURVE) if algorithm == ECDH else RSAKey.generate_key(RSA_BITS)
    kid = key.thumbprint()
    public = {**key.as_dict(private=False), "kid": kid, "use": "enc", "alg": algorithm}
    return KeyPair(kid, algorithm, public, key.as_der(private=True))


def load(algorithm: str, private: bytes) -> PrivateKey:
    """The private key of a pair that ``generate`` made."""
    key: PrivateKey = ECKey.import_key(private) if algorithm == ECDH else RSAKey.import_key(private)
    return key


def looks_like_jwe(text: str) -> bool:
    """Whether ``text`` is meant as a compact JWE: five parts in base64url, the first a JSON object with ``enc``."""
    parts = text.split(".")
    if len(parts) != _PARTS or not all(_LETTERS.fullmatch(part) for part in parts):
        return False
    try:
        header = _json_of(parts[0])
    except ValueError:
        return False
    return isinstance(header, dict) and "enc" in header


def header_of(text: str) -> Header:
    """The header of a compact JWE. Raises ``EnvelopeNotOpened`` for one that says anything unforeseen."""
    try:
        header = _json_of(text.partition(".")[0])
    except ValueError:
        raise EnvelopeNotOpened("the header is no JSON object") from None
    if not isinstance(header, dict):
        raise EnvelopeNotOpened("the header is no JSON object")
    algorithm, kid = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS or header.get("enc") != CIPHER:
        raise EnvelopeNotOpened("the algorithm is not allowed")
    if not isinstance(kid, str) or not _KID.fullmatch(kid):
        raise EnvelopeNotOpened("the header names no key")
    if set(header) - {"typ", "cty"} != {"alg", "enc", "kid", *(["epk"] if algorithm == ECDH else [])}:
        raise EnvelopeNotOpened("the header says what it may not say")
    if not all(isinstance(header.get(name, ""), str) for name in ("typ", "cty")):
        raise EnvelopeNotOpened("the header says what it may not say")
    if algorithm == ECDH:
        _check_ephemeral_key(header["epk"])
    return Header(algorithm, kid)


def decrypt(text: str, key: PrivateKey) -> bytes:
    """What is sealed in ``text``, whose header has been checked. Raises ``EnvelopeNotOpened``."""
    try:
        plaintext = jwe.decrypt_compact(text, key, registry=_REGISTRY).plaintext
    except (JoseError, ValueError, AssertionError) as error:
        raise EnvelopeNotOpened(type(error).__name__) from None
    if plaintext is None:  # only before decryption
        raise EnvelopeNotOpened("nothing is in it")
    return plaintext


def _check_ephemeral_key(key: object) -> None:
    """Whether the point lies on the curve is checked by the library when it reads the key."""
    if not isinstance(key, dict) or set(key) != {"kty", "crv", "x", "y"}:
        raise EnvelopeNotOpened("the ephemeral key is malformed")
    if any(not isinstance(value, str) for value in key.values()) or not _EPHEMERAL_KEY.items() <= key.items():
        raise EnvelopeNotOpened("the ephemeral key is malformed")


def _json_of(part: str) -> object:
    """Raises ``ValueError``."""
    if len(part) > MAX_HEADER_LETTERS or not _LETTERS.fullmatch(part):
        raise ValueError("no header")
    return strict_json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
