"""Bounded admission in front of inference: a few callers work, a few wait, the rest are refused at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar

from service import beside, deadline
from service.errors import DeadlineExceeded, Overloaded
from service.metrics import REFUSED, observe_stage

caller_left: ContextVar[Callable[[], bool]] = ContextVar("caller_left")
"""Set by the API for each request: tells whether the client has hung up. Called after a wait for a permit only."""

_this_request: ContextVar[object | None] = ContextVar("aipface_this_request", default=None)
"""An object that identifies the current request, from ``coming`` on."""


class Abandoned(Exception):
    """The client hung up while its request waited for a permit, so the work would be for nobody."""


class Admission:
    """At most ``permits`` callers are inside at once and at most ``queue_limit`` wait, first come first served."""

    def __init__(self, permits: int, queue_limit: int) -> None:
        if permits < 1 or queue_limit < 0:
            raise ValueError("permits must be at least 1 and the queue's limit at least 0")
        self.permits = permits
        self.queue_limit = queue_limit
        self._lock = threading.Lock()
        self._inside = 0
        self._borrowed = 0
        self._queue: list[threading.Event] = []
        self._coming: set[object] = set()
        """Requests on their way to their first permit. Needs no lock: each request adds and removes only its own
        object, each a single step of the interpreter, and readers may see a count that is a moment old."""
        self._alone: object | None = None
        """The request that got its first permit while no other had one; reset when another one comes."""
        self._helpers = ThreadPoolExecutor(permits, "aipface-helper")
        self._lookers = ThreadPoolExecutor(permits, "aipface-looker")
        """Threads for ``side_by_side``, whose work takes permits itself and may have to download first. They are apart
        from ``_helpers``, so that a request that holds a permit never waits for them."""

    @property
    def inside(self) -> int:
        """Permits in use now: by callers, and by threads that help one of them."""
        return self._inside

    @property
    def waiting(self) -> int:
        """Callers that wait for a permit now."""
        return len(self._queue)

    @property
    def undisturbed(self) -> bool:
        """Whether no other request has come, or held a permit, since the current one got its first permit."""
        with self._lock:
            return not self._coming and self._alone is not None and self._alone is _this_request.get()

    @property
    def crowded(self) -> bool:
        """Whether the queue will be full once all requests that are on their way have asked for a permit."""
        return self._inside + len(self._queue) + len(self._coming) >= self.permits + self._room

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Within the block the current request counts as on its way, until it asks for its first permit."""
        place = object()
        token = _this_request.set(place)
        self._coming.add(place)
        try:
            yield
        finally:
            self._coming.discard(place)
            _this_request.reset(token)

    @contextmanager
    def permit(self) -> Iterator[None]:
        """Hold a permit for the block; waits for one, or raises :class:`Overloaded` when the queue is full.

        Raises :class:`Abandoned` when the client has hung up by the time a permit is free, and
        :class:`DeadlineExceeded` when none is free in time. Work that the block hands to :func:`service.beside.offer`
        may take a second permit while nobody waits.
        """
        started = time.perf_counter()
        self._enter()
        observe_stage("wait", time.perf_counter() - started)
        try:
            with beside.helped(self, self._helpers):
                yield
        finally:
            self._leave()

    @contextmanager
    def side_by_side(self) -> Iterator[None]:
        """For a request that holds no permit: let other threads do the work that the block hands to ``beside.offer``.

        That work takes permits itself, as the block does. It is given to another thread only while more than one permit
        is free; else the request's own thread does one part after the other.
        """
        with beside.helped(_Idle(self), self._lookers):
            yield

    def borrow(self) -> bool:
        """Take a permit that nobody waits for; ``False`` when there is none."""
        with self._lock:
            free = self._inside < self.permits
            self._inside += free
            self._borrowed += free
            return free

    def repay(self) -> None:
        """Return a permit that was borrowed."""
        with self._lock:
            self._borrowed -= 1
            self._pass_on()

    @property
    def _room(self) -> int:
        """How many may wait.

        A borrowed permit adds a place: a request is not refused because another one has a helper.
        """
        return self.queue_limit + self._borrowed

    def _leave(self) -> None:
        with self._lock:
            self._pass_on()

    def _pass_on(self) -> None:
        if self._queue:
            # The permit passes straight to the first in line, so that nobody can overtake.
            self._queue.pop(0).set()
        else:
            self._inside -= 1

    def _enter(self) -> None:
        with self._lock:
            place = _this_request.get()
            self._coming.discard(place)
            if self._inside == self._borrowed:
                self._alone = place
            elif self._alone is not place:
                self._alone = None
            if self._inside < self.permits:
                self._inside += 1
                return
            if len(self._queue) >= self._room:
                REFUSED["queue"].inc()
                raise Overloaded(f"{self._inside} requests are being worked on and {len(self._queue)} wait")
            turn = threading.Event()
            self._queue.append(turn)
        try:
            came = turn.wait(deadline.left_to_wait())
        except BaseException:
            self._give_up(turn)
            raise
        if not came:
            self._give_up(turn)
            raise DeadlineExceeded("no turn came in time")
        left = caller_left.get(None)
        try:
            gone = left is not None and left()
        except BaseException:
            self._leave()
            raise
        if gone:
            self._leave()
            raise Abandoned

    def _give_up(self, turn: threading.Event) -> None:
        """A waiting caller was interrupted: leave the queue, or pass on the permit that it was just given."""
        with self._lock:
            if turn in self._queue:
                self._queue.remove(turn)
                return
        self._leave()


class _Idle:
    """The lender of ``side_by_side``: lends a thread but no permit, since the work takes permits itself."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def borrow(self) -> bool:
        return self._admission.permits - self._admission.inside > 1

    def repay(self) -> None:
        """Nothing was taken."""
