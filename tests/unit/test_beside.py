"""Parts of one request's work beside each other, under real threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from service import beside, deadline, metrics
from service.errors import Overloaded
from service.inference.admission import Admission

SECONDS = 30.0
"""For what has to happen soon."""


def here() -> int:
    """The thread that works."""
    return threading.get_ident()


def wait_until(true: Callable[[], bool]) -> None:
    """Return when it is."""
    end = time.monotonic() + SECONDS
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def wait_until_free(admission: Admission) -> None:
    """Return when no permit is in use: a helper gives its own back a moment after its last part is done."""
    wait_until(lambda: admission.inside == 0)


def test_a_free_permit_lends_a_second_thread() -> None:
    admission = Admission(permits=2, queue_limit=0)
    begun, go_on = threading.Event(), threading.Event()

    def other() -> tuple[int, int]:
        begun.set()
        assert go_on.wait(SECONDS)
        return here(), admission.inside

    with admission.permit():
        part = beside.offer(other)
        assert begun.wait(SECONDS)
        assert admission.inside == 2
        go_on.set()
        thread, inside = part.take()
    assert thread != here()
    assert inside == 2


def test_what_a_helper_spends_counts_for_the_request_that_it_helps() -> None:
    both = threading.Barrier(2)

    @metrics.measured("embed")
    def embed() -> int:
        both.wait(SECONDS)
        return here()

    spent: metrics.Spent = []
    with Admission(permits=2, queue_limit=0).permit(), metrics.spent_in_stages(spent):
        assert len(set(beside.together([embed, embed]))) == 2
    assert [stage for stage, _ in spent].count("embed") == 2


def test_the_borrowed_permit_comes_back() -> None:
    admission = Admission(permits=2, queue_limit=0)
    for _ in range(200):
        with admission.permit():
            assert beside.together([lambda: 1, lambda: 2, lambda: 3]) == [1, 2, 3]
    wait_until_free(admission)


@pytest.mark.parametrize("permits", [1, 2])
def test_without_a_free_permit_everything_is_done_here_in_order(permits: int) -> None:
    admission = Admission(permits, queue_limit=0)
    order: list[int] = []

    def work(number: int) -> int:
        order.append(number)
        return here()

    taken = [admission.borrow() for _ in range(permits - 1)]
    assert all(taken)
    with admission.permit():
        assert set(beside.together([partial(work, number) for number in range(4)])) == {here()}
    assert order == [0, 1, 2, 3]


def test_outside_a_permit_everything_is_done_here() -> None:
    assert beside.together([here, here]) == [here()] * 2


def test_never_more_threads_than_permits() -> None:
    admission = Admission(permits=3, queue_limit=100)
    lock = threading.Lock()
    working, most = 0, 0

    def work() -> None:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        threading.Event().wait(0.001)
        with lock:
            working -= 1

    def request() -> None:
        with admission.permit():
            beside.together([work] * 4)

    with ThreadPoolExecutor(8) as pool:
        for future in [pool.submit(request) for _ in range(40)]:
            future.result()
    assert most <= 3


def test_whoever_would_wait_does_the_next_part() -> None:
    admission = Admission(permits=2, queue_limit=0)
    begun, go_on = threading.Event(), threading.Event()

    def first() -> None:
        assert begun.wait(SECONDS)

    def held_up() -> int:
        begun.set()
        assert go_on.wait(SECONDS)
        return here()

    def last() -> int:
        go_on.set()
        return here()

    with admission.permit():
        _, other, own = beside.together([first, held_up, last])
    assert other != own == here()


def test_pictures_of_one_request_take_permits_of_their_own() -> None:
    admission = Admission(permits=2, queue_limit=0)
    both = threading.Barrier(2, timeout=SECONDS)

    def look() -> tuple[int, int]:
        with admission.permit():
            both.wait()
            inside = admission.inside
            both.wait()
        return here(), inside

    with admission.side_by_side():
        (first, inside), (second, as_many) = beside.together([look, look])
    assert first != second
    assert inside == as_many == 2
    assert admission.inside == 0


def test_pictures_of_one_request_wait_their_turn_when_others_compute() -> None:
    admission = Admission(permits=2, queue_limit=0)
    order: list[int] = []

    def look(number: int) -> int:
        with admission.permit():
            order.append(number)
        return here()

    with admission.permit(), admission.side_by_side():
        assert set(beside.together([partial(look, number) for number in range(3)])) == {here()}
    assert order == [0, 1, 2]


def test_pictures_that_are_slow_to_come_keep_nobody_from_computing() -> None:
    admission = Admission(permits=2, queue_limit=0)
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow() -> None:
        begun.release()
        assert go_on.wait(SECONDS)

    def request() -> None:
        with admission.side_by_side():
            beside.together([slow, slow])

    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(request) for _ in range(4)]
        for _ in range(4 + admission.permits):  # of each request one here, and all threads for further pictures
            assert begun.acquire(timeout=SECONDS)
        helped = threading.Event()
        with admission.permit():
            part = beside.offer(helped.set)
            assert helped.wait(SECONDS)
            part.take()
        go_on.set()
        for future in waiting:
            future.result()


def test_nobody_is_refused_for_a_borrowed_permit() -> None:
    admission = Admission(permits=2, queue_limit=0)
    begun, go_on = threading.Event(), threading.Event()

    def other() -> None:
        begun.set()
        assert go_on.wait(SECONDS)

    def request() -> int:
        with admission.permit():
            return here()

    with ThreadPoolExecutor(1) as pool, admission.permit():
        part = beside.offer(other)
        assert begun.wait(SECONDS)
        full = [admission.crowded]
        waiting = pool.submit(request)
        wait_until(lambda: admission.waiting == 1)
        full.append(admission.crowded)
        with pytest.raises(Overloaded), admission.permit():
            pytest.fail("nobody may enter")
        go_on.set()
        part.take()
        assert waiting.result(SECONDS) != here()
    assert full == [False, True]


def test_who_helps_has_no_helper() -> None:
    admission = Admission(permits=8, queue_limit=0)

    def nested() -> list[int]:
        return beside.together([here, here, here])

    with admission.permit():
        part = beside.offer(nested)
        assert len(set(part.take())) == 1


def test_a_part_belongs_to_the_deadline_of_its_request() -> None:
    admission = Admission(permits=2, queue_limit=0)
    begun = threading.Event()

    def seconds() -> float:
        begun.set()
        return deadline.left()

    with deadline.within(1000), admission.permit():
        part = beside.offer(seconds)
        assert begun.wait(SECONDS)
        assert 0 < part.take() <= 1000


@pytest.mark.parametrize("permits", [1, 2])
def test_a_failing_part_fails_its_taker_and_nobody_else(permits: int) -> None:
    admission = Admission(permits, queue_limit=0)

    def fail() -> int:
        raise KeyError("this one")

    for works in ([lambda: 1, fail], [fail, lambda: 1]):
        with pytest.raises(KeyError, match="this one"), admission.permit():
            beside.together(works)
    with admission.permit():
        part = beside.offer(lambda: 7)
        assert part.take() == 7


def test_what_nobody_has_begun_when_the_request_ends_is_dropped() -> None:
    admission = Admission(permits=2, queue_limit=0)
    begun, go_on = threading.Event(), threading.Event()
    done: list[str] = []

    def first() -> None:
        begun.set()
        assert go_on.wait(SECONDS)
        done.append("first")

    with admission.permit():
        part = beside.offer(first)
        assert begun.wait(SECONDS)
        beside.offer(lambda: done.append("second"))
    go_on.set()
    part.take()
    wait_until_free(admission)  # else the helper may still come to it
    assert done == ["first"]


def test_threads_that_do_not_start_cost_no_permits(monkeypatch: pytest.MonkeyPatch) -> None:
    admission = Admission(permits=2, queue_limit=0)
    start, none_left = threading.Thread.start, True

    def starting(thread: threading.Thread) -> None:
        if none_left and thread.name.startswith("aipface-helper"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starting)
    for _ in range(5):
        with admission.permit():
            assert beside.offer(here).take() == here()
        assert admission.inside == 0
    none_left = False
    with admission.permit():  # the first thread finds in the pool's queue what was submitted before
        begun = threading.Event()
        part = beside.offer(begun.set)
        assert begun.wait(SECONDS)
        part.take()
    admission._helpers.shutdown()  # all that was queued has been done
    assert admission.inside == 0
    with admission.permit():
        assert admission.borrow()
        assert not admission.borrow()
