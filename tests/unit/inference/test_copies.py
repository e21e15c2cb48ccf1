"""Copies for callers at once, under real threads."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.inference.copies import Copies

SECONDS = 30.0
"""For what has to happen soon."""
CALLERS = 4


class Maker:
    """Makes numbers, 0 first; the next one when it may."""

    def __init__(self) -> None:
        self.made = 0
        self.asked = threading.Event()
        self.may = threading.Semaphore(0)

    def __call__(self) -> int:
        if self.made:
            self.asked.set()
            assert self.may.acquire(timeout=SECONDS)
        self.made += 1
        return self.made - 1


def test_one_caller_after_the_other_needs_one() -> None:
    maker = Maker()
    copies = Copies(maker)
    for _ in range(20):
        with copies.one() as copy:
            assert copy == 0
    assert maker.made == 1
    assert not maker.asked.is_set()


def test_callers_at_once_have_one_each() -> None:
    maker = Maker()
    copies = Copies(maker)
    for _ in range(CALLERS):
        maker.may.release()
    meeting = threading.Barrier(CALLERS)

    def use(_: int) -> int:
        with copies.one() as copy:
            meeting.wait(SECONDS)  # all of them are in use
            return copy

    with ThreadPoolExecutor(CALLERS) as threads:
        for _ in range(3):
            assert sorted(threads.map(use, range(CALLERS))) == list(range(CALLERS))
    assert maker.made == CALLERS


def test_who_finds_none_takes_what_comes_first() -> None:
    """Another caller's, while a further one is still being made."""
    maker = Maker()
    copies = Copies(maker)
    with ThreadPoolExecutor(1) as threads:
        with copies.one():
            waiting = threads.submit(_number_of, copies)
            assert maker.asked.wait(SECONDS)
        assert waiting.result(SECONDS) == 0
        maker.may.release()


def test_what_is_made_goes_to_who_waits() -> None:
    maker = Maker()
    copies = Copies(maker)
    with ThreadPoolExecutor(1) as threads, copies.one():
        waiting = threads.submit(_number_of, copies)
        maker.may.release()
        assert waiting.result(SECONDS) == 1


@pytest.mark.parametrize(("patience", "attempted"), [(0.0, 3), (3600.0, 2)])
def test_one_that_cannot_be_made_is_logged_and_tried_again_later(
    patience: float, attempted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.inference.copies.PATIENCE", patience)
    attempts: list[bool] = []
    told: list[str] = []
    failed = threading.Event()

    def make() -> int:
        attempts.append(True)
        if len(attempts) == 2:
            raise MemoryError
        return len(attempts)

    class Failure(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(record.getMessage())
            failed.set()

    # No handler behind it: the thread that logs would use what pytest has closed, were the test to end before it.
    monkeypatch.setattr("service.inference.copies.logger.handlers", [Failure()])
    monkeypatch.setattr("service.inference.copies.logger.propagate", False)
    copies = Copies(make)
    with ThreadPoolExecutor(1) as threads:
        with copies.one():
            waiting = threads.submit(_number_of, copies)
            assert failed.wait(SECONDS)
        # Where nobody has to be patient, who waits may have the next one made before the first is given back.
        assert waiting.result(SECONDS) in ({1, 3} if attempted == 3 else {1})
        with copies.one():
            waiting = threads.submit(_number_of, copies)
            if attempted == 3:
                assert waiting.result(SECONDS) in {1, 3}
        assert waiting.result(SECONDS) in {1, 3}
    assert len(attempts) == attempted
    assert len(told) == 1
    assert told[0].startswith("no further copy could be made")


def test_the_first_one_fails_where_it_is_asked_for() -> None:
    def make() -> int:
        raise ValueError("no such network")

    with pytest.raises(ValueError, match="no such network"):
        Copies(make)


def test_none_is_lost_in_a_crowd() -> None:
    """Many callers, few copies: each is used by one caller at a time, and everybody has his turn."""
    maker = Maker()
    maker.may.release()
    copies, using = Copies(maker), set[int]()
    maker.may.release()

    def use(_: int) -> None:
        with copies.one() as copy:
            assert copy not in using
            using.add(copy)
            using.remove(copy)

    with ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(use, range(20_000)))) == 20_000
        for _ in range(CALLERS):
            maker.may.release()


def _number_of(copies: Copies[int]) -> int:
    with copies.one() as copy:
        return copy
