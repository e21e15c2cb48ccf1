"""Capture envelopes through the real server: what opens, what is refused, and in which words."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from joserfc.jwk import ECKey

from service.api.capture_keys import PATH
from service.app import Service
from tests.contract.conftest import caller
from tests.contract.devices import CLOSED, NOT_OPENED, REPLAYED, SMALL, STALE, Device, device_of, keys_of
from tests.contract.test_recognition import Photos, photos
from tests.fixtures.envelopes import content, seal, with_header

__all__ = ["photos"]


@pytest.fixture(scope="module")
def device(service: Service, http: httpx.Client) -> Device:
    return device_of(caller(service, http))


@pytest.fixture(scope="module")
def stranger(service: Service, http: httpx.Client) -> Device:
    """A device of another app."""
    return device_of(caller(service, http))


# --- keys -------------------------------------------------------------------------------------------------------------


def test_keys_are_public_ones_and_stay(device: Device) -> None:
    curve, rsa = device.keys
    assert set(curve) == {"kty", "crv", "x", "y", "kid", "use", "alg"}
    assert set(rsa) == {"kty", "n", "e", "kid", "use", "alg"}
    assert {key["use"] for key in device.keys} == {"enc"}
    assert tuple(keys_of(device.wire)) == device.keys


def test_each_app_has_keys_of_its_own(device: Device, stranger: Device) -> None:
    assert not {key["kid"] for key in device.keys} & {key["kid"] for key in stranger.keys}


def test_keys_are_for_callers_who_are_known(http: httpx.Client) -> None:
    for query, code in (({}, 100), ({"access_token": "24.x.2592000.1.282335-30000001"}, 110)):
        assert http.get(PATH, params=query).json()["error_code"] == code


# --- what opens -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["ECDH-ES", "RSA-OAEP-256"])
def test_faceverify(device: Device, photos: Photos, algorithm: str) -> None:
    (key,) = (key for key in device.keys if key["alg"] == algorithm)
    images = [str(photos["obama"]["image"]), str(photos["obama2"]["image"])]
    answer = device.verify(seal(key, content(*images)), face_field="age", risk_identify="false")
    assert answer["error_code"] == 0, answer
    assert answer["dec_image"] == images
    plain = device.wire.result("onlinePictureLiveV4", {"image_list": images, "face_field": "age"})
    assert answer["result"] == plain
    assert list(answer)[6:] == ["dec_image"]


def test_match(device: Device, photos: Photos) -> None:
    image, register = str(photos["obama"]["image"]), str(photos["obama2"]["image"])
    sent = {"app": "ios", "sec_level": "lite", "skey": "x", "x_device_id": "y", "image_type": "BASE64"}
    sent |= {"register_image": register, "register_image_type": "BASE64"}
    answer = device.wire.call("faceMingJingMatch", {**sent, "data": seal(device.keys[0], content(image))})
    plain = device.wire.result(
        "faceMingJingMatch",
        {"image": image, "image_type": "BASE64", "register_image": register, "register_image_type": "BASE64"},
    )
    assert answer["result"] == plain
    assert answer["dec_image"] == image
    assert list(answer)[6:] == ["dec_image"]
    two = {**sent, "data": seal(device.keys[0], content(image, image))}
    assert device.wire.code("faceMingJingMatch", two) == 222208


def test_data_without_pictures_is_enough(device: Device, photos: Photos) -> None:
    sent = {"data": seal(device.keys[0], content(str(photos["obama"]["image"])))}
    assert device.wire.call("onlinePictureLiveV4", sent)["error_code"] == 0


def test_beside_plain_pictures_nothing_is_opened(device: Device, photos: Photos) -> None:
    sealed = seal(device.keys[0], content(str(photos["biden"]["image"])))
    answer = device.wire.call("onlinePictureLiveV4", {"image_list": [photos["obama"]["image"]], "data": sealed})
    assert (answer["error_code"], list(answer)[6:]) == (0, [])
    assert device.verify(sealed)["error_code"] == 0  # and was not used up


def test_optional_members_of_the_header(device: Device, photos: Photos) -> None:
    sealed = seal(device.keys[0], content(str(photos["obama"]["image"])), typ="JWE", cty="application/json")
    assert device.verify(sealed)["error_code"] == 0


# --- what is refused --------------------------------------------------------------------------------------------------


def test_the_vendor_s_own_encryption_is_refused(device: Device) -> None:
    for data in ("qipE4E10qFAr9m/3U", "a.b.c", "a.b.c.d.e", "....", "x" * 100_000, ["a"], {"a": 1}, 7, None, ""):
        assert device.refusal(data) == CLOSED, data
    jws = ".".join([base64.urlsafe_b64encode(b'{"alg":"none"}').decode().rstrip("="), "e30", ""])
    assert device.refusal(jws) == CLOSED


def test_keys_that_are_not_the_app_s(device: Device, stranger: Device) -> None:
    inside = content(SMALL)
    for theirs in stranger.keys:
        assert device.refusal(seal(theirs, inside)) == NOT_OPENED
        assert stranger.refusal(seal(theirs, {**inside, "nonce": theirs["kid"]})) == (222203, "image check fail")
    fresh = ECKey.generate_key("P-256").as_dict(private=False)
    forged = {**device.keys[0], "x": fresh["x"], "y": fresh["y"]}
    assert device.refusal(seal(forged, inside)) == NOT_OPENED
    assert device.refusal(seal(device.keys[0], inside, kid="unknown")) == NOT_OPENED


@pytest.mark.parametrize("part", range(5))
def test_tampering(device: Device, part: int) -> None:
    for key in device.keys:
        parts = seal(key, content(SMALL)).split(".")
        changed = parts[part]
        at = len(changed) // 2
        parts[part] = changed[:at] + ("A" if changed[at : at + 1] != "A" else "B") + changed[at + 1 :]
        assert device.refusal(".".join(parts)) in (NOT_OPENED, CLOSED)  # CLOSED: the header is no JSON any more


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "RSA1_5"},
        {"alg": "RSA-OAEP"},
        {"enc": "A128GCM"},
        {"enc": "A128CBC-HS256"},
        {"zip": "DEF"},
        {"kid": None},
        {"kid": 7},
        {"kid": "\ud800"},
        {"kid": "a\0b"},
        {"jku": "https://example.org/keys"},
        {"crit": ["exp"], "exp": 1},
        {"typ": 1},
        {"apu": "QQ"},
    ],
    ids=str,
)
def test_headers_that_are_not_allowed(device: Device, header: dict[str, object]) -> None:
    rsa = device.keys[1]
    sealed = (
        seal(rsa, content(SMALL)) if {"crit", "kid", "typ"} & header.keys() else seal(rsa, content(SMALL), **header)
    )
    changed = {"alg": rsa["alg"], "enc": "A256GCM", "kid": rsa["kid"], **header}
    assert device.refusal(with_header(sealed, changed)) == NOT_OPENED
    assert device.refusal(sealed) in (NOT_OPENED, (222203, "image check fail"))


@pytest.mark.parametrize("algorithm", ["none", "dir", "A256KW", "ECDH-ES+A128KW", "PBES2-HS256+A128KW", "", None, 1])
def test_other_algorithms(device: Device, algorithm: object) -> None:
    sealed = seal(device.keys[1], content(SMALL))
    header = {"alg": algorithm, "enc": "A256GCM", "kid": device.keys[1]["kid"], "p2c": 2**31}
    assert device.refusal(with_header(sealed, header)) == NOT_OPENED


def test_a_key_serves_its_own_algorithm_alone(device: Device) -> None:
    curve, rsa = device.keys
    for sealed, kid in ((seal(curve, content(SMALL)), rsa["kid"]), (seal(rsa, content(SMALL)), curve["kid"])):
        header = json.loads(base64.urlsafe_b64decode(sealed.split(".")[0] + "=="))
        assert device.refusal(with_header(sealed, {**header, "kid": kid})) == NOT_OPENED


def test_names_given_twice(device: Device) -> None:
    rsa = device.keys[1]
    header = json.dumps({"alg": rsa["alg"], "enc": "A256GCM", "kid": rsa["kid"]})
    twice = header.replace('{"alg"', '{"alg": "dir", "alg"')
    assert device.refusal(with_header(seal(rsa, content(SMALL)), twice.encode())) in (NOT_OPENED, CLOSED)
    inside = json.dumps(content(SMALL)).replace('{"images"', '{"images": [], "images"')
    assert device.refusal(seal(rsa, inside.encode())) == NOT_OPENED


@pytest.mark.parametrize(
    "point",
    [
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43},
        {"kty": "EC", "crv": "P-384", "x": "A" * 64, "y": "A" * 64},
        {"kty": "EC", "crv": "P-256", "x": "A" * 43},
        {"kty": "OKP", "crv": "X25519", "x": "A" * 43},
        {"kty": "EC", "crv": "P-256", "x": 1, "y": 2},
        "point",
        None,
    ],
    ids=str,
)
def test_ephemeral_keys_that_are_none(device: Device, point: object) -> None:
    curve = device.keys[0]
    header = {"alg": curve["alg"], "enc": "A256GCM", "kid": curve["kid"], "epk": point}
    assert device.refusal(with_header(seal(curve, content(SMALL)), header)) == NOT_OPENED


@pytest.mark.parametrize(
    "inside",
    [
        b"",
        b"no JSON",
        b"[]",
        b"\xff\xfe{",
        b"[" * 100_000,
        b'{"timestamp": ' + b"9" * 5000 + b"}",
        {"images": []},
        {"images": [SMALL] * 9},
        *({name: None} for name in ("images", "nonce", "timestamp", "device_id")),
        {"images": SMALL},
        {"images": [1]},
        {"nonce": "short"},
        {"nonce": "x" * 129},
        {"nonce": "with a blank, and more"},
        {"timestamp": "now"},
        {"timestamp": True},
        {"timestamp": -1},
        {"timestamp": 10**300},
        {"timestamp": float("nan")},
        {"device_id": ""},
        {"device_id": "x" * 129},
        {"device_id": "a\0b"},
        {"device_id": 7},
    ],
    ids=lambda inside: str(inside)[:40],
)
def test_contents_that_are_none(device: Device, inside: dict[str, Any] | bytes) -> None:
    """The whole content, or what is changed of a good one."""
    whole = inside if isinstance(inside, bytes) else content(SMALL, **inside)
    assert device.refusal(seal(device.keys[0], whole)) == NOT_OPENED


def test_pictures_in_it_that_are_none(device: Device) -> None:
    assert device.refusal(seal(device.keys[0], content("!!!!"))) == CLOSED
    assert device.refusal(seal(device.keys[0], content(""))) == CLOSED
    assert device.refusal(seal(device.keys[0], content(SMALL))) == (222203, "image check fail")


def test_what_is_too_big(device: Device) -> None:
    huge = content(base64.b64encode(bytes(8 * 2**20)).decode())
    assert device.refusal(seal(device.keys[0], huge)) == CLOSED  # the body is refused unread
    many = content(*[base64.b64encode(bytes(2**20)).decode()] * 3)
    assert device.refusal(seal(device.keys[0], many)) == (222203, "image check fail")  # opened, and looked at


def test_other_parameters_are_checked_before_the_envelope(device: Device) -> None:
    sealed = seal(device.keys[0], content(SMALL))
    assert device.refusal(sealed, face_field="colour")[0] == 222017
    assert device.refusal(sealed, risk_identify="perhaps")[0] == 222001
    assert device.refusal(sealed)[0] == 222203  # its nonce was still good
    assert device.refusal(sealed) == REPLAYED


# --- once, and soon ---------------------------------------------------------------------------------------------------


def test_an_envelope_works_once(device: Device, stranger: Device) -> None:
    inside = content(SMALL)
    assert device.refusal(seal(device.keys[0], inside))[0] == 222203
    assert device.refusal(seal(device.keys[1], inside)) == REPLAYED  # sealed anew: the nonce counts
    assert stranger.refusal(seal(stranger.keys[0], inside))[0] == 222203  # nonces are the app's own


def test_of_many_at_once_one_wins(device: Device) -> None:
    sealed = seal(device.keys[0], content(SMALL))
    together = threading.Barrier(8)

    def send(_: int) -> int:
        together.wait()
        return device.refusal(sealed)[0]

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(send, range(8)))
    assert sorted(codes) == [222203] + [222952] * 7


@pytest.mark.parametrize("offset", [-400, 400])
def test_old_ones_and_ones_from_the_future(device: Device, offset: int) -> None:
    inside = content(SMALL, timestamp=time.time() + offset)
    assert device.refusal(seal(device.keys[0], inside)) == STALE
    assert device.refusal(seal(device.keys[0], inside)) == STALE
    assert (
        device.refusal(seal(device.keys[0], {**inside, "timestamp": time.time()})) == REPLAYED
    )  # used up all the same


# --- rotation ---------------------------------------------------------------------------------------------------------


def test_rotation(service: Service, http: httpx.Client) -> None:
    wire = caller(service, http)
    app = service.apps.by_app_id(wire.credentials.app_id)
    assert app is not None
    device = device_of(wire)
    service.envelope_keys.rotate(app)
    renewed = device_of(wire)
    assert not {key["kid"] for key in device.keys} & {key["kid"] for key in renewed.keys}
    assert device.refusal(seal(device.keys[0], content(SMALL)))[0] == 222203
    assert device.refusal(seal(renewed.keys[0], content(SMALL)))[0] == 222203
    service.envelope_keys.rotate(app, at_once=True)
    for old in (*device.keys, *renewed.keys):
        assert device.refusal(seal(old, content(SMALL))) == NOT_OPENED
    assert device.refusal(seal(device_of(wire).keys[0], content(SMALL)))[0] == 222203


# --- what is left behind ----------------------------------------------------------------------------------------------


def test_logs_hold_no_picture_and_no_device(device: Device, photos: Photos, caplog: pytest.LogCaptureFixture) -> None:
    image = str(photos["obama"]["image"])
    inside = content(image, device_id="device-of-somebody")
    with caplog.at_level(logging.DEBUG):
        assert device.verify(seal(device.keys[0], inside))["error_code"] == 0
        assert device.refusal(seal(device.keys[0], inside)) == REPLAYED
    assert "onlinePictureLiveV4" in caplog.text + str([vars(record) for record in caplog.records])
    written = "\n".join(str(vars(record)) for record in caplog.records)
    assert image[1000:1040] not in written
    assert "device-of-somebody" not in written
    assert str(inside["nonce"]) not in written
