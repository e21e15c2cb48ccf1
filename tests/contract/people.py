"""A register with people in it, and questions about them as the calls take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

import pytest

from service.app import Service
from service.identity.claims import Claim, Validity
from service.values import App
from tests.contract.wire import Wire
from tests.fixtures.people import claim, number
from tests.fixtures.pictures import Pictures

NAME = "韦小宝"
TERM = {"start_date": "20160304", "end_date": "20360304"}
VALIDITY = Validity(date(2016, 3, 4), date(2036, 3, 4))
CARD = {"id_card_number": number(1), "name": NAME}

V3_CALLS = ("personVerify", "facePersonIdmatchV3")
V4_CALLS = ("faceMingJingVerify", "faceIdmatchDateV4", "faceVerifyDateV4")


@dataclass(frozen=True)
class Registered:
    """A caller whose app has a register of its own, so that tests do not meet."""

    service: Service
    wire: Wire
    app: App

    def enter(self, who: Claim, picture: bytes | None = None, validity: Validity | None = VALIDITY) -> None:
        self.service.enrolment.enter(who, validity, picture, self.app)

    def answer(self, name: str, body: dict[str, object]) -> tuple[int, str]:
        answer = self.wire.call(name, body)
        return answer["error_code"], answer["error_msg"]


@pytest.fixture
def registered(service: Service, wire: Wire) -> Registered:
    app = service.apps.by_app_id(wire.credentials.app_id)
    assert app is not None
    return Registered(service, wire, app)


@pytest.fixture
def obama(registered: Registered, pictures: Pictures) -> Registered:
    """A register with one person in it, who looks like obama.jpg."""
    registered.enter(claim(1), pictures.bytes("obama.jpg"))
    return registered


def asking(name: str, photo: Mapping[str, object], /, **changes: object) -> dict[str, object]:
    """A body that works, with changes."""
    body: dict[str, object] = {**CARD}
    if name not in ("facePersonIdmatchV3", "faceIdmatchDateV4"):
        body |= photo
    if name in ("faceIdmatchDateV4", "faceVerifyDateV4"):
        body |= TERM
    return body | changes
