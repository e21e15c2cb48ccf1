from __future__ import annotations

import inspect
import json

import pytest
from aip import AipFace

from service.access.permissions import PERMISSIONS
from service.api.calls import Call
from service.api.envelope import Stamp
from service.api.v4.codes import CODES
from service.api.v4.responses import Envelope
from service.api.v4.routes import CALLS, PREFIX
from service.errors import FaceNotFound, ParameterMalformed, TokenMissing
from tests.fixtures.places import ROOT

STAMP = Stamp(log_id=1370585066551377920, timestamp=1535533440)


def sdk_addresses() -> set[str]:
    """Paths of V4 that the official Python SDK calls."""
    cloud = "https://aip.baidubce.com"
    found = [value for _, value in inspect.getmembers(AipFace) if isinstance(value, str)]
    return {value.removeprefix(cloud) for value in found if value.startswith(f"{cloud}{PREFIX}/")}


def test_every_v4_call_of_the_sdk_has_a_route() -> None:
    assert sdk_addresses() == {call.path for call in CALLS}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: str(call.name))
def test_calls_are_complete(call: Call[object, object]) -> None:
    assert hasattr(AipFace, call.name)
    assert call.permission in PERMISSIONS
    assert call.path == f"{PREFIX}/{str(call.permission).removeprefix('v4/')}"
    assert call.summary.endswith(".")
    assert isinstance(call.example, dict)
    assert call.parse(call.example) is not None


def test_each_call_has_a_permission_of_its_own() -> None:
    assert sorted(str(call.permission) for call in CALLS) == sorted(
        name for name in PERMISSIONS if name.startswith("v4/")
    )


@pytest.mark.parametrize("call", CALLS, ids=lambda call: str(call.name))
def test_every_call_is_documented_with_its_permission(call: Call[object, object]) -> None:
    rows = (ROOT / "docs" / "v4.md").read_text(encoding="utf-8").splitlines()
    assert any(row.startswith(f"| `{call.path}` | `{call.permission}` |") for row in rows)


def test_the_envelope() -> None:
    assert Envelope().success({"score": 1}, STAMP) == (
        b'{"error_code":0,"error_msg":"SUCCESS","log_id":1370585066551377920,"timestamp":1535533440,"cached":0,'
        b'"result":{"score":1}}'
    )
    failed = json.loads(Envelope().failure(FaceNotFound(), STAMP))
    assert (failed["error_code"], failed["error_msg"], failed["result"]) == (222202, "pic not has face", None)
    assert json.loads(Envelope().failure(TokenMissing(), STAMP)) == {
        "error_code": 100,
        "error_msg": "Invalid parameter",
    }


def test_what_the_vendor_encrypted_has_no_readable_form() -> None:
    code = CODES.of(ParameterMalformed("data"))
    assert (code.number, code.text) == (222013, "param[image] format error")


def test_numbers_and_parameters_are_given_once() -> None:
    numbers = [code.number for code in CODES]
    parameters = [name for code in CODES for name in code.parameters]
    assert len(numbers) == len(set(numbers))
    assert len(parameters) == len(set(parameters))
