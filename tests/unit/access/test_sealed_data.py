"""Data encrypted for an app is opened under its key and under no other, in one form only."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwe
from joserfc.jwk import OctKey

from examples.linkface_liveness_data import seal
from service.access.sealed_data import SealedData, SealedDataError, derive_key
from service.values import App

APP = App(1, "30000001", "test", "key", 0, None, True)
SECRET = "the secret key of an app"
PLAIN = b"\x08\x01" + bytes(100_000)


@pytest.fixture
def sealed_data() -> SealedData:
    return SealedData(lambda app: SECRET)


def _sealed(**header: str) -> bytes:
    key = OctKey.import_key(derive_key(SECRET))
    fields = {"alg": "dir", "enc": "A256GCM", **header}
    return jwe.encrypt_compact(fields, PLAIN, key, algorithms=list(fields.values())).encode()


def test_what_the_reference_encoder_seals_is_opened(sealed_data: SealedData) -> None:
    data = seal(PLAIN, SECRET).encode()
    assert sealed_data.recognises(data)
    assert sealed_data.open(APP, data) == PLAIN
    assert sealed_data.recognises(data + b"\n")
    assert sealed_data.open(APP, data + b"\n") == PLAIN


@pytest.mark.parametrize("data", [b"", PLAIN, b"eyJ", b"eyJhIjoxfQ.a.b.c.d"])
def test_anything_else_is_meant_to_be_plain(sealed_data: SealedData, data: bytes) -> None:
    assert not sealed_data.recognises(data)


def test_another_key_and_damage(sealed_data: SealedData) -> None:
    with pytest.raises(SealedDataError):
        sealed_data.open(APP, seal(PLAIN, "another").encode())
    good = seal(PLAIN, SECRET)
    with pytest.raises(SealedDataError):
        sealed_data.open(APP, (good[:200] + ("A" if good[200] != "A" else "B") + good[201:]).encode())


@pytest.mark.parametrize("header", [{"kid": "1"}, {"typ": "JWE"}, {"cty": "json"}])
def test_a_header_that_says_more_is_refused(sealed_data: SealedData, header: dict[str, str]) -> None:
    key = OctKey.import_key(derive_key(SECRET))
    data = jwe.encrypt_compact({**ALGORITHMS, **header}, PLAIN, key, algorithms=list(ALGORITHMS.values())).encode()
    assert sealed_data.recognises(data)
    with pytest.raises(SealedDataError):
        sealed_data.open(APP, data)


@pytest.mark.parametrize("header", [{"zip": "DEF"}, {"enc": "A128CBC-HS256"}])
def test_another_form_is_refused_before_it_costs_anything(sealed_data: SealedData, header: dict[str, str]) -> None:
    """Compressed data could be a million times as large as what was sent."""
    with pytest.raises(SealedDataError):
        sealed_data.open(APP, _sealed(**header))


ALGORITHMS = {"alg": "dir", "enc": "A256GCM"}
DEEP = b'{"alg":' + b"[" * 740

values: st.SearchStrategy[object] = st.one_of(
    st.sampled_from(["dir", "A256GCM", "DEF", ["alg"], {"a": 1}, [[]], None, True, 1.5, -1, ""]), st.text(max_size=5)
)
headers = st.builds(
    lambda base, more: {**base, **more},
    st.sampled_from([{}, ALGORITHMS]),
    st.dictionaries(
        st.sampled_from(["alg", "enc", "zip", "crit", "typ", "cty", "kid", "jku", "jwk", "x5u", "x5c", "x5t", "a"]),
        values,
        max_size=3,
    ),
)


def _with_header(header: bytes) -> bytes:
    parts = seal(PLAIN, SECRET).encode().split(b".")
    return b".".join([base64.urlsafe_b64encode(header).rstrip(b"="), *parts[1:]])


@given(header=headers)
def test_whatever_the_header_says_is_refused_as_data_are(header: dict[str, object]) -> None:
    """It is under the seal: with another one, even one that says the same, nothing opens."""
    data = _with_header(json.dumps(header, indent=1).encode())
    with pytest.raises(SealedDataError):
        SealedData(lambda app: SECRET).open(APP, data)


@pytest.mark.parametrize("header", [b'{"alg":"dir","enc":{"a":1}}', b"[1]", b"{}", b'{"', b'{"\xff', DEEP])
def test_a_header_of_another_kind(sealed_data: SealedData, header: bytes) -> None:
    with pytest.raises(SealedDataError):
        sealed_data.open(APP, _with_header(header))
