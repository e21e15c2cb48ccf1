"""Watches whether a second thread takes part."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

SECONDS = 30.0
"""For what has to happen soon."""


class Idle:
    """A permit is always to be had."""

    def borrow(self) -> bool:
        return True

    def repay(self) -> None:
        """Nothing was taken."""


class Meeting:
    """What is ``watched`` waits in each of two threads until the other one has come to it, the first time."""

    def __init__(self) -> None:
        self.threads = set[int]()
        self._barrier = threading.Barrier(2)

    def watched(self, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same work."""

        def run(*arguments: Any) -> Any:
            if threading.get_ident() not in self.threads:
                self.threads.add(threading.get_ident())
                self._barrier.wait(SECONDS)
            return work(*arguments)

        return run
