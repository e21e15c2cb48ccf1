"""What one process may let through of an app's quotas without asking the database.

A process asks for a portion when its last one is used up. The first portion is one request; portions double while
requests keep coming. So a busy process asks seldom, and an idle one keeps little from the others. Near the limit the
database grants one request at a time. These classes take no locks: ``Meter``, which owns them, has one.
"""

from __future__ import annotations

import contextlib
import time
from datetime import date
from uuid import UUID

from service.errors import (
    DailyQuotaExceeded,
    QuotaExceeded,
    RateExceeded,
    ServiceUnavailable,
    TotalQuotaExceeded,
)
from service.storage.engine import Database

MOST_AT_ONCE = 1024
"""Most requests of a day's quota that a process holds."""

GROWTH_SECONDS = 1.0
"""A portion that was used up in less time than this is followed by one twice as large, else by one half as large."""

ASK_AGAIN_SECONDS = 0.1
"""How long a process refuses requests after the database granted nothing, before it asks again."""

FEW_SLOTS = 4
"""Where an app may have at most this many requests at once, a process gives a slot back as soon as it is free.

Otherwise a process that answers now and then would keep slots that the others need, and they would refuse all requests.
"""


class Seconds:
    """Requests a second, by the seconds of the database's clock."""

    def __init__(self, database: Database, app_pk: int) -> None:
        self._database = database
        self._app_pk = app_pk
        self._left = 0
        self._used = 0
        self._ends = 0.0
        self._spent = False

    def take(self, qps: int) -> None:
        """Let one request through. Raises ``RateExceeded``, and ``DatabaseUnavailable``."""
        now = time.monotonic()
        wanted = self._used
        if now >= self._ends:
            # About as many requests as in the last second will come: ask for half of them at first.
            wanted, self._used, self._left, self._spent = self._used // 2, 0, 0, False
        if self._left == 0 and not self._spent:
            with self._database.metering() as ledger:
                second = ledger.take_second(self._app_pk, qps, max(1, wanted))
            # At most one second: if the clock was put back, the stored second may end far in the future.
            self._ends, self._left, self._spent = now + min(1.0, second.seconds), second.granted, second.granted == 0
        if self._left == 0:
            raise RateExceeded
        self._left -= 1
        self._used += 1

    def put_back(self) -> None:
        """Return a request that was taken and is not used after all."""
        if time.monotonic() < self._ends:
            self._left += 1
            self._used -= 1


class Budgets:
    """Requests a day, and ever."""

    def __init__(self, database: Database, app_pk: int, zone: str) -> None:
        self._database = database
        self._app_pk = app_pk
        self._zone = zone
        self._day = date.min
        self._left = 0
        self._wanted = 1
        self._taken_at = float("-inf")
        self._used_at = float("-inf")
        self._ends = 0.0
        self._refusal: type[QuotaExceeded] | None = None
        self._refused_until = float("-inf")

    def take(self) -> None:
        """Let one request through. Raises ``DailyQuotaExceeded``, ``TotalQuotaExceeded``, ``DatabaseUnavailable``."""
        now = time.monotonic()
        if now >= self._ends:
            self.give_back()
        if self._left == 0:
            self._take_portion(now)
        self._left -= 1
        self._used_at = now

    def give_back(self, *, idle_since: float | None = None) -> None:
        """Return what is left to the database; with ``idle_since``, only if nothing was let through since then."""
        if self._left == 0 or (idle_since is not None and self._used_at >= idle_since):
            return
        with self._database.metering() as ledger:
            ledger.give_back(self._app_pk, self._day, self._left)
        self._left = 0
        self._wanted = 1

    def _take_portion(self, now: float) -> None:
        if self._refusal is not None and now < self._refused_until:
            raise self._refusal
        busy = now - self._taken_at < GROWTH_SECONDS
        self._wanted = min(MOST_AT_ONCE, 2 * self._wanted) if busy else max(1, self._wanted // 2)
        with self._database.metering() as ledger:
            portion = ledger.take_budget(self._app_pk, self._wanted, self._zone)
        self._taken_at, self._day, self._left, self._ends = now, portion.day, portion.granted, now + portion.seconds
        self._refusal = None
        if not portion.granted:
            self._refusal = TotalQuotaExceeded if portion.spent else DailyQuotaExceeded
            self._refused_until = now + ASK_AGAIN_SECONDS
            raise self._refusal


class Slots:
    """Requests at once."""

    def __init__(self, database: Database, app_pk: int, process: UUID) -> None:
        self._database = database
        self._app_pk = app_pk
        self._process = process
        self._held = 0
        self._told = 0
        """What the database believes that this process holds."""
        self._busy = 0
        self._busiest = 0
        self._most = 0
        self._too_many = False
        """Whether ``_most`` was lowered, so that all processes together may hold more slots than it allows."""
        self._refused_until = float("-inf")

    def enter(self, most: int) -> None:
        """Take a slot. Raises ``RateExceeded`` and ``DatabaseUnavailable``."""
        self._too_many, self._most = self._too_many or most < self._most, most
        if self._too_many:  # free slots are not used again until the database has granted slots under the new limit
            self._held = min(self._held, self._busy)
        if self._busy >= most:
            raise RateExceeded
        if self._busy >= self._held:
            self._ask(most)
        self._busy += 1
        self._busiest = max(self._busiest, self._busy)

    def _ask(self, most: int) -> None:
        """Take slots from the database. Raises ``RateExceeded`` when it has none, and ``DatabaseUnavailable``."""
        now = time.monotonic()
        if now < self._refused_until:
            raise RateExceeded
        with self._database.admin() as work:
            wanted = max(1, self._held)
            held = work.quotas.take_slots(self._app_pk, self._process, held=self._held, most=most, wanted=wanted)
        self._held = self._told = held
        if self._busy >= held:
            self._refused_until = now + ASK_AGAIN_SECONDS
            raise RateExceeded
        self._too_many = False

    def leave(self) -> None:
        """Free a slot; it stays with the process, unless there are few."""
        self._busy -= 1
        if self._most <= FEW_SLOTS and self._held > self._busy:
            with contextlib.suppress(ServiceUnavailable):  # the request has been answered; ``tell`` reports it later
                self._keep(self._busy)

    def tell(self) -> None:
        """Report that the process lives, and give back slots that were never in use since the last report."""
        if self._told == 0:
            return
        self._keep(min(self._held, self._busiest))
        self._busiest = self._busy

    def _keep(self, needed: int) -> None:
        """Give back what is held beyond the slots that are needed. Raises ``DatabaseUnavailable``."""
        with self._database.metering() as ledger:
            ledger.tell_slots(self._app_pk, self._process, needed)
        self._held = self._told = needed
