"""Deadlines of requests, and threads that outlive them."""

from __future__ import annotations

import contextvars
import math
import threading
import time

import pytest

from service import deadline
from service.api.threads import LeftBehind
from service.errors import DeadlineExceeded
from service.inference.admission import Admission


def test_without_a_deadline_there_is_all_the_time() -> None:
    assert deadline.left() == math.inf
    deadline.check()


def test_what_others_hold_is_waited_for_no_longer_than_there_is_time() -> None:
    lock = threading.Lock()
    assert deadline.left_to_wait() == threading.TIMEOUT_MAX
    with deadline.held(lock):
        assert lock.locked()
        with deadline.within(0.01), pytest.raises(DeadlineExceeded), deadline.held(lock):
            pytest.fail("nobody may enter")
        assert lock.locked()
    with deadline.within(600), deadline.held(lock):
        assert deadline.left_to_wait() <= 600
    assert not lock.locked()


def test_a_deadline_holds_for_the_block_and_what_is_given_its_context() -> None:
    with deadline.within(600):
        assert 0 < deadline.left() <= 600
        assert contextvars.copy_context().run(deadline.left) <= 600
        with deadline.within(-1), pytest.raises(DeadlineExceeded):
            deadline.check()
        deadline.check()
    assert deadline.left() == math.inf


def test_setting_the_clock_moves_no_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    with deadline.within(600):
        for now in (0.0, 4e9):
            monkeypatch.setattr(time, "time", lambda now=now: now)
            assert 500 < deadline.left() <= 600


def test_who_waits_too_long_steps_out_of_the_line() -> None:
    admission = Admission(permits=1, queue_limit=1)
    with admission.permit():
        for seconds in (0.01, -1):
            with deadline.within(seconds), pytest.raises(DeadlineExceeded), admission.permit():
                pytest.fail("nobody may enter")
            assert admission.waiting == 0
    with deadline.within(600), admission.permit():
        assert admission.inside == 1
    assert admission.inside == 0


def test_threads_left_behind_are_counted_until_they_return() -> None:
    left, begun, end = LeftBehind(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert end.wait(60)

    with left.watching(work) as watched:
        thread = threading.Thread(target=watched)
        thread.start()
        assert begun.wait(60)
        assert left.count == 0
    assert left.count == 1
    end.set()
    thread.join()
    assert left.count == 0
    with left.watching(lambda: 7) as quick:
        assert quick() == 7
    assert left.count == 0
