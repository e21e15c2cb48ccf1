"""A thread that works in the background for as long as its owner lives: begun once, told to stop, waited for."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator


class Background:
    """One named daemon thread. Its owner calls ``start`` once, if at all, and ``stop`` at its own end."""

    def __init__(self, name: str, work: Callable[[], None]) -> None:
        """``work`` runs in the thread and has to return soon after ``stopping`` was set."""
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=work, name=name, daemon=True)

    def start(self) -> None:
        """Begin ``work``."""
        self._thread.start()

    def stop(self) -> None:
        """Set ``stopping`` and wait until the thread has ended. Harmless where it was never started."""
        self.stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def rounds(self, seconds: float) -> Iterator[int]:
        """1, 2, 3, ...: one number every ``seconds``, the first after so many, until ``stopping`` is set."""
        for number in itertools.count(1):
            if self.stopping.wait(seconds):
                return
            yield number
