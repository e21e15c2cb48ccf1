"""The deadline of the current request. Work checks it before it waits, and before it commits anything.

Whoever serves a request sets its deadline; work that nobody waits for (upkeep, commands) has none. Time is taken from
the monotonic clock, so that setting the system's clock does not move deadlines.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import Iterator
from contextvars import ContextVar

from service.errors import DeadlineExceeded

_ends: ContextVar[float] = ContextVar("aipface_deadline", default=math.inf)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Set a deadline ``seconds`` from now for the block and for threads that run in a copy of its context."""
    token = _ends.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends.reset(token)


def left() -> float:
    """Seconds left, infinite without a deadline. Raises ``DeadlineExceeded`` when there are none."""
    seconds = _ends.get() - time.monotonic()
    if seconds <= 0:
        raise DeadlineExceeded("the request took too long")
    return seconds


def left_to_wait() -> float:
    """As ``left``, but at most what locks and conditions accept as a timeout: centuries instead of infinity."""
    return min(left(), threading.TIMEOUT_MAX)


@contextlib.contextmanager
def held(lock: threading.Lock) -> Iterator[None]:
    """Hold a lock for the block. Raises ``DeadlineExceeded`` when it cannot be acquired in time."""
    if not lock.acquire(timeout=left_to_wait()):
        raise DeadlineExceeded("what others were doing took too long")
    try:
        yield
    finally:
        lock.release()


def check() -> None:
    """Go on only if somebody still waits for the answer. Raises ``DeadlineExceeded``."""
    left()
