"""The tables of V1: every error has a code, every code says what raises it."""

from __future__ import annotations

import inspect
from collections import Counter

import pytest

from service import errors
from service.api.codes import Code, CodeTable
from service.api.v1.codes import LANDMARK_CODES, VIDEO_CODES
from service.errors import ParameterMalformed, ServiceError

ERRORS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ServiceError)]


def test_numbers_errors_and_parameters_are_given_once() -> None:
    assert max(Counter(code.number for code in VIDEO_CODES).values()) == 1
    assert max(Counter(kind for code in VIDEO_CODES for kind in code.errors).values()) == 1
    assert max(Counter(name for code in VIDEO_CODES for name in code.parameters).values()) == 1


@pytest.mark.parametrize("table", [VIDEO_CODES, LANDMARK_CODES], ids=["video", "landmark"])
@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_has_a_code(kind: type[ServiceError], table: CodeTable) -> None:
    code = table.of(kind("x"))
    assert kind.__subclasses__() or code.number != 1


@pytest.mark.parametrize("code", tuple(VIDEO_CODES), ids=lambda code: str(code.number))
def test_every_code_says_what_raises_it_or_why_nothing_does(code: Code) -> None:
    assert code.reserved == code.when.startswith("reserved: ")
    for kind in code.errors:
        assert VIDEO_CODES.of(kind("x")) is code
    for name in code.parameters:
        assert VIDEO_CODES.of(ParameterMalformed(name)) is code
