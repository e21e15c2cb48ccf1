"""Failed log-ins that several processes count together: here several ``Attempts``, each with its own connections."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from service.access.attempts import Attempts
from service.access.failures import FORGET_AGAIN_SECONDS, Failures
from service.console.sessions import LoginThrottle
from service.errors import TooManyFailures, WrongSecret
from service.library.logins import SharedFailures
from service.storage.engine import Database
from service.storage.urls import driver_address
from tests.fixtures.clock import Clock

HERE, ELSEWHERE = "198.51.100.1", "203.0.113.9"
MOST = 4


@pytest.fixture
def several(database_url: str) -> Iterator[list[Attempts]]:
    with processes(database_url, 3) as counted:
        yield [Attempts(MOST, each) for each in counted]


@contextlib.contextmanager
def processes(url: str, count: int, clock: Clock | None = None) -> Iterator[list[Failures]]:
    with contextlib.ExitStack() as stack:
        made = []
        for _ in range(count):
            database = Database(url)
            stack.callback(database.close)
            shared = SharedFailures(database)
            made.append(Failures(600, shared=shared) if clock is None else Failures(600, shared=shared, clock=clock))
        yield made


def fails(attempts: Attempts, key: str = "key", address: str = HERE) -> bool:
    """Try a wrong secret: whether it was looked at."""
    try:
        with attempts.attempt(key, address):
            raise WrongSecret
    except WrongSecret:
        return True
    except TooManyFailures:
        return False


def succeeds(attempts: Attempts, key: str = "key", address: str = HERE) -> bool:
    """Try the right secret: whether it was looked at."""
    try:
        with attempts.attempt(key, address):
            return True
    except TooManyFailures:
        return False


def test_guesses_in_turn_are_limited_for_all_together(several: list[Attempts]) -> None:
    looked = sum(fails(several[number % 3]) for number in range(60))
    assert MOST <= looked <= MOST + len(several) - 1
    assert not any(succeeds(each) for each in several)
    assert all(succeeds(each, address=ELSEWHERE) for each in several)
    assert all(succeeds(each, key="other") for each in several)


def test_an_address_is_limited_for_all_together(several: list[Attempts]) -> None:
    assert all(succeeds(each, "ours") for each in several)
    looked = sum(fails(several[number % 3], f"guess {number}") for number in range(100))
    assert 5 * MOST <= looked <= 5 * MOST + len(several) - 1
    assert all(succeeds(each, "ours") for each in several)


def test_a_success_anywhere_forgets_what_all_have_counted(several: list[Attempts]) -> None:
    for _ in range(3):
        for each in several:
            assert fails(each)
        assert succeeds(several[0])


def test_a_success_waits_for_the_database_once_in_a_while(database_url: str) -> None:
    clock = Clock()
    with processes(database_url, 1, clock) as (counted,):
        attempts = Attempts(MOST, counted)
        assert succeeds(attempts)
        with psycopg.connect(driver_address(database_url), autocommit=True) as connection:
            left = "SELECT count(*) FROM login_failures"
            rename = "UPDATE login_failures SET name = %s"
            counted.add(b"somebody else")
            connection.execute(rename, [counted.name("key", HERE)])
            assert succeeds(attempts)
            assert connection.execute(left).fetchone() == (1,)
            clock.now += FORGET_AGAIN_SECONDS
            assert succeeds(attempts)
            assert connection.execute(left).fetchone() == (0,)


def test_the_console_s_passwords_are_counted_with_the_others(database_url: str) -> None:
    with processes(database_url, 3) as counted:
        several = [LoginThrottle(each, tries=3, most=6) for each in counted]
        looked = 0
        for number in range(30):
            if several[number % 3].wait(HERE) == 0:
                looked += 1
                several[number % 3].failed(HERE)
        assert 3 <= looked <= 5
        assert 0 < several[0].wait(HERE) <= 600
        assert several[0].wait(ELSEWHERE) == 0


def test_strangers_keep_the_operator_out_of_no_process(database_url: str, database: Database) -> None:
    """Not of one that has just begun either; an address from which nobody logged in has to wait there as anywhere."""
    with processes(database_url, 2) as counted:
        one, another = (LoginThrottle(each, tries=3, most=6) for each in counted)
        one.succeeded(HERE)
        for stranger in range(7):
            another.failed(f"192.0.2.{stranger}")
        with database.admin() as work:
            work.attempts.purge(100)
        assert another.wait(ELSEWHERE) > 0
        assert another.wait(HERE) == 0
        for _ in range(3):
            another.failed(HERE)
        assert another.wait(HERE) > 0


def test_a_window_ends_by_the_database_s_clock_and_one_of_a_clock_put_back_is_over(database_url: str) -> None:
    with (
        processes(database_url, 2) as (one, other),
        psycopg.connect(driver_address(database_url), autocommit=True) as connection,
    ):
        name = one.name("x")
        for moved in (timedelta(seconds=-1), timedelta(days=3650)):
            for _ in range(3):
                one.add(name)
            connection.execute("UPDATE login_failures SET ends = now() + %s", [moved])
            other.add(name)
            failures, seconds = other.state(name)
            assert failures == 1
            assert 0 < seconds <= 600
            other.succeeded(name)


def test_a_statement_that_waited_for_another_one_counts_on(database: Database, database_url: str) -> None:
    """It began before the window that it finds, whose end is later than it would have made it."""
    shared = SharedFailures(database)
    shared.count([b"x"], 600)
    with psycopg.connect(driver_address(database_url), autocommit=True) as connection:
        connection.execute("UPDATE login_failures SET ends = ends + interval '5 seconds'")
    assert shared.count([b"x"], 600)[b"x"][0] == 2


def test_rows_are_bounded_and_the_oldest_go_first(database: Database) -> None:
    names = [number.to_bytes(16, "big") for number in range(30)]
    for name in names:
        SharedFailures(database).count([name], 600)
    with database.admin() as work:
        assert work.attempts.purge(10) == 20
    counted = SharedFailures(database).count(names, 600)
    assert [counted[name][0] for name in names] == [1] * 20 + [2] * 10
    with database.admin() as work:
        assert work.attempts.purge(0) == 30


def test_without_the_database_each_process_counts_for_itself() -> None:
    nowhere = Database("postgresql://nobody@127.0.0.1:1/nothing")
    attempts = Attempts(MOST, Failures(600, shared=SharedFailures(nowhere)))
    assert succeeds(attempts)
    assert sum(fails(attempts) for _ in range(MOST + 3)) == MOST
    assert not succeeds(attempts)
    throttle = LoginThrottle(Failures(600, shared=SharedFailures(nowhere)), tries=3, most=1)
    throttle.succeeded(HERE)
    throttle.failed("192.0.2.1")
    assert throttle.wait(HERE) == 0
    assert throttle.wait(ELSEWHERE) > 0
    nowhere.close()
