"""Parallelism within one request: on an idle server a second thread does some of its work.

Admission bounds how many threads compute, by permits. A request that holds a permit may borrow a second one for a
helping thread as long as no other request waits for it. Otherwise the request's own thread does all parts, one after
another. So an idle server answers sooner, and a busy one does the same work as it would without this module.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from typing import Any, Generic, Protocol, TypeVar

R = TypeVar("R")

_current: ContextVar[Helper | None] = ContextVar("aipface_helper", default=None)


class Lender(Protocol):
    """Where permits are borrowed from; see ``service.inference.admission.Admission``."""

    def borrow(self) -> bool:
        """Take a permit that nobody waits for; ``False`` when there is none."""
        ...

    def repay(self) -> None:
        """Return a borrowed permit."""
        ...


class Part(Generic[R]):
    """A piece of a request's work, done by the helping thread or by whoever takes the result, whichever is first."""

    def __init__(self, work: Callable[[], R]) -> None:
        self._work = work
        self._claim = threading.Lock()
        self._done = threading.Event()
        self._result: R
        self._error: BaseException | None = None

    @property
    def begun(self) -> bool:
        """Whether a thread has begun it, and perhaps ended."""
        return self._claim.locked()

    @property
    def failed(self) -> bool:
        """Whether it was done and raised."""
        return self._error is not None

    def take(self) -> R:
        """The result, computed in this thread unless another one has begun. To be called once.

        Raises what the work raised.
        """
        if not self.attempt():
            self._done.wait()
        if self._error is not None:
            error, self._error = self._error, None
            try:
                raise error
            finally:
                del error  # it refers to this frame by its traceback
        return self._result

    def attempt(self) -> bool:
        """Do the work in this thread. Does nothing and returns ``False`` where a thread has begun it already."""
        if not self._claim.acquire(blocking=False):
            return False
        try:
            self._result = self._work()
        except BaseException as error:  # noqa: BLE001 (raised by whoever takes the result)
            self._error = error
        finally:
            self._done.set()
        return True


class Helper:
    """The helping thread of one request, at most one at a time, and the parts that wait for it."""

    def __init__(self, lender: Lender, threads: ThreadPoolExecutor) -> None:
        self._lender = lender
        self._threads = threads
        self._lock = threading.Lock()
        self._waiting: deque[Part[Any]] = deque()
        self._working = False

    def offer(self, work: Callable[[], R]) -> Part[R]:
        """Make a part.

        A helping thread begins with it if a permit can be borrowed; else who takes its result does it.
        """
        with self._lock:
            starts = not self._working and self._lender.borrow()
            if not (starts or self._working):
                return Part(work)
            context = copy_context()
            context.run(_current.set, None)  # a helping thread gets no helper of its own
            part = Part(lambda: context.run(work))
            self._waiting.append(part)
            self._working = True
        if starts:
            self._start()
        return part

    def dismiss(self) -> None:
        """The request is over: parts that no thread has begun are dropped."""
        with self._lock:
            self._waiting.clear()

    def _start(self) -> None:
        # Where no thread could be started, the pool keeps the submitted work and does it as soon as it has a thread.
        # The lock decides who returns the permit: that late work, or the except clause below. The other does nothing.
        turn = threading.Lock()
        try:
            self._threads.submit(self._work, turn)
        except RuntimeError:  # no more threads, or the process ends: whoever takes a part's result does it
            if turn.acquire(blocking=False):
                with self._lock:
                    self._working = False
                self._lender.repay()

    def _work(self, turn: threading.Lock) -> None:
        if not turn.acquire(blocking=False):
            return
        while True:
            with self._lock:
                if not self._waiting:
                    self._working = False
                    break
                part = self._waiting.popleft()
            part.attempt()
            del part
        self._lender.repay()


@contextmanager
def helped(lender: Lender, threads: ThreadPoolExecutor) -> Iterator[None]:
    """Within the block, ``offer`` may hand work to one of ``threads``, with a permit borrowed from ``lender``."""
    helper = Helper(lender, threads)
    token = _current.set(helper)
    try:
        yield
    finally:
        _current.reset(token)
        helper.dismiss()


def offer(work: Callable[[], R]) -> Part[R]:
    """Make a part of the current request's work. A helping thread does it if there may be one, else ``take`` does.

    Parts run at the same time, so what several of them use has to be thread-safe.
    """
    helper = _current.get()
    return Part(work) if helper is None else helper.offer(work)


def together(works: Sequence[Callable[[], R]]) -> list[R]:
    """The results of all ``works`` in their order; the first is done in this thread.

    Raises what the first one that fails raises.
    """
    others = [offer(work) for work in works[1:]]
    results = [work() for work in works[:1]]
    for part in others:  # skips the part that the helping thread is doing, and goes on with the next
        if part.attempt() and part.failed:
            break
    return results + [part.take() for part in others]
