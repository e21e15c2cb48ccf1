"""What counts as an envelope, and how a call of any kind is made to take them. Opening is tested with the server."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from service.api.body import Parameters
from service.api.calls import Call
from service.api.fields import Fields
from service.api.v4.capture import IMAGE, IMAGE_LIST, IMAGE_OF_MATCH, Sealed, Slot, accepting
from service.api.v4.codes import CODES
from service.errors import EnvelopeError, ParameterMalformed, ServiceError, WrongPictureCount
from tests.fixtures.places import ROOT

ENVELOPE = f"{base64.urlsafe_b64encode(json.dumps({'alg': 'x', 'enc': 'y'}).encode()).decode().rstrip('=')}.a.b.c.d"


def parse(parameters: Parameters) -> str:
    """Of a call such as ``mingjing/verify``, which takes a name and one captured picture."""
    assert isinstance(parameters, Mapping)
    fields = Fields(parameters)
    assert ENVELOPE not in parameters.values()
    if (fields.optional_text("sec_level") or "common") != "common":
        raise ParameterMalformed("sec_level")
    return f"{fields.text('name')} {fields.text('image')[:4]}"


CALL: Call[Any, Any] = accepting(
    Call(
        path="/verify",
        name="verify",
        summary="",
        permission=None,
        parse=parse,
        run=lambda _service, _app, arguments: arguments,
        present=lambda _, outcome: outcome,
        example={},
    ),
    IMAGE,
    face=lambda _: None,
    passed=lambda _: True,
)


@pytest.mark.parametrize("slot", [IMAGE, IMAGE_LIST, IMAGE_OF_MATCH])
def test_what_counts_as_an_envelope(slot: Slot) -> None:
    says, name = {slot.mode: slot.encrypted}, slot.name
    assert slot.sealed({**says, "data": ENVELOPE}) == ENVELOPE
    assert slot.sealed({**says, "data": f" {ENVELOPE}\n", name: "plain"}) == ENVELOPE
    assert slot.sealed({"data": ENVELOPE, name: ""}) == ENVELOPE
    assert slot.sealed({"data": ENVELOPE, name: "plain"}) is None
    assert slot.sealed({"data": "", name: None}) is None
    for values in ({**says, "data": "closed"}, {"data": "closed"}, {**says, name: "plain"}, says, {"data": [ENVELOPE]}):
        with pytest.raises(ParameterMalformed, match="cannot be opened"):
            slot.sealed(values)


def test_opened_pictures_stand_where_plain_ones_do() -> None:
    sent = {"sec_level": "lite", "data": ENVELOPE, "image": "x", "image_type": "URL", "name": "y"}
    plain = {"sec_level": "common", "image": "AA==", "image_type": "BASE64", "name": "y"}
    assert IMAGE.filled(sent, ["AA=="]) == plain
    with pytest.raises(WrongPictureCount):
        IMAGE.filled(sent, ["AA==", "AA=="])
    listed = IMAGE_LIST.filled({"data": ENVELOPE, "sdk_version": 4}, ["AA==", "AQ=="])
    assert listed == {"sdk_version": "1", "image_list": ["AA==", "AQ=="]}


def test_requests_with_envelopes() -> None:
    sent = {"sec_level": "lite", "data": ENVELOPE, "name": "somebody"}
    assert CALL.parse(sent) == Sealed(ENVELOPE, sent, risk=True)
    assert CALL.parse({"image": "plain", "name": "somebody"}) == "somebody plai"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": ""}, 222001),
        ({"sec_level": "max"}, 222001),
        ({"sec_level": ["lite"]}, 222001),
        ({"risk_identify": "perhaps"}, 222001),
        ({"data": "closed"}, 222013),
        ({"data": None}, 222013),
    ],
)
def test_everything_else_is_checked_with_it(changes: dict[str, object], code: int) -> None:
    with pytest.raises(ServiceError) as failure:
        CALL.parse({"sec_level": "lite", "data": ENVELOPE, "name": "somebody", **changes})
    assert CODES.of(failure.value).number == code


@pytest.mark.parametrize(
    ("slot", "sent", "told"),
    [
        (IMAGE_OF_MATCH, {}, False),
        (IMAGE_OF_MATCH, {"risk_identify": True}, True),
        (IMAGE_OF_MATCH, {"risk_identify": "TRUE"}, True),
        (IMAGE_OF_MATCH, {"risk_identify": 1}, True),
        (IMAGE, {}, True),
        (IMAGE, {"risk_identify": ""}, True),
        (IMAGE, {"risk_identify": False}, False),
        (IMAGE, {"risk_identify": "0"}, False),
    ],
)
def test_when_risk_is_told(slot: Slot, sent: dict[str, object], *, told: bool) -> None:
    assert slot.asks_risk(sent) is told


def test_codes_of_our_own_are_documented() -> None:
    text = (ROOT / "docs" / "capture-envelope.md").read_text(encoding="utf-8")
    ours = [code for code in CODES if any(issubclass(kind, EnvelopeError) for kind in code.errors)]
    assert [code.number for code in ours] == [222950, 222951, 222952]
    for code in ours:
        assert f"| {code.number} | {code.text} |" in text
