"""The circuit breaker opens, refuses, tries once, and closes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.errors import AuthorityUnavailable
from service.identity.breaker import Breaker


def fail() -> str:
    raise AuthorityUnavailable("as told")


def done() -> str:
    return "done"


def failing(breaker: Breaker, times: int) -> None:
    for _ in range(times):
        with pytest.raises(AuthorityUnavailable, match="as told"):
            breaker.call(fail)


def let_pass(breaker: Breaker) -> None:
    """The time of an open circuit is over."""
    breaker._breaker.reset_timeout = 0


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = Breaker(3, 60)
    failing(breaker, 2)
    assert breaker.call(done) == "done"
    failing(breaker, 3)
    assert not breaker.closed
    asked = []
    with pytest.raises(AuthorityUnavailable, match="failed too often"):
        breaker.call(lambda: asked.append(1))
    assert asked == []


def test_a_trial_that_succeeds_closes_it() -> None:
    breaker = Breaker(1, 60)
    failing(breaker, 1)
    let_pass(breaker)
    assert breaker.call(done) == "done"
    assert breaker.closed


def test_a_trial_that_fails_opens_it_again() -> None:
    breaker = Breaker(2, 60)
    failing(breaker, 2)
    let_pass(breaker)
    failing(breaker, 1)
    breaker._breaker.reset_timeout = 60
    with pytest.raises(AuthorityUnavailable, match="failed too often"):
        breaker.call(done)


def test_other_failures_pass_and_do_not_count() -> None:
    breaker = Breaker(1, 60)
    with pytest.raises(ZeroDivisionError):
        breaker.call(lambda: 1 // 0)
    assert breaker.closed


def test_calls_run_side_by_side() -> None:
    breaker = Breaker(1, 60)
    meeting = threading.Barrier(4, timeout=20)
    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(lambda _: breaker.call(meeting.wait), range(4))) == [0, 1, 2, 3]


def test_one_trial_at_a_time_and_nobody_waits_for_it() -> None:
    breaker = Breaker(1, 60)
    failing(breaker, 1)
    let_pass(breaker)
    entered, gate = threading.Event(), threading.Event()

    def trial() -> str:
        entered.set()
        assert gate.wait(20)
        return "done"

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(breaker.call, trial)
        assert entered.wait(20)
        with pytest.raises(AuthorityUnavailable, match="on trial"):
            breaker.call(done)
        gate.set()
        assert future.result() == "done"
    assert breaker.call(done) == "done"
