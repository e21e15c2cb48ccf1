"""Bounded admission in front of inference: a few work, a few wait, the rest are told at once."""

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
"""Tells, in the context of a request, whether whoever asked has hung up; asked after a wait and at no other time."""

_this_request: ContextVar[object | None] = ContextVar("aipface_this_request", default=None)
"""What stands for the request at hand, among those that are on their way to a permit and later."""


class Abandoned(Exception):
    """The caller hung up while waiting for a turn, so that the work would be for nobody."""


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
        """What stands for the requests on their way. Needs no lock: to add one or take one away is a single step, each
        does so with its own alone, and who asks whether there are any, or how many, may be told a moment late."""
        self._alone: object | None = None
        """What stands for the request that got its first permit when nobody had any, until somebody else comes."""
        self._helpers = ThreadPoolExecutor(permits, "aipface-helper")
        self._lookers = ThreadPoolExecutor(permits, "aipface-looker")
        """Of those who hold no permit yet and may have to download first: nobody who holds one waits for them."""

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
        """Whether nobody else has been inside or on the way since the request at hand got its first permit."""
        with self._lock:
            return not self._coming and self._alone is not None and self._alone is _this_request.get()

    @property
    def crowded(self) -> bool:
        """Whether who begins to come now would be refused, once all are there who are on their way already."""
        return self._inside + len(self._queue) + len(self._coming) >= self.permits + self._room

    @contextmanager
    def coming(self) -> Iterator[None]:
        """Within the block a request is on its way to a permit, until it asks for its first one."""
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

        Raises :class:`Abandoned` when the turn comes and the caller has left, and :class:`DeadlineExceeded` when it
        does not come in time. What the block offers ``beside`` itself may take further permits while nobody waits.
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
        """Of a request without a permit: what the block offers ``beside`` itself takes permits, as the block does.

        Other threads do it while more than one permit lies idle; else it is done in its turn.
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
        """How many may wait: whoever finds a permit borrowed waits for it, and is not refused for that."""
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
        """A waiting caller was interrupted: step out of the line, or hand on the permit that came meanwhile."""
        with self._lock:
            if turn in self._queue:
                self._queue.remove(turn)
                return
        self._leave()


class _Idle:
    """Lends a thread without a permit."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def borrow(self) -> bool:
        return self._admission.permits - self._admission.inside > 1

    def repay(self) -> None:
        """Nothing was taken."""
