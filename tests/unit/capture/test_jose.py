from __future__ import annotations

import base64
import json

import pytest

from service.capture import jose, strict_json
from service.errors import EnvelopeNotOpened
from tests.fixtures.envelopes import content, seal


def encoded(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


@pytest.mark.parametrize("algorithm", jose.ALGORITHMS)
def test_what_is_sealed_can_be_opened(algorithm: str) -> None:
    pair = jose.generate(algorithm)
    sealed = seal(pair.public, content("aGFsbG8="))
    assert jose.looks_like_jwe(sealed)
    assert jose.header_of(sealed) == jose.Header(algorithm, pair.kid)
    key = jose.load(algorithm, pair.private)
    assert json.loads(jose.decrypt(sealed, key))["images"] == ["aGFsbG8="]
    with pytest.raises(EnvelopeNotOpened):
        jose.decrypt(sealed[:-4] + "AAAA", key)


def test_published_keys_are_public() -> None:
    curve, rsa = jose.generate(jose.ECDH).public, jose.generate(jose.RSA).public
    assert set(curve) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert set(rsa) == {"kty", "n", "e", "kid", "use", "alg"}
    assert len(base64.urlsafe_b64decode(rsa["n"] + "==")) * 8 == jose.RSA_BITS


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("", False),
        ("qipE4E10qFAr9m/3U", False),
        ("....", False),
        (f"{encoded({'alg': 'none'})}.e30.", False),
        (f"{encoded({'alg': 'dir'})}.a.b.c.d", False),
        (f"{encoded(['enc'])}.a.b.c.d", False),
        (f"{encoded({'alg': 'dir', 'enc': 1})}.a.b.c.d", True),
        (f"{encoded({'alg': 'dir', 'enc': 1})}.a.b.c.d+", False),
        (f"{encoded({'alg': 'dir', 'enc': 'x' * 2000})}.a.b.c.d", False),
        (f"{encoded(b'[' * 500)}.a.b.c.d", False),
        ("AAAAA.a.b.c.d", False),
    ],
)
def test_what_is_meant_as_an_envelope(text: str, *, meant: bool) -> None:
    assert jose.looks_like_jwe(text) is meant


@pytest.mark.parametrize(
    "text", [b'{"a": 1, "a": 1}', b'{"a": NaN}', b"-Infinity", b"1" * 30, b"[" * 9999, b"\xff", b""]
)
def test_json_that_others_may_read_differently(text: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 (whatever the reason)
        strict_json.loads(text)


def test_plain_json() -> None:
    assert strict_json.loads(b'{"a": [1, -2.5e3, true, null, "\\u00e4"]}') == {"a": [1, -2500.0, True, None, "ä"]}
