"""A device that takes pictures and seals them, as far as the server sees it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from service.api.capture_keys import PATH
from tests.contract.wire import Answer, Wire

CLOSED = (222013, "param[image] format error")
NOT_OPENED = (222950, "envelope can not be opened")
STALE = (222951, "envelope timestamp out of range")
REPLAYED = (222952, "envelope already used")

SMALL = base64.b64encode(b"no picture, and never looked at").decode()


@dataclass(frozen=True)
class Device:
    """Something that takes pictures, and the app's caller that passes its envelopes on."""

    wire: Wire
    keys: tuple[dict[str, Any], ...]

    def verify(self, data: object, **more: object) -> Answer:
        return self.wire.call("onlinePictureLiveV4", {"sdk_version": "4", "app": "android", "data": data, **more})

    def refusal(self, data: object, **more: object) -> tuple[int, str]:
        answer = self.verify(data, **more)
        return answer["error_code"], answer["error_msg"]


def device_of(wire: Wire) -> Device:
    found = keys_of(wire)
    assert sorted(key["alg"] for key in found) == ["ECDH-ES", "RSA-OAEP-256"]
    return Device(wire, tuple(found))


def keys_of(wire: Wire) -> list[dict[str, Any]]:
    answer = wire.http.get(PATH, params={"access_token": wire.token})
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, list[dict[str, Any]]] = answer.json()
    assert list(found) == ["keys"]
    return found["keys"]
