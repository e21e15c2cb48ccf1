"""Terms of validity."""

from __future__ import annotations

from datetime import date

import pytest

from service.errors import ParameterMalformed
from service.identity.claims import Validity
from service.identity.validity import validity_of


@pytest.mark.parametrize("start", ["20160304", "2016-03-04", "2016.03.04", " 20160304 "])
def test_a_term(start: str) -> None:
    assert validity_of(start, "20260304") == Validity(date(2016, 3, 4), date(2026, 3, 4))


@pytest.mark.parametrize("end", ["00000000", "permanent", "长期"])
def test_a_term_without_an_end(end: str) -> None:
    assert validity_of("20160304", end) == Validity(date(2016, 3, 4), None)


def test_the_shortest_term() -> None:
    assert validity_of("20160304", "20210304").end == date(2021, 3, 4)


@pytest.mark.parametrize("end", ["20210228", "20210301", "20280229"])
def test_a_term_that_begins_on_29_february_may_end_the_day_before(end: str) -> None:
    assert validity_of("20160229", end).end == date(int(end[:4]), int(end[4:6]), int(end[6:]))


@pytest.mark.parametrize(
    ("start", "end", "name"),
    [
        ("", "20260304", "start_date"),
        ("201603", "20260304", "start_date"),
        ("20160231", "20260304", "start_date"),
        ("00000000", "20260304", "start_date"),
        ("19831231", "20260304", "start_date"),
        ("20160304", "", "end_date"),
        ("20160304", "20210303", "end_date"),
        ("20160304", "20100304", "end_date"),
        ("99990101", "99991231", "end_date"),
        ("20160229", "20210227", "end_date"),
        ("20160304", "20261304", "end_date"),
        ("２０１６０３０４", "20260304", "start_date"),
    ],
)
def test_what_is_no_term(start: str, end: str, name: str) -> None:
    with pytest.raises(ParameterMalformed) as failure:
        validity_of(start, end)
    assert failure.value.parameter == name
