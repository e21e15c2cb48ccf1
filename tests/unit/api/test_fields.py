from __future__ import annotations

from collections.abc import Callable

import pytest

from service.api.fields import Fields
from service.errors import ParameterMalformed, ParameterMissing
from service.values import Control

KNOWN = {"age": frozenset({"age"}), "face_shape": frozenset({"face_shape"}), "faceshape": frozenset({"face_shape"})}
Reader = Callable[[Fields], object]

REQUIRED: list[Reader] = [
    lambda fields: fields.text("x"),
    lambda fields: fields.identifier("x"),
    lambda fields: fields.identifiers("x"),
    lambda fields: fields.choice("x", Control),
]
OPTIONAL: list[tuple[Reader, object]] = [
    (lambda fields: fields.optional_text("x"), None),
    (lambda fields: fields.optional_identifier("x"), None),
    (lambda fields: fields.words("x", KNOWN), frozenset()),
    (lambda fields: fields.integer("x", default=7, low=1, high=10), 7),
    (lambda fields: fields.number("x", default=80, low=0, high=100), 80),
    (lambda fields: fields.choice("x", Control, Control.NONE), Control.NONE),
]
NOT_SENT: list[dict[str, object]] = [{}, {"x": None}, {"x": ""}]


@pytest.mark.parametrize("values", NOT_SENT)
@pytest.mark.parametrize("read", REQUIRED)
def test_required_parameters_are_missed(values: dict[str, object], read: Reader) -> None:
    with pytest.raises(ParameterMissing) as failure:
        read(Fields(values))
    assert failure.value.parameter == "x"


@pytest.mark.parametrize("values", NOT_SENT)
@pytest.mark.parametrize(("read", "default"), OPTIONAL)
def test_optional_parameters_have_defaults(values: dict[str, object], read: Reader, default: object) -> None:
    assert read(Fields(values)) == default


@pytest.mark.parametrize("value", [{"a": 1}, {}])
@pytest.mark.parametrize("read", [*REQUIRED, *(read for read, _ in OPTIONAL)])
def test_an_object_is_no_parameter(value: object, read: Reader) -> None:
    with pytest.raises(ParameterMalformed) as failure:
        read(Fields({"x": value}))
    assert failure.value.parameter == "x"


@pytest.mark.parametrize(
    ("value", "text"), [("a", "a"), (" a ", " a "), (1, "1"), (1.5, "1.5"), (True, "true"), (False, "false"), (0, "0")]
)
def test_text(value: object, text: str) -> None:
    assert Fields({"x": value}).text("x") == text


@pytest.mark.parametrize("value", ["人" * 3, "a" * 9, "a\0b"])
def test_text_that_is_too_long_or_cannot_be_stored(value: str) -> None:
    with pytest.raises(ParameterMalformed):
        Fields({"x": value}).text("x", max_bytes=8)
    assert Fields({"x": "人人"}).text("x", max_bytes=8) == "人人"


@pytest.mark.parametrize("value", ["a", "A_1", "0", "a" * 128, 20_180_601])
def test_identifiers(value: object) -> None:
    assert Fields({"x": value}).identifier("x") == str(value)
    assert Fields({"x": value}).optional_identifier("x") == str(value)


@pytest.mark.parametrize("value", ["a b", " a", "a-b", "组", "é", "a\n", "a" * 129, "@ALL", "١", 1.5, -1, ["a"]])
def test_what_is_no_identifier(value: object) -> None:
    fields = Fields({"x": value})
    for read in (fields.identifier, fields.optional_identifier):
        with pytest.raises(ParameterMalformed):
            read("x")


def test_identifiers_may_have_other_limits_and_words() -> None:
    assert Fields({"x": "@ALL"}).identifier("x", also=("@ALL",)) == "@ALL"
    with pytest.raises(ParameterMalformed):
        Fields({"x": "abcde"}).identifier("x", max_length=4)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("a", ("a",)),
        ("b, a ,b,c", ("b", "a", "c")),
        (" g20180601 , g20180602 ", ("g20180601", "g20180602")),
        ("a,", ("a",)),
        ("a,,b", ("a", "b")),
        (20_180_601, ("20180601",)),
        (["a", 2, "a"], ("a", "2")),
    ],
)
def test_lists_of_identifiers(value: object, names: tuple[str, ...]) -> None:
    assert Fields({"x": value}).identifiers("x") == names


@pytest.mark.parametrize("value", ["a b", "a,b-c", ",", " ", "组", "a" * 129, ["a", None], [["a"]], [True], "a;b"])
def test_malformed_lists_of_identifiers(value: object) -> None:
    with pytest.raises(ParameterMalformed):
        Fields({"x": value}).identifiers("x")


def test_an_empty_array_is_a_missing_list() -> None:
    with pytest.raises(ParameterMissing):
        Fields({"x": []}).identifiers("x")


@pytest.mark.parametrize(
    ("value", "words"),
    [("age", {"age"}), ("age, faceshape", {"age", "face_shape"}), ("face_shape,faceshape", {"face_shape"})],
)
def test_words(value: str, words: set[str]) -> None:
    assert Fields({"x": value}).words("x", KNOWN) == words


@pytest.mark.parametrize("value", ["Age", "age;faceshape", "nonsense", ",", 1])
def test_unknown_words(value: object) -> None:
    with pytest.raises(ParameterMalformed):
        Fields({"x": value}).words("x", KNOWN)


@pytest.mark.parametrize(
    ("value", "number"), [(2, 2), ("2", 2), (" 2 ", 2), (2.0, 2), ("2.0", 2), ("+2", 2), ("10", 10)]
)
def test_whole_numbers(value: object, number: int) -> None:
    assert Fields({"x": value}).integer("x", default=1, low=1, high=10) == number


@pytest.mark.parametrize(
    "value", [0, 11, "0", "11", -1, 1.5, "1.5", "two", "2 3", "0x2", "２", True, "1e1", 1e30, "9" * 40, [2], " "]
)
def test_what_is_no_whole_number_in_range(value: object) -> None:
    with pytest.raises(ParameterMalformed):
        Fields({"x": value}).integer("x", default=1, low=1, high=10)


@pytest.mark.parametrize(
    ("value", "number"),
    [(70, 70), ("70", 70), (79.5, 79.5), ("79.5", 79.5), (0, 0), ("100", 100), (".5", 0.5), ("1e1", 10)],
)
def test_numbers(value: object, number: float) -> None:
    assert Fields({"x": value}).number("x", default=80, low=0, high=100) == number


@pytest.mark.parametrize("value", [-0.1, 100.1, "nan", "inf", "1e999", "high", True, "-1", ["1"], "."])
def test_what_is_no_number_in_range(value: object) -> None:
    with pytest.raises(ParameterMalformed):
        Fields({"x": value}).number("x", default=80, low=0, high=100)


def test_choices() -> None:
    assert Fields({"x": "LOW"}).choice("x", Control) is Control.LOW
    assert Fields({"x": " HIGH "}).choice("x", Control, Control.NONE) is Control.HIGH
    for value in ("low", "STRICT", 1, True):
        with pytest.raises(ParameterMalformed):
            Fields({"x": value}).choice("x", Control, Control.NONE)
    with pytest.raises(ParameterMalformed):
        Fields({"x": "HIGH"}).choice("x", Control, Control.NONE, among=(Control.NONE, Control.LOW))
