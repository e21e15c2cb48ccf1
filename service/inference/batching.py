"""Dynamic batching: what several requests want of one network at about the same time goes through it in one run.

For networks with inputs of one size, on hardware where a batch costs little more than one picture (a GPU); on
processors it gains nothing (docs/performance.md), and it is off there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from service.inference.admission import Abandoned, caller_left
from service.inference.session import Array, Session
from service.metrics import BATCH_FACES


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """Most ``rows`` of one run, which bounds its memory and time, and ``seconds`` that the first one waits for others.

    Whoever comes while a batch is computed joins the next one in any case.
    """

    rows: int
    seconds: float


@dataclass(slots=True, eq=False)
class _Entry:
    """What one caller wants, and what comes of it."""

    rows: Array
    left: Callable[[], bool] | None
    since: float = field(default_factory=time.monotonic)
    outputs: list[Array] | None = None
    error: BaseException | None = None
    settled: bool = False


class CountedSession(Session):
    """A session that tells the metrics how many faces each run has."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.input_shape = session.input_shape
        self.output_names = session.output_names

    @property
    def providers(self) -> tuple[str, ...]:
        return self._session.providers

    def run(self, batch: Array) -> list[Array]:
        BATCH_FACES.observe(len(batch))
        return self._session.run(batch)

    def _run(self, batch: Array) -> list[Array]:
        return self._session.run(batch)


class BatchedSession(Session):
    """A session whose ``run`` joins its callers' rows; each gets the outputs of its own.

    There is no thread behind it: of those who wait, one leads, which is to gather, run and hand out. A caller who left
    while waiting is dropped (``Abandoned``), and what fails is tried once more alone, so that nobody fails for another.
    """

    def __init__(self, session: Session, limits: BatchLimits) -> None:
        self._session = session
        self._limits = limits
        self.input_shape = session.input_shape
        self.output_names = session.output_names
        self._changed = threading.Condition()
        self._waiting: list[_Entry] = []
        self._led = False

    @property
    def providers(self) -> tuple[str, ...]:
        return self._session.providers

    def run(self, batch: Array) -> list[Array]:
        """As ``Session.run``. Raises what the network raises for these rows."""
        entry = _Entry(batch, caller_left.get(None))
        with self._changed:
            self._waiting.append(entry)
            self._changed.notify_all()
        while (portion := self._portion_to_lead(entry)) is not None:
            try:
                self._compute(portion)
            finally:
                with self._changed:
                    self._led = False
                    for each in portion:
                        each.settled = True
                    self._changed.notify_all()
        if entry.error is not None:
            raise entry.error
        if entry.outputs is None:  # whoever led was interrupted
            return self._session.run(entry.rows)
        return entry.outputs

    def _run(self, batch: Array) -> list[Array]:
        return self._session.run(batch)

    def _portion_to_lead(self, entry: _Entry) -> list[_Entry] | None:
        """Wait until nobody leads, gather and return what is to be computed; ``None`` once ``entry`` is settled."""
        with self._changed:
            self._changed.wait_for(lambda: entry.settled or not self._led)
            if entry.settled:
                return None
            self._led = True
            until = self._waiting[0].since + self._limits.seconds
            self._changed.wait_for(self._enough, timeout=max(0.0, until - time.monotonic()))
            return self._taken()

    def _enough(self) -> bool:
        return sum(len(entry.rows) for entry in self._waiting) >= self._limits.rows

    def _taken(self) -> list[_Entry]:
        """The first in line and those that fit beside it, taken off the line."""
        first, *others = self._waiting
        portion, size = [first], len(first.rows)
        for entry in others:
            if size + len(entry.rows) <= self._limits.rows and entry.rows.shape[1:] == first.rows.shape[1:]:
                portion.append(entry)
                size += len(entry.rows)
        self._waiting = [entry for entry in self._waiting if entry not in portion]
        return portion

    def _compute(self, portion: list[_Entry]) -> None:
        wanted = [entry for entry in portion if not _has_left(entry)]
        if len(wanted) > 1:
            try:
                outputs = self._session.run(np.concatenate([entry.rows for entry in wanted]))
            except Exception:  # noqa: BLE001 (told to whom it belongs, below)
                outputs = None
            if outputs is not None:
                bounds = np.cumsum([len(entry.rows) for entry in wanted])[:-1]
                for entry, *parts in zip(wanted, *(np.split(output, bounds) for output in outputs), strict=True):
                    entry.outputs = parts
                return
        for entry in wanted:
            try:
                entry.outputs = self._session.run(entry.rows)
            except Exception as error:  # noqa: BLE001 (raised in the thread that it belongs to)
                entry.error = error


def _has_left(entry: _Entry) -> bool:
    """Whether nobody waits for ``entry`` any more; notes that, or what went wrong in finding out."""
    try:
        if entry.left is not None and entry.left():
            entry.error = Abandoned()
    except Exception as error:  # noqa: BLE001 (raised in the thread that it belongs to)
        entry.error = error
    return entry.error is not None
