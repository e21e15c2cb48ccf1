"""Functions are called at one distance from the start of a page, whoever calls and from however deep."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NoReturn

import pytest

from service.inference import stack_place
from service.inference.stack_place import CANDIDATES, PAGE, ROUNDS, StackPlace, best_place, stack_pointer

known = pytest.mark.skipif(stack_pointer() is None, reason="the system does not tell where the stack ends")
DEPTHS = range(12)


def distance() -> int:
    pointer = stack_pointer()
    assert pointer is not None
    return pointer % PAGE


def below(depth: int, function: Callable[[], int]) -> int:
    """What the function returns, from below so many frames of the interpreter."""
    return function() if depth == 0 else partial(below, depth - 1, function)()


@known
@pytest.mark.parametrize("wanted", [0, 16, 1440, 4080])
def test_the_distance_is_that_of_the_place_from_any_depth_and_in_any_thread(wanted: int) -> None:
    place = StackPlace(wanted)
    assert len({below(depth, distance) for depth in DEPTHS}) > 1, "depths make no difference here"

    def from_all_depths() -> set[int]:
        return {below(depth, partial(place, distance)) for depth in DEPTHS}

    assert from_all_depths() == {wanted}
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(from_all_depths).result() == {wanted}


def test_what_the_function_returns_and_raises_is_passed_on() -> None:
    def fail() -> NoReturn:
        raise KeyError("asked for")

    for wanted in range(0, PAGE, 272):
        assert StackPlace(wanted)(lambda: "returned") == "returned"
        with pytest.raises(KeyError, match="asked for"):
            StackPlace(wanted)(fail)


@known
@pytest.mark.parametrize("fast", range(CANDIDATES))
def test_the_best_place_is_where_the_work_was_fastest(fast: int) -> None:
    where = fast * PAGE // CANDIDATES
    calls = []

    def work() -> None:
        calls.append(distance())
        # The work stands a little below its place, by the frame of this function at most.
        if (where - calls[-1]) % PAGE >= PAGE // CANDIDATES:
            time.sleep(0.005)

    found = best_place(work)
    assert len(calls) == CANDIDATES * ROUNDS
    assert found(distance) == where


def test_a_system_that_does_not_tell_computes_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_place, "_getcontext", lambda: None)
    assert stack_pointer() is None
    calls: list[int] = []
    place = best_place(lambda: calls.append(1))
    assert calls == []
    assert place(threading.get_ident) == threading.get_ident()
