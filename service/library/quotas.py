"""Quotas of apps: who may ask how much, and what was asked.

Most requests cost the database nothing. Each process takes small portions of an app's quotas in advance
(``service.library.portions``) and counts in memory what it let through; a thread writes the counts down.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from service.background import Background
from service.errors import AppUnavailable, QuotaExceeded, ServiceUnavailable
from service.library.portions import Budgets, Seconds, Slots
from service.storage.engine import Database
from service.storage.quotas import Count, Standing, Usage
from service.values import NO_LIMITS, App, Limits

ROUND_SECONDS = 1.0
"""How often slots are reported to the database, and unused portions given back."""

ROUNDS_BETWEEN_FLUSHES = 5

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AppUsage:
    """What an app may ask and has asked; ``standing`` counts only while a daily or total quota is set."""

    limits: Limits
    standing: Standing
    calls: list[Usage]


class Meter:
    """One app's quotas in this process."""

    def __init__(self, database: Database, app_pk: int, process: uuid.UUID, zone: str) -> None:
        self._lock = threading.Lock()
        self._seconds = Seconds(database, app_pk)
        self._slots = Slots(database, app_pk, process)
        self._budgets = Budgets(database, app_pk, zone)
        self._limits = NO_LIMITS
        """Limits of the last request."""

    def enter(self, limits: Limits) -> None:
        """Let a request through. Takes nothing where it raises: a ``QuotaExceeded``, ``DatabaseUnavailable``."""
        with self._lock, contextlib.ExitStack() as undo:
            if (limits.daily, limits.total) != (self._limits.daily, self._limits.total):
                self._budgets.give_back()  # the portion was taken under other limits and may be too large under these
            self._limits = limits
            if limits.qps is not None:
                self._seconds.take(limits.qps)
                undo.callback(self._seconds.put_back)
            if limits.concurrent is not None:
                self._slots.enter(limits.concurrent)
                undo.callback(self._slots.leave)
            if limits.daily is not None or limits.total is not None:
                self._budgets.take()
            undo.pop_all()

    def leave(self, limits: Limits) -> None:
        """The request that was let through under these limits has been answered."""
        if limits.concurrent is not None:
            with self._lock:
                self._slots.leave()

    def settle(self, *, idle_seconds: float) -> None:
        """Report the slots in use to the database, and give back portions that were unused for ``idle_seconds``."""
        with self._lock:
            self._slots.tell()
            self._budgets.give_back(idle_since=time.monotonic() - idle_seconds)


class Counts:
    """Requests of this process that are not yet written down; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[int, str], list[int]] = {}

    def add(self, app_pk: int, call: str, *, requests: int = 0, errors: int = 0, refused: int = 0) -> None:
        with self._lock:
            known = self._counts.get((app_pk, call))
            if known is None:
                known = self._counts[app_pk, call] = [0, 0, 0]
            known[0] += requests
            known[1] += errors
            known[2] += refused

    def take(self) -> list[Count]:
        """Everything counted since the last time."""
        with self._lock:
            taken, self._counts = self._counts, {}
        return [Count(app_pk, call, *numbers) for (app_pk, call), numbers in taken.items()]

    def restore(self, counts: list[Count]) -> None:
        """Put back what could not be written."""
        for count in counts:
            self.add(count.app_pk, count.call, requests=count.requests, errors=count.errors, refused=count.refused)


class Quotas:
    """Limits and counts of every app. Thread-safe; ``start`` begins the upkeep, ``stop`` settles everything."""

    def __init__(self, database: Database, *, zone: str = "UTC", on_change: Callable[[], None] | None = None) -> None:
        """``zone`` is the time zone whose midnights begin the days; ``on_change`` is called after limits changed."""
        self._database = database
        self._zone = zone
        self._on_change = on_change
        self._process = uuid.uuid4()
        self._lock = threading.Lock()
        self._meters: dict[int, Meter] = {}
        self._counts = Counts()
        self._background = Background("quotas", self._run)

    @contextlib.contextmanager
    def admitted(self, app: App, call: str) -> Iterator[None]:
        """Answer a request within the block. An exception in the block counts as an error of the call.

        Raises ``RateExceeded``, ``DailyQuotaExceeded``, ``TotalQuotaExceeded``; for an app with limits also
        ``DatabaseUnavailable``, since only the database knows what other processes have let through.
        """
        limits = app.limits
        meter = None if limits == NO_LIMITS else self._meter(app.pk)
        if meter is not None:
            try:
                meter.enter(limits)
            except QuotaExceeded:
                self._counts.add(app.pk, call, refused=1)
                raise
        errors = 1
        try:
            yield
            errors = 0
        finally:
            if meter is not None:
                meter.leave(limits)
            self._counts.add(app.pk, call, requests=1, errors=errors)

    def set_limits(self, app: App, limits: Limits) -> None:
        """Change what an app may ask.

        A daily or total quota that is set where there was none counts today's, or all, earlier requests. Raises
        ``AppUnavailable``.
        """
        with self._database.admin() as work:
            before = work.apps.by_app_id(app.app_id)
            if before is None:
                raise AppUnavailable(app.app_id)
            work.apps.set_limits(app.pk, limits)
            work.audit.record("app.quota", {"app_id": app.app_id, **dataclasses.asdict(limits)})
            if before.limits.daily is None and before.limits.total is None:
                work.quotas.start_budget(app.pk, self._zone)
        if self._on_change is not None:
            self._on_change()

    def usage(self, app: App) -> AppUsage:
        """What an app may ask and has asked, as far as processes have written it down."""
        with self._database.read(app.pk) as reader:
            return AppUsage(app.limits, reader.quotas.standing(app.pk, self._zone), reader.quotas.usage(app.pk))

    def flush(self) -> None:
        """Write the counts down. Raises ``DatabaseUnavailable`` and keeps them then."""
        counts = self._counts.take()
        if not counts:
            return
        try:
            with self._database.metering() as ledger:
                ledger.count(counts, self._zone)
        except BaseException:
            self._counts.restore(counts)
            raise

    def settle(self, *, idle_seconds: float = ROUND_SECONDS) -> None:
        """Give back what no request needs. Raises ``DatabaseUnavailable``."""
        with self._lock:
            meters = list(self._meters.values())
        for meter in meters:
            meter.settle(idle_seconds=idle_seconds)

    def start(self) -> None:
        """Begin to settle and to write down in the background."""
        self._background.start()

    def stop(self) -> None:
        """Write everything down and give everything back; requests must have ended."""
        self._background.stop()
        self._attempt(self.flush)
        for _ in range(2):  # the first round notes that no slot is in use, the second gives them back
            self._attempt(lambda: self.settle(idle_seconds=-1))

    def _meter(self, app_pk: int) -> Meter:
        meter = self._meters.get(app_pk)
        if meter is None:
            with self._lock:
                made = Meter(self._database, app_pk, self._process, self._zone)
                meter = self._meters.setdefault(app_pk, made)
        return meter

    def _run(self) -> None:
        for rounds in self._background.rounds(ROUND_SECONDS):
            self._attempt(self.settle)
            if rounds % ROUNDS_BETWEEN_FLUSHES == 0:
                self._attempt(self.flush)

    @staticmethod
    def _attempt(work: Callable[[], None]) -> None:
        try:
            work()
        except ServiceUnavailable as error:
            logger.warning("quotas: %s", error)
        except Exception:
            logger.exception("the upkeep of quotas failed")
