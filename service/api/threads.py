"""Results of worker threads, and a count of the threads that the event loop no longer waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

R = TypeVar("R")


class Outcome(Generic[R]):
    """The result or the exception of work in a thread, to be taken once.

    A future would do, but for a reference cycle: it refers to its exception, whose traceback refers to the future. The
    cycle would keep the body of a refused request until the garbage collector runs, and the event loop would stand
    still while the collector frees many of them at once.
    """

    __slots__ = ("_error", "_result")

    def __init__(self, work: Callable[[], R]) -> None:
        """Run the work, here and now."""
        self._error: BaseException | None = None
        try:
            self._result = work()
        except BaseException as error:  # noqa: BLE001 (raised again by who takes it)
            self._error = error

    def take(self) -> R:
        """The result. Raises what the work raised."""
        if self._error is None:
            return self._result
        error, self._error = self._error, None
        try:
            raise error
        finally:
            del error


class LeftBehind:
    """Counts threads that still work for requests that have been given up. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._working: set[object] = set()
        self._left: set[object] = set()

    @property
    def count(self) -> int:
        """How many there are now."""
        return len(self._left)

    @contextmanager
    def watching(self, work: Callable[[], R]) -> Iterator[Callable[[], R]]:
        """Wrap ``work`` for a thread. If the thread still runs it when the block ends, it counts until it returns."""
        name = object()

        def watched() -> R:
            with self._lock:
                self._working.add(name)
            try:
                return work()
            finally:
                with self._lock:
                    self._working.discard(name)
                    self._left.discard(name)

        try:
            yield watched
        finally:
            with self._lock:
                if name in self._working:
                    self._left.add(name)
