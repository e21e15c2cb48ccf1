"""Bounded admission under real threads."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.errors import Overloaded
from service.inference.admission import Abandoned, Admission, caller_left


def wait_until(admission: Admission, waiting: int) -> None:
    """Return when so many callers wait."""
    end = time.monotonic() + 10
    while admission.waiting != waiting:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_never_more_inside_than_permits() -> None:
    admission = Admission(permits=3, queue_limit=100)
    inside: list[int] = []

    def work() -> None:
        with admission.permit():
            inside.append(admission.inside)
            time.sleep(0.001)

    with ThreadPoolExecutor(20) as pool:
        for future in [pool.submit(work) for _ in range(60)]:
            future.result()
    assert len(inside) == 60
    assert max(inside) <= 3
    assert admission.inside == 0
    assert admission.waiting == 0


def test_full_queue_is_refused_at_once_and_order_is_kept() -> None:
    admission = Admission(permits=1, queue_limit=2)
    order: list[int] = []

    def work(number: int) -> None:
        with admission.permit():
            order.append(number)

    with ThreadPoolExecutor(3) as pool:
        with admission.permit():
            futures = []
            for number in range(2):
                futures.append(pool.submit(work, number))
                wait_until(admission, number + 1)
            with pytest.raises(Overloaded), admission.permit():
                pytest.fail("nobody may enter")
        for future in futures:
            future.result()
    assert order == [0, 1]


def test_permit_comes_back_after_a_failure() -> None:
    admission = Admission(permits=1, queue_limit=0)
    with pytest.raises(KeyError), admission.permit():
        raise KeyError
    with admission.permit():
        assert admission.inside == 1


def test_without_a_queue_the_second_is_refused() -> None:
    admission = Admission(permits=1, queue_limit=0)
    with admission.permit(), pytest.raises(Overloaded), admission.permit():
        pytest.fail("nobody may enter")


@pytest.mark.parametrize(("permits", "queue_limit"), [(0, 1), (1, -1)])
def test_senseless_bounds_are_refused(permits: int, queue_limit: int) -> None:
    with pytest.raises(ValueError, match="permits"):
        Admission(permits, queue_limit)


def test_turn_of_a_caller_who_left_goes_to_the_next() -> None:
    admission = Admission(permits=1, queue_limit=2)
    outcomes: list[str] = []

    def ask(name: str, *, left: bool) -> None:
        caller_left.set(lambda: left)
        try:
            with admission.permit():
                outcomes.append(name)
        except Abandoned:
            outcomes.append(f"{name} left")

    threads = []
    with admission.permit():
        for number, (name, left) in enumerate((("first", True), ("second", False))):
            threads.append(threading.Thread(target=ask, args=(name,), kwargs={"left": left}))
            threads[-1].start()
            while admission.waiting <= number:
                time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert outcomes == ["first left", "second"]
    assert admission.inside == 0


def test_those_on_their_way_count_until_they_ask_for_a_permit() -> None:
    admission = Admission(permits=1, queue_limit=1)
    crowded = [admission.crowded]
    with admission.coming():
        crowded.append(admission.crowded)  # room for one more
        with admission.coming():
            crowded.append(admission.crowded)  # one for the permit, one for the queue
        with admission.permit():
            crowded.append(admission.crowded)  # it is counted once
        with admission.permit():  # a second one of the same request
            crowded.append(admission.crowded)
    assert crowded == [False, False, True, False, False]
    with admission.permit(), admission.coming():
        assert admission.crowded


def test_whoever_turns_back_is_no_longer_on_the_way() -> None:
    admission = Admission(permits=1, queue_limit=0)

    def turn_back() -> None:
        with admission.coming():
            assert admission.crowded
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 (there is no other)
        turn_back()
    assert not admission.crowded


def test_who_was_alone_is_told_so() -> None:
    admission = Admission(permits=2, queue_limit=2)
    with admission.permit():
        assert not alone(admission)  # of no request
    with admission.coming():
        assert not alone(admission)
        with admission.permit():
            assert alone(admission)
        assert alone(admission)
        with admission.permit():
            pass
        assert alone(admission)  # whoever comes again is no stranger
        with ThreadPoolExecutor(1) as pool:
            pool.submit(enter, admission).result()
        assert not alone(admission)
        with admission.permit():
            pass
        assert alone(admission)


def test_who_had_company_was_not_alone() -> None:
    admission = Admission(permits=2, queue_limit=2)
    with ThreadPoolExecutor(1) as pool, admission.coming():
        with admission.permit():
            pool.submit(enter, admission).result()
        assert not alone(admission)
        with admission.permit():
            assert admission.borrow()
        assert alone(admission)  # a helper is part of the request
        admission.repay()
        assert alone(admission)
        with admission.coming():
            assert not alone(admission)


def enter(admission: Admission) -> None:
    """As another request."""
    with admission.permit():
        pass


def alone(admission: Admission) -> bool:
    """The property, of which a type checker would think that it stays what it was."""
    return admission.undisturbed
