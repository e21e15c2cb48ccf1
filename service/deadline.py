"""By when the request at hand has to be answered; work asks before it waits, and before it makes anything last.

Whoever serves a request names its seconds; work that nobody waits for (upkeep, commands) has no deadline. The
monotonic clock tells the time, so that setting the system's clock moves nothing.
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
    """What happens in the block, and in threads that are given its context, has so many seconds from now on."""
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
    """As ``left``, but never more than locks and conditions take for a timeout: some centuries for infinite."""
    return min(left(), threading.TIMEOUT_MAX)


@contextlib.contextmanager
def held(lock: threading.Lock) -> Iterator[None]:
    """Hold a lock for the block. Raises ``DeadlineExceeded`` when it is not to be had in time."""
    if not lock.acquire(timeout=left_to_wait()):
        raise DeadlineExceeded("what others were doing took too long")
    try:
        yield
    finally:
        lock.release()


def check() -> None:
    """Go on only if somebody still waits for the answer. Raises ``DeadlineExceeded``."""
    left()
