"""Counts failures by name within time windows, in this process and, through the database, over all processes."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

CAPACITY = 20_000
"""Most names whose failures a process counts, and most names that it remembers as having worked: some megabytes."""

FORGET_AGAIN_SECONDS = 10.0
"""Least time between two messages to the other processes that a name works, so that its failures are forgotten."""


class Shared(Protocol):
    """The counter that all processes share. While it cannot be reached, its methods do nothing and raise nothing."""

    def count(self, names: Sequence[bytes], window_seconds: float) -> Mapping[bytes, tuple[int, float]]:
        """Add one failure of each name. By name: failures of all processes, seconds until they are forgotten.

        Empty while the counter cannot be reached.
        """
        ...

    def forget(self, name: bytes) -> None:
        """Forget the failures of a name."""
        ...

    def remember(self, name: bytes, seconds: float) -> None:
        """Keep a name for ``seconds``."""
        ...

    def remembers(self, name: bytes) -> bool:
        """Whether a name is kept; ``False`` while the counter cannot be reached."""
        ...


@dataclass(slots=True)
class _Window:
    ends: float
    failures: int = 0


class Failures:
    """Counts the failures of each name within a window that begins with its first failure. Thread-safe.

    With each failure that it reports, a process learns the count of all processes. So it lets through at most one
    failure more than a single process would. A success waits for the database at most once in
    ``FORGET_AGAIN_SECONDS``.
    """

    def __init__(
        self,
        window_seconds: float,
        *,
        shared: Shared | None = None,
        key: bytes = b"",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``key`` (up to 64 bytes): names are hashes under it, so that they reveal nothing. ``clock`` in seconds."""
        self._seconds = window_seconds
        self._shared = shared
        self._key = key
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: OrderedDict[bytes, _Window] = OrderedDict()
        self._worked: OrderedDict[bytes, float] = OrderedDict()

    def name(self, *parts: str) -> bytes:
        """A hash of ``parts``, 16 bytes: short however long they are, so that nobody can fill the memory with them."""
        text = "\0".join(parts).encode(errors="surrogatepass")
        return hashlib.blake2b(text, digest_size=16, key=self._key).digest()

    def known(self, name: bytes) -> int:
        """Failures of a name that this process knows of."""
        return self.state(name)[0]

    def state(self, name: bytes) -> tuple[int, float]:
        """Failures of a name that this process knows of, and the seconds until they are forgotten."""
        with self._lock:
            window = self._windows.get(name)
            left = 0.0 if window is None else window.ends - self._clock()
            return (0, 0.0) if window is None or left <= 0 else (window.failures, left)

    def add(self, *names: bytes) -> None:
        """Count one failure of each name."""
        counted = {} if self._shared is None else self._shared.count(names, self._seconds)
        with self._lock:
            for name in names:
                self._add(name, *counted.get(name, (0, self._seconds)))

    def succeeded(self, name: bytes) -> None:
        """Forget the failures of a name, and remember that it has worked."""
        with self._lock:
            now = self._clock()
            failed = self._windows.pop(name, None) is not None
            due = now - self._worked.get(name, float("-inf")) >= FORGET_AGAIN_SECONDS
            if failed or due:
                self._worked[name] = now
            self._worked.move_to_end(name)
            if len(self._worked) > CAPACITY:
                self._worked.popitem(last=False)
        if self._shared is not None and (failed or due):
            self._shared.forget(name)

    def has_worked(self, name: bytes) -> bool:
        """Whether a name has succeeded in this process."""
        with self._lock:
            return name in self._worked

    def remember(self, name: bytes, seconds: float) -> None:
        """Let all processes know for ``seconds`` that a name has worked. For names that seldom succeed."""
        if self._shared is not None:
            self._shared.remember(self._worked_name(name), seconds)

    def has_worked_anywhere(self, name: bytes) -> bool:
        """Whether a name has succeeded in this process, or is remembered. May ask the database."""
        if self.has_worked(name):
            return True
        return self._shared is not None and self._shared.remembers(self._worked_name(name))

    def _worked_name(self, name: bytes) -> bytes:
        return self.name("worked", name.hex())

    def _add(self, name: bytes, failures: int, seconds: float) -> None:
        """``failures`` are those of all processes, 0 where they are not known."""
        now = self._clock()
        window = self._windows.get(name)
        if window is None or now >= window.ends:
            window = self._windows[name] = _Window(now + min(seconds, self._seconds))
        # Others may have forgotten them, and this process has not counted what came before it.
        window.failures = failures or window.failures + 1
        self._windows.move_to_end(name)
        if len(self._windows) > CAPACITY:
            self._windows.popitem(last=False)
