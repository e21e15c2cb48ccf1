from __future__ import annotations

import inspect
from collections import Counter

import pytest

from service import errors
from service.api.calls import Call
from service.api.codes import Code
from service.api.v2.codes import CODES
from service.api.v2.routes import CALLS
from service.errors import ParameterMalformed, ParameterMissing, ParameterTooLong, ServiceError, UserAlreadyInGroup
from tests.fixtures.places import ROOT

INTERNAL = 216401


def every_error() -> list[type[ServiceError]]:
    found = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ServiceError)]
    assert len(found) > 30
    return found


def test_numbers_are_given_once_but_for_the_one_of_the_samples() -> None:
    assert {number for number, count in Counter(code.number for code in CODES).items() if count > 1} == {216100}


def test_errors_and_parameters_have_one_code_each() -> None:
    assert max(Counter(kind for code in CODES for kind in code.errors).values()) == 1
    assert max(Counter(name for code in CODES for name in code.parameters).values()) == 1


@pytest.mark.parametrize("kind", every_error())
def test_every_error_has_a_code_of_its_own_making(kind: type[ServiceError]) -> None:
    code = CODES.of(kind("x"))
    assert code.text
    if not kind.__subclasses__():
        assert code.number != INTERNAL, f"{kind.__name__} would be answered as an internal error"


@pytest.mark.parametrize("code", tuple(CODES), ids=lambda code: f"{code.number}-{code.text}")
def test_every_code_says_what_raises_it_or_why_nothing_does(code: Code) -> None:
    assert code.reserved == code.when.startswith("reserved: ")
    assert len(code.when) > len("reserved: ")
    for kind in code.errors:
        assert CODES.of(kind("x")) is code
    for name in code.parameters:
        assert CODES.of(ParameterMalformed(name)) is code
        assert CODES.of(ParameterMissing(name)).number == 216101
        assert CODES.of(ParameterTooLong(name)).number == 216103


def test_texts_of_the_samples() -> None:
    texts = {code.number: code.text for code in CODES if code.number != 216100}
    assert texts[216612] == "user not exist"
    assert texts[216616] == "image exist"
    assert texts[216619] == "user must be in one group at least"
    assert CODES.of(UserAlreadyInGroup()).text == "already add"


def test_gateway_codes_are_those_of_the_table_and_of_access() -> None:
    assert {code.number for code in CODES if code.of_gateway} == {2, 3, 4, 6, 13, 14, 17, 18, 19, 100, 110, 111}


def documented_rows() -> list[str]:
    return (ROOT / "docs" / "v2.md").read_text(encoding="utf-8").splitlines()


def test_every_code_is_documented() -> None:
    """Mend it by writing the row that is missing into the table of docs/v2.md."""
    rows = [row for row in documented_rows() if row.startswith("| ") and row[2].isdigit()]
    assert rows == [f"| {code.number} | {code.text} | {code.when} |" for code in CODES]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: str(call.name))
def test_every_call_is_documented_with_its_permission(call: Call[object, object]) -> None:
    assert any(row.startswith(f"| `{call.path}` | `{call.permission}` |") for row in documented_rows())
