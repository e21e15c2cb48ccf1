"""Whatever stands in ``data``, in an envelope's header or inside it: the answer is a refusal in the API's words."""

from __future__ import annotations

import json

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.app import Service
from tests.contract.conftest import caller
from tests.contract.devices import CLOSED, NOT_OPENED, REPLAYED, STALE, Device, device_of
from tests.fixtures.envelopes import seal, with_header

LETTERS = st.text("abcXYZ019-_", max_size=30)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "alg": st.sampled_from(["ECDH-ES", "RSA-OAEP-256", "dir"]) | VALUES,
        "enc": st.sampled_from(["A256GCM"]) | VALUES,
        "kid": LETTERS | VALUES,
        "epk": st.fixed_dictionaries({"kty": st.just("EC"), "crv": st.just("P-256"), "x": LETTERS, "y": LETTERS})
        | VALUES,
        "zip": VALUES,
    },
)
CONTENTS = st.fixed_dictionaries({}, optional=dict.fromkeys(("images", "nonce", "timestamp", "device_id"), VALUES))
MANY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
REFUSALS = {CLOSED, NOT_OPENED, STALE, REPLAYED, (222203, "image check fail"), (222001, "param[] is null")}


@pytest.fixture(scope="module")
def device(service: Service, http: httpx.Client) -> Device:
    return device_of(caller(service, http))


@MANY
@given(data=VALUES | st.lists(LETTERS, min_size=5, max_size=5).map(".".join))
def test_garbage_is_refused(device: Device, data: object) -> None:
    assert (
        device.refusal(json.loads(json.dumps(data, default=str).replace("NaN", "0").replace("Infinity", "1")))
        in REFUSALS
    )


@MANY
@given(header=HEADERS, rest=st.lists(LETTERS, min_size=4, max_size=4), ours=st.booleans())
def test_garbage_behind_a_header_is_refused(
    device: Device, header: dict[str, object], rest: list[str], *, ours: bool
) -> None:
    named = {**header, "kid": device.keys[0]["kid"]} if ours else header
    assert device.refusal(with_header(".".join(["", *rest]), named)) in REFUSALS


@MANY
@given(inside=CONTENTS | VALUES)
def test_garbage_in_an_envelope_is_refused(device: Device, inside: object) -> None:
    assert device.refusal(seal(device.keys[0], json.dumps(inside).encode())) in REFUSALS
