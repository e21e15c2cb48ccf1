"""Failed log-ins."""

from __future__ import annotations

import pytest

from service.access import failures
from service.access.attempts import Attempts
from service.access.failures import Failures
from service.errors import AccessError, TooManyFailures, WrongSecret
from tests.fixtures.clock import Clock

ELSEWHERE = "203.0.113.9"
HERE = "198.51.100.1"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def counted(clock: Clock) -> Attempts:
    return Attempts(3, Failures(60, clock=clock))


def fail(counted: Attempts, key: str, address: str, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(WrongSecret), counted.attempt(key, address):
            raise WrongSecret


def refused(counted: Attempts, key: str, address: str) -> bool:
    """Whether even the right secret is not looked at."""
    try:
        with counted.attempt(key, address):
            return False
    except TooManyFailures:
        return True


def test_as_many_as_allowed_are_looked_at(counted: Attempts) -> None:
    fail(counted, "key", HERE, 3)
    assert refused(counted, "key", HERE)


def test_the_owner_is_let_in_elsewhere_and_other_keys_here(counted: Attempts) -> None:
    fail(counted, "key", ELSEWHERE, 3)
    assert not refused(counted, "key", HERE)
    assert not refused(counted, "other", ELSEWHERE)


def test_a_success_forgets_the_failures_before_it(counted: Attempts) -> None:
    for _ in range(4):
        fail(counted, "key", HERE, 2)
        assert not refused(counted, "key", HERE)


def test_the_window_ends_and_refusals_do_not_prolong_it(counted: Attempts, clock: Clock) -> None:
    fail(counted, "key", HERE, 3)
    clock.now += 59
    assert refused(counted, "key", HERE)
    clock.now += 1
    assert not refused(counted, "key", HERE)


def test_an_address_that_tries_many_keys_gets_in_only_where_it_has_been(counted: Attempts) -> None:
    assert not refused(counted, "ours", HERE)
    for number in range(15):
        fail(counted, f"guess {number}", HERE)
    assert refused(counted, "another guess", HERE)
    assert not refused(counted, "ours", HERE)
    assert not refused(counted, "another guess", ELSEWHERE)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:198.51.100.1", "198.51.100.1", True),
        ("198.51.100.1", "198.51.100.2", False),
        ("fe80::1%eth0", "fe80::2", True),
        ("", "", True),
    ],
)
def test_addresses_of_one_network(counted: Attempts, one: str, other: str, same: bool) -> None:
    fail(counted, "key", one, 3)
    assert refused(counted, "key", other) is same


def test_what_is_no_failure_of_access_is_not_counted(counted: Attempts) -> None:
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), counted.attempt("key", HERE):
            raise ZeroDivisionError
    assert not refused(counted, "key", HERE)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, counted: Attempts) -> None:
    monkeypatch.setattr(failures, "CAPACITY", 10)
    for number in range(30):
        fail(counted, "x" * 100_000, f"198.51.100.{number}")
        assert not refused(counted, f"{number}", ELSEWHERE)
    known = counted._counted
    assert len(known._windows) <= 10
    assert len(known._worked) <= 10
    assert all(len(name) == 16 for name in [*known._windows, *known._worked])


def test_names_tell_nothing_without_the_key() -> None:
    assert Failures(60).name("key", HERE) != Failures(60, key=bytes(32)).name("key", HERE)


def test_text_that_is_no_unicode_is_a_key_like_any_other(counted: Attempts) -> None:
    with pytest.raises(AccessError), counted.attempt("\ud800", "\ud800"):
        raise AccessError
