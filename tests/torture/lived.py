"""Time as this process lived it, for experiments on machines that stand still now and then.

A virtual machine that moves, a laptop that sleeps or a SIGSTOP to everything stops server and client alike, while the
clocks go on: what took a minute then took no time at all. A server that hangs while everything else goes on is another
matter, and time lived tells the two apart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

BEAT_SECONDS = 0.05
LONGEST_BEAT_SECONDS = 0.5
"""What a beat counts for at most: one that comes later than this was not late by itself."""
STANDSTILL_SECONDS = 1.0


class LivedClock:
    """Counts beats of a thread of its own, which ends with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = time.monotonic()
        self._lived = self._lost = 0.0
        threading.Thread(target=self._beat, daemon=True, name="lived-clock").start()

    def lived(self) -> float:
        """Seconds, from any beginning, in which this process ran."""
        with self._lock:
            self._count()
            return self._lived

    def lost(self) -> float:
        """Seconds, from the same beginning, in which it did not."""
        with self._lock:
            self._count()
            return self._lost

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_SECONDS)
            with self._lock:
                self._count()

    def _count(self) -> None:
        now = time.monotonic()
        passed, self._last = now - self._last, now
        counted = min(passed, LONGEST_BEAT_SECONDS)
        self._lived += counted
        self._lost += passed - counted


CLOCK = LivedClock()


class Watch:
    """How long something took since this object was made, and whether everything stood still meanwhile."""

    def __init__(self) -> None:
        self._lived, self._lost = CLOCK.lived(), CLOCK.lost()

    def seconds(self) -> float:
        """Lived seconds."""
        return CLOCK.lived() - self._lived

    def stood_still(self) -> bool:
        """Whether more than a moment is missing: deadlines of the server may have passed in it."""
        return CLOCK.lost() - self._lost > STANDSTILL_SECONDS


def patience(seconds: float, step: float = 0.05) -> Iterator[float]:
    """Sleep a ``step`` at a time until so many seconds were lived; yields those that were, the first time at once."""
    watch = Watch()
    while (passed := watch.seconds()) < seconds:
        yield passed
        time.sleep(step)
