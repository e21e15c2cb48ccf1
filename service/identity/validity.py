"""Terms of validity as they stand on cards and in requests: days as eight digits."""

from __future__ import annotations

import calendar
import re
from datetime import date

from service.errors import ParameterMalformed
from service.identity.claims import Validity

FOR_GOOD = frozenset({"00000000", "permanent", "长期"})
"""The last day of a card that does not end: to the vendor, to an authority of the operator's, and on the card."""

FIRST_CARDS = date(1984, 1, 1)
"""No card is older, says the vendor's document of the calls."""

LEAST_YEARS = 5
"""The shortest term that cards have, by the same document."""

_FORM = re.compile(r"(\d{4})[-./]?(\d{2})[-./]?(\d{2})", re.ASCII)


def validity_of(start: str, end: str, names: tuple[str, str] = ("start_date", "end_date")) -> Validity:
    """A term of two days as they were typed: ``20160304``, ``2016-03-04``; ``00000000`` for one that does not end.

    Raises ``ParameterMalformed`` under one of the ``names`` for what is no day, a first day before 1984, or a term of
    less than five years.
    """
    first = _day(start, names[0])
    if first < FIRST_CARDS:
        raise ParameterMalformed(names[0], "before the first cards")
    if end.strip() in FOR_GOOD:
        return Validity(first, None)
    last = _day(end, names[1])
    if (last.year, last.month, last.day) < _anniversary(first, LEAST_YEARS):
        raise ParameterMalformed(names[1], f"less than {LEAST_YEARS} years later")
    return Validity(first, last)


def _anniversary(first: date, years: int) -> tuple[int, int, int]:
    """The same day ``years`` later; of 29 February, where that year has none, the day before: cards end then too.

    No ``date``: there are none after the year 9999.
    """
    year = first.year + years
    if (first.month, first.day) == (2, 29) and not calendar.isleap(year):
        return year, 2, 28
    return year, first.month, first.day


def _day(text: str, name: str) -> date:
    parts = _FORM.fullmatch(text.strip())
    if parts is None:
        raise ParameterMalformed(name, "not eight digits")
    try:
        return date(int(parts[1]), int(parts[2]), int(parts[3]))
    except ValueError:
        raise ParameterMalformed(name, "no such day") from None
