from __future__ import annotations

import inspect
import re
from collections import Counter

import pytest

from service import errors
from service.api.codes import Code, CodeTable
from service.api.v3.codes import CODES
from service.errors import ParameterMalformed, ParameterMissing, ServiceError
from tests.fixtures.places import SHARED

SEED = SHARED / "seeds" / "v3-v4-python-sdk.txt"
"""The vendor's document, which the product does not carry."""


def vendors_table(text: str) -> dict[int, str]:
    """The error table: rows may break inside a text, which counts as one blank."""
    table = text[text.index("服务端返回的错误码") :]
    rows = re.findall(r"^(\d{1,6}) \|([^|]*)\|", table, flags=re.MULTILINE)
    return {int(number): re.sub(r"\s+", " ", words).strip() for number, words in rows}


def every_error() -> list[type[ServiceError]]:
    found = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, ServiceError)]
    assert len(found) > 30
    return found


def test_the_table_is_the_vendor_s() -> None:
    if not SEED.is_file():
        pytest.skip(f"the vendor's documents are not at hand: {SEED}")
    ours = {code.number: code.text for code in CODES if code.documented}
    assert ours == vendors_table(SEED.read_text(encoding="utf-8"))


def test_numbers_are_given_once() -> None:
    assert max(Counter(code.number for code in CODES).values()) == 1
    assert len(list(CODES)) == 104


def test_errors_and_parameters_have_one_code_each() -> None:
    assert max(Counter(kind for code in CODES for kind in code.errors).values()) == 1
    assert max(Counter(name for code in CODES for name in code.parameters).values()) == 1


@pytest.mark.parametrize("kind", every_error())
def test_every_error_has_a_code_of_its_own_making(kind: type[ServiceError]) -> None:
    error = kind("x")
    code = CODES.of(error)
    assert code.text
    if not kind.__subclasses__():
        assert code.number != 1, f"{kind.__name__} would be answered as an unknown error"


@pytest.mark.parametrize("code", tuple(CODES), ids=lambda code: str(code.number))
def test_every_code_says_what_raises_it_or_why_nothing_does(code: Code) -> None:
    assert code.reserved == code.when.startswith("reserved: ")
    assert len(code.when) > len("reserved: ")
    assert code.text == code.text.strip()
    for kind in code.errors:
        assert CODES.of(kind("x")) is code
    for name in code.parameters:
        assert CODES.of(ParameterMalformed(name)) is code
        assert CODES.of(ParameterMissing(name)).number == 222001


def test_an_unknown_parameter_and_an_unknown_error_have_codes_too() -> None:
    class FromTheFuture(ServiceError):
        pass

    assert CODES.of(ParameterMalformed("body")).number == 222001
    assert CODES.of(FromTheFuture()).number == 1


def test_texts_that_applications_compare() -> None:
    texts = {code.number: code.text for code in CODES}
    assert texts[222202] == "pic not has face"
    assert texts[222207] == "match user is not found"
    assert texts[222205] == "network not availablel"
    assert texts[223105] == "face is already exist"
    assert texts[223120] == "liveness check fail"
    assert texts[216100] == "already add"


def test_gateway_codes_end_where_the_cloud_s_do() -> None:
    assert {code.number for code in CODES if code.of_gateway} == {1, 2, 3, 4, 6, 13, 14, 15, 17, 18, 19, 100, 110, 111}


def test_a_table_must_translate_everything() -> None:
    with pytest.raises(ValueError, match="does not name"):
        CodeTable([Code(2, "busy", "always", (errors.Overloaded,))])
