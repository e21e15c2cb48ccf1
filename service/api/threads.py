"""Worker threads that the event loop has stopped waiting for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

R = TypeVar("R")


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
        """Hand out ``work`` for a thread to run; one that still does when the block ends counts until it returns."""
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
