"""Numbers of identity cards, names and terms of validity: their rules, how they are compared, how they are shown.

Numbers are those of GB 11643-1999, which resident identity cards, residence permits of Hong Kong, Macao and Taiwan and
the permanent residence cards of foreigners share: six digits of the place (or of the kind of card), the day of birth
as YYYYMMDD, three digits of a sequence, a check character by ISO 7064 MOD 11-2. Numbers of 15 digits went out of use in
2013 and are refused.
"""

from __future__ import annotations

import hmac
import re
import unicodedata
from dataclasses import dataclass, field
from datetime import date

from service.errors import IdNumberMalformed, NameMalformed

MOST_NAME_CHARACTERS = 64

_FORM = re.compile(r"[0-9]{17}[0-9X]")
_CHECK_CHARACTERS = "10X98765432"
"""By the remainder: GB 11643-1999, table 2."""

_EARLIEST_BIRTH = date(1850, 1, 1)
_DOTS = str.maketrans(dict.fromkeys("•・‧∙.．｡。", "·"))
"""What people type for the dot within a transliterated name."""

_MARKS_WITHIN_NAMES = frozenset("· '-’")

_IDEOGRAPHS = (range(0x9FFD, 0xA000), range(0x20000, 0x2FFFE), range(0x30000, 0x3FFFE))
"""What Unicode gives to ideographs alone, two planes and the end of a block: the rare characters of names among them
are younger than the tables of this Python, and had places of private use before."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed identity, normalised by ``number_of`` and ``name_of``. Neither field shows in a ``repr``."""

    number: str = field(repr=False)
    name: str = field(repr=False)

    @classmethod
    def of(cls, number: str, name: str) -> Claim:
        """Of a number and a name as they were typed. Raises ``IdNumberMalformed``, ``NameMalformed``."""
        return cls(number_of(number), name_of(name))

    def names(self, name: str) -> bool:
        """Whether ``name`` is the same, compared in constant time."""
        return hmac.compare_digest(_compared(self.name).encode(), _compared(name).encode())


@dataclass(frozen=True, slots=True)
class Validity:
    """From which day to which a document is valid, both included; ``end`` is ``None`` for one that is so for good."""

    start: date
    end: date | None


def tidied(text: str) -> str:
    """A number without blanks around it, wide digits made narrow, the check character in upper case."""
    return unicodedata.normalize("NFKC", text).strip().upper()


def has_form(text: str) -> bool:
    """Whether ``text`` is 17 digits and a digit or X, whatever they mean."""
    return _FORM.fullmatch(tidied(text)) is not None


def number_of(text: str) -> str:
    """A number as it is stored and compared. Raises ``IdNumberMalformed``."""
    number = tidied(text)
    if not _FORM.fullmatch(number):
        raise IdNumberMalformed("18 characters are expected")
    if number[0] == "0":
        raise IdNumberMalformed("no place begins with 0")
    if not _is_birthday(number[6:14]):
        raise IdNumberMalformed("no day of birth")
    if check_character(number[:17]) != number[17]:
        raise IdNumberMalformed("another check character is expected")
    return number


def check_character(digits: str) -> str:
    """The last character of the number that begins with 17 ``digits``: ISO 7064 MOD 11-2."""
    weighted = sum(int(digit) * pow(2, 17 - place, 11) for place, digit in enumerate(digits))
    return _CHECK_CHARACTERS[weighted % 11]


def name_of(text: str) -> str:
    """A name as it is stored. Raises ``NameMalformed`` for what no name holds, such as digits.

    The same in every Python: what its tables of Unicode do not know is no other character's other form.
    """
    name = " ".join(unicodedata.normalize("NFKC", text).translate(_DOTS).split())
    if not 1 <= len(name) <= MOST_NAME_CHARACTERS:
        raise NameMalformed("too long, or nothing at all")
    if not all(
        _is_letter(each) or unicodedata.category(each)[0] == "M" or each in _MARKS_WITHIN_NAMES for each in name
    ):
        raise NameMalformed("a character that no name has")
    if not _is_letter(name[0]):
        raise NameMalformed("a name begins with a letter")
    return name


def masked_number(number: str) -> str:
    """A number for people who need not know it: place of the first three digits and the last two characters."""
    return f"{number[:3]}{'*' * max(len(number) - 5, 3)}{number[-2:]}" if len(number) > 8 else "*" * len(number)


def masked_name(name: str) -> str:
    """A name for people who need not know it: its first character."""
    return name[:1] + "*" * max(len(name) - 1, 1)


def _compared(name: str) -> str:
    """Upper and lower case and blanks make no difference."""
    return "".join(name.casefold().split())


def _is_letter(character: str) -> bool:
    category = unicodedata.category(character)
    if category == "Cn":  # to the tables of this Python
        return any(ord(character) in plane for plane in _IDEOGRAPHS)
    return category[0] == "L" or category == "Co"


def _is_birthday(digits: str) -> bool:
    try:
        born = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
    except ValueError:
        return False
    # One day of grace: it may be tomorrow already where the card was issued.
    return born >= _EARLIEST_BIRTH and (born - date.today()).days <= 1  # noqa: DTZ011 - days of people, not moments
