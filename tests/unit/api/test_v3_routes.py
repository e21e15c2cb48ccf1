from __future__ import annotations

import inspect

import pytest
from aip import AipFace

from service.access.permissions import PERMISSIONS
from service.api.calls import Call
from service.api.v3 import person, routes

CALLS = (*routes.CALLS, *person.CALLS)


def sdk_addresses() -> set[str]:
    """Paths of V3 that the official Python SDK calls."""
    prefix = "https://aip.baidubce.com"
    found = [value for _, value in inspect.getmembers(AipFace) if isinstance(value, str)]
    return {value.removeprefix(prefix) for value in found if value.startswith(f"{prefix}/rest/2.0/face/v3/")}


def test_every_v3_call_of_the_sdk_has_a_route() -> None:
    assert sdk_addresses() <= {call.path for call in CALLS}
    assert len(CALLS) == 18


@pytest.mark.parametrize("call", CALLS, ids=lambda call: str(call.name))
def test_calls_are_complete(call: Call[object, object]) -> None:
    assert hasattr(AipFace, call.name)
    assert call.permission in PERMISSIONS
    assert call.path.endswith(call.permission)
    assert call.summary.endswith(".")
    assert call.parse(call.example if not isinstance(call.example, list) else list(call.example)) is not None  # type: ignore[arg-type]


def test_each_call_has_a_permission_of_its_own() -> None:
    assert sorted(str(call.permission) for call in CALLS) == sorted(
        name for name in PERMISSIONS if not name.startswith(("v1/", "v4/"))
    )
