"""What threads hand back."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import anyio
import anyio.to_thread
import pytest

from service.api.threads import Outcome


class Picture:
    """Large enough that nobody wants it to stay."""


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Only what nothing refers to is freed."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def test_a_result_is_handed_over() -> None:
    assert Outcome(lambda: 7).take() == 7


def test_an_exception_is_raised_where_it_is_taken_with_where_it_comes_from() -> None:
    outcome: Outcome[float] = Outcome(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError) as raised:
        outcome.take()
    assert [entry.name for entry in raised.traceback][-1] == "<lambda>"


@pytest.mark.usefixtures("no_collector")
def test_what_failing_work_held_is_freed_at_once() -> None:
    known: list[weakref.ref[Picture]] = []

    def fail() -> None:
        picture = Picture()
        known.append(weakref.ref(picture))
        raise ValueError(str(picture))

    async def request() -> str:
        try:
            (await anyio.to_thread.run_sync(Outcome, fail)).take()
        except ValueError:
            return "refused"
        return "answered"

    assert anyio.run(request) == "refused"
    assert known[0]() is None
