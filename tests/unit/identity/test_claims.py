"""Numbers of identity cards and names."""

from __future__ import annotations

import unicodedata
from datetime import date, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.errors import IdNumberMalformed, NameMalformed
from service.identity.claims import (
    Claim,
    check_character,
    has_form,
    masked_name,
    masked_number,
    name_of,
    number_of,
    tidied,
)

OF_THE_STANDARD = "11010519491231002X"
"""The example of GB 11643-1999 itself."""

RARE = ("\U000323af小", "小\U000323af", "\ue863小", "\U0002ebf0", "\U0003fffd", "𠮷\U000e0100田", "王\u9ffd")
"""Characters that Unicode got in 2023 and later or not yet, of private use, with a variation selector."""

NO_LETTERS = ("\ufdd0", "\U0002ffff小", "\U0003fffe", "\U00040000", "\U000e0100田")
"""What Unicode gives to nothing, where ideographs have no place, and a selector without a letter."""

birthdays = st.dates(date(1850, 1, 1), date(2025, 1, 1)).map(lambda day: day.strftime("%Y%m%d"))
places = st.integers(100_000, 999_999).map(str)
sequences = st.integers(0, 999).map(lambda number: f"{number:03}")
beginnings = st.builds("".join, st.tuples(places, birthdays, sequences))
numbers = beginnings.map(lambda digits: digits + check_character(digits))


def name_changes(letter: str) -> bool:
    return unicodedata.normalize("NFKC", letter).casefold() != letter


def refused(text: str) -> str:
    with pytest.raises(IdNumberMalformed) as failure:
        number_of(text)
    assert len(text) < 8 or text not in str(failure.value)
    return str(failure.value)


def test_the_example_of_the_standard() -> None:
    assert check_character("11010519491231002") == "X"
    assert check_character("44052418800101001") == "4"
    assert number_of(OF_THE_STANDARD) == OF_THE_STANDARD


@given(numbers)
def test_numbers_that_keep_the_rules(number: str) -> None:
    assert has_form(number)
    assert number_of(number) == number
    assert number_of(f" {number.lower()}\n") == number


@given(beginnings)
def test_the_check_character_is_that_of_iso_7064(digits: str) -> None:
    """MOD 11-2: the weighted sum of all characters is 1."""
    last = check_character(digits)
    values = [*map(int, digits), 10 if last == "X" else int(last)]
    assert sum(value * pow(2, 17 - place) for place, value in enumerate(values)) % 11 == 1


@given(numbers, st.integers(0, 17), st.sampled_from("0123456789X"))
def test_one_wrong_character_is_noticed(number: str, place: int, character: str) -> None:
    assume(number[place] != character)
    wrong = number[:place] + character + number[place + 1 :]
    assert not has_form(wrong) or refused(wrong)


@given(numbers, st.integers(0, 15))
def test_two_neighbours_in_the_wrong_order_are_noticed(number: str, place: int) -> None:
    assume(number[place] != number[place + 1])
    refused(number[:place] + number[place + 1] + number[place] + number[place + 2 :])


@given(st.text(max_size=40))
def test_anything_else_is_refused_without_a_crash(text: str) -> None:
    if not has_form(text):
        refused(text or "nothing")


def test_wide_digits_are_digits() -> None:
    assert tidied("１１０１０５１９４９１２３１００２ｘ") == OF_THE_STANDARD


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("110105491231002", "18 characters"),  # of 15 digits, as before 1999
        ("", "18 characters"),
        ("110233112299822211", "day of birth"),  # of the vendor's sample
        ("11010519490229002X", "day of birth"),
        ("110105184912310021", "day of birth"),
        ("110105299912310021", "day of birth"),
        ("110105194912310021", "check character"),
        ("01010519491231002X", "begins with 0"),
    ],
)
def test_numbers_that_break_a_rule(text: str, reason: str) -> None:
    assert reason in refused(text)


def test_who_is_born_tomorrow_has_no_number() -> None:
    digits = "110105" + (date.today() + timedelta(days=3)).strftime("%Y%m%d") + "002"  # noqa: DTZ011
    assert "day of birth" in refused(digits + check_character(digits))


@pytest.mark.parametrize(
    "name", ["韦小宝", "买买提·艾力", "Anne-Marie O'Neill", "José Müller", "𠮷田", "Nguyễn Văn", *RARE]
)
def test_names(name: str) -> None:
    assert name_of(name) == name


@pytest.mark.parametrize(
    "name", ["", " ", "张3", "张三!", "<b>", "·张", "张\u0000三", "a" * 65, "张\u202e三", "😀", *NO_LETTERS]
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(NameMalformed) as failure:
        name_of(name)
    assert not name.strip() or name not in str(failure.value)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("买买提·艾力", "买买提•艾力"),
        ("买买提·艾力", "买买提．艾力"),
        ("Anna  Li", "ANNA LI"),
        ("张 三", "张三"),
        ("ＡＢ", "ab"),
    ],
)
def test_names_that_are_the_same(one: str, other: str) -> None:
    assert Claim.of(OF_THE_STANDARD, one).names(name_of(other))


def test_no_ideograph_outside_the_old_ones_for_compatibility_is_another_s_form() -> None:
    """So what a later Unicode adds there is stored and compared by every Python alike."""
    forms = [code for code in range(0x20000, 0x40000) if name_changes(chr(code))]
    assert 0x2F800 <= min(forms) < max(forms) < 0x2FA20


@pytest.mark.parametrize(("one", "other"), [("张三", "张四"), ("张三", "张三丰"), ("张三", "張三")])
def test_names_that_are_not(one: str, other: str) -> None:
    assert not Claim.of(OF_THE_STANDARD, one).names(name_of(other))


def test_a_claim_does_not_show() -> None:
    assert repr(Claim.of(OF_THE_STANDARD, "韦小宝")) == "Claim()"


@given(numbers)
def test_masked_numbers_hide_the_birthday_and_the_sequence(number: str) -> None:
    masked = masked_number(number)
    assert len(masked) == 18
    assert masked[3:16] == "*" * 13


@given(st.text(max_size=8))
def test_short_texts_are_hidden_whole(text: str) -> None:
    assert set(masked_number(text)) <= {"*"}


def test_masked_names() -> None:
    assert masked_name("韦小宝") == "韦**"
    assert masked_name("韦") == "韦*"
