"""Both hands for one request: parts of its work done beside each other while processors have nothing else to do.

Admission bounds how many threads compute. A request that holds a permit may borrow another one that nobody waits for,
for a second thread; where there is none, the parts are done one after another by the thread that holds the permit. So
an idle server answers sooner, and a busy one does the same work as it would without this.
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
    """Who grants permits; see ``service.inference.admission.Admission``."""

    def borrow(self) -> bool:
        """Take a permit that nobody waits for; ``False`` when there is none."""
        ...

    def repay(self) -> None:
        """Return what ``borrow`` gave."""
        ...


class Part(Generic[R]):
    """A piece of a request's work, done by whoever comes first: the helper, or who wants the result."""

    def __init__(self, work: Callable[[], R]) -> None:
        self._work = work
        self._claim = threading.Lock()
        self._done = threading.Event()
        self._result: R
        self._error: BaseException | None = None

    @property
    def begun(self) -> bool:
        """Whether somebody does it or did."""
        return self._claim.locked()

    @property
    def failed(self) -> bool:
        """Whether it was done and raised."""
        return self._error is not None

    def take(self) -> R:
        """The result, computed here unless that has begun. Raises what the work raises."""
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
        """Do the work unless somebody does or did; ``False`` in that case."""
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
    """Of one request: parts that wait, and at most one thread at a time that does them."""

    def __init__(self, lender: Lender, threads: ThreadPoolExecutor) -> None:
        self._lender = lender
        self._threads = threads
        self._lock = threading.Lock()
        self._waiting: deque[Part[Any]] = deque()
        self._working = False

    def offer(self, work: Callable[[], R]) -> Part[R]:
        """Have ``work`` done by another thread if a permit can be borrowed for it, else by who takes the result."""
        with self._lock:
            starts = not self._working and self._lender.borrow()
            if not (starts or self._working):
                return Part(work)
            context = copy_context()
            context.run(_current.set, None)  # who helps has no helper
            part = Part(lambda: context.run(work))
            self._waiting.append(part)
            self._working = True
        if starts:
            self._start()
        return part

    def dismiss(self) -> None:
        """The request is over: what nobody has begun is not wanted any more."""
        with self._lock:
            self._waiting.clear()

    def _start(self) -> None:
        # Submitted work stays in the pool's queue when no thread could be started for it, and is done when the next one
        # is: whoever takes this first, that work or we, has the permit to return, and the other has nothing to do.
        turn = threading.Lock()
        try:
            self._threads.submit(self._work, turn)
        except RuntimeError:  # no more threads, or the process ends: what waits is done by who takes it
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
    """What the block offers may be done by one of ``threads``, with a permit of ``lender``'s."""
    helper = Helper(lender, threads)
    token = _current.set(helper)
    try:
        yield
    finally:
        _current.reset(token)
        helper.dismiss()


def offer(work: Callable[[], R]) -> Part[R]:
    """A part of the work of the request at hand, for another thread if one may help; else for ``take`` to do.

    ``work`` may use what other parts use only as far as that is safe among threads.
    """
    helper = _current.get()
    return Part(work) if helper is None else helper.offer(work)


def together(works: Sequence[Callable[[], R]]) -> list[R]:
    """The results of all ``works`` in their order; the first is done here. Raises what the first that fails raises."""
    others = [offer(work) for work in works[1:]]
    results = [work() for work in works[:1]]
    for part in others:  # whoever waits for one that is being done elsewhere does the next ones meanwhile
        if part.attempt() and part.failed:
            break
    return results + [part.take() for part in others]
