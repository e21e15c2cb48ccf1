"""Properties that are computed once, without making other objects of their class wait."""

from __future__ import annotations

import threading

import pytest

from service.once import once

SECONDS = 60.0


class Work:
    """Computes as soon as ``go`` is set."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.times = 0

    @once
    def result(self) -> int:
        """What it comes to."""
        self.begun.set()
        assert self.go.wait(SECONDS)
        self.times += 1
        return self.times


def test_it_is_computed_once() -> None:
    work = Work()
    work.go.set()
    assert [work.result, work.result, work.times] == [1, 1, 1]
    assert Work.result.__doc__ == "What it comes to."


def test_objects_do_not_wait_for_each_other() -> None:
    """Before Python 3.12 ``functools.cached_property`` fails here: one lock for all objects of the class."""
    slow, quick = Work(), Work()
    thread = threading.Thread(target=lambda: slow.result)
    thread.start()
    assert slow.begun.wait(SECONDS)
    quick.go.set()
    found: list[int] = []
    other = threading.Thread(target=lambda: found.append(quick.result), daemon=True)
    other.start()
    other.join(SECONDS)
    assert found == [1]
    slow.go.set()
    thread.join()


def test_what_fails_is_tried_again() -> None:
    class Failing:
        attempts = 0

        @once
        def result(self) -> int:
            self.attempts += 1
            if self.attempts == 1:
                raise ValueError("not yet")
            return 7

    failing = Failing()
    with pytest.raises(ValueError, match="not yet"):
        _ = failing.result
    assert failing.result == 7
