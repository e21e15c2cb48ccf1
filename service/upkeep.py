"""Deletes in the background what has expired or is old enough.

Expired: tokens, sessions, uploads, nonces, keys. Old: changes, feedback, crops, captures, audit entries.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

from service.background import Background
from service.capture.rules import RiskLimits
from service.errors import ServiceUnavailable
from service.library.audit import AuditTrail
from service.storage.engine import Database

logger = logging.getLogger(__name__)

ROUND_SECONDS = 5.0
TOKENS_PER_ROUND = 5_000
FEEDBACK_AT_ONCE = 5_000
CROPS_AT_ONCE = 5_000
NONCES_PER_ROUND = 5_000
CAPTURES_PER_ROUND = 5_000
UPLOADS_PER_ROUND = 500
FAILURES_KEPT = 100_000
"""Most names whose failed log-ins the database counts; beyond that the oldest are forgotten."""
SESSIONS_PER_ROUND = 5_000
CHANGES_KEPT = 1_000_000
"""Rows of each app's change log that stay: a process that fell further behind reloads the app instead."""

ROUNDS_BETWEEN_PRUNINGS = 720
"""Once an hour."""


JUMP_SECONDS = 3600.0
"""A clock that has moved by this much more or less than the time that passed was set, and not only corrected."""


def _uptime() -> float:
    """A clock that cannot be set, in seconds; it goes on while the machine sleeps where the system offers that."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


class Calendar:
    """Tells whether the system's clock has been set since the process began, forwards or backwards."""

    def __init__(self, clock: Callable[[], float] = time.time, passed: Callable[[], float] = _uptime) -> None:
        """Both tell seconds: of the clock that may be set, and of one that cannot."""
        self._clock = clock
        self._passed = passed
        self._ahead = clock() - passed()

    @property
    def was_set(self) -> bool:
        """Whether the clock shows a time that cannot be believed; ``False`` again once it has been put right."""
        return abs(self._clock() - self._passed() - self._ahead) > JUMP_SECONDS


@dataclass(frozen=True, slots=True)
class Retention:
    """How long feedback and crops are kept."""

    feedback: timedelta = timedelta(days=180)
    crops: timedelta | None = None
    """After enrolment; ``None`` keeps a crop as long as its face."""


class Upkeep:
    """Runs every ``ROUND_SECONDS``; a round that fails is logged and tried again, it never ends the thread."""

    def __init__(
        self,
        database: Database,
        limits: RiskLimits,
        audit: AuditTrail | None = None,
        *,
        retention: Retention | None = None,
        calendar: Calendar | None = None,
    ) -> None:
        """``limits`` say how long captures are remembered.

        When ``calendar`` says that the clock was set, nothing is deleted by age.
        """
        self._retention = retention or Retention()
        self._database = database
        self._limits = limits
        self._audit = audit
        self._calendar = calendar or Calendar()
        self._background = Background("upkeep", self._run)

    def start(self) -> None:
        """Begin; the first round comes after ``ROUND_SECONDS``."""
        self._background.start()

    def stop(self) -> None:
        """Stop; returns when the thread has ended."""
        self._background.stop()

    def _run(self) -> None:
        for rounds in self._background.rounds(ROUND_SECONDS):
            self._attempt(self._forget_tokens)
            self._attempt(self._forget_envelopes)
            self._attempt(self._forget_uploads)
            self._attempt(self._forget_sessions)
            self._attempt(self._forget_failures)
            if rounds % ROUNDS_BETWEEN_PRUNINGS == 0:
                self._attempt(self._prune_changes)
                self._attempt(self.purge_old)

    def purge_old(self) -> None:
        """Delete audit entries, feedback and crops that have been kept long enough, unless the clock was set meanwhile.

        A clock that jumps ahead by a year would delete a year's entries, and no clock brings them back.
        """
        if self._calendar.was_set:
            logger.warning(
                "the system's clock was set: nothing old is deleted until it is right or the server restarts"
            )
            return
        self._forget_feedback()
        self._forget_crops()
        self._purge_audit()

    def _attempt(self, work: Callable[[], None]) -> None:
        try:
            work()
        except ServiceUnavailable as error:
            logger.warning("upkeep: %s", error)
        except Exception:
            logger.exception("upkeep failed")

    def _forget_tokens(self) -> None:
        with self._database.admin() as work:
            work.tokens.purge_expired(TOKENS_PER_ROUND)

    def _forget_envelopes(self) -> None:
        with self._database.admin() as work:
            work.envelopes.purge_nonces(NONCES_PER_ROUND)
            work.envelopes.purge_keys()
            work.captures.purge(window=self._limits.window, history=self._limits.history, limit=CAPTURES_PER_ROUND)

    def _forget_uploads(self) -> None:
        with self._database.admin() as work:
            work.uploads.purge_expired(UPLOADS_PER_ROUND)

    def _forget_sessions(self) -> None:
        with self._database.admin() as work:
            work.liveness_sessions.purge_expired(SESSIONS_PER_ROUND)

    def _forget_failures(self) -> None:
        with self._database.admin() as work:
            work.attempts.purge(FAILURES_KEPT)

    def _prune_changes(self) -> None:
        with self._database.read() as reader:
            apps = reader.apps.all()
        for app in apps:
            for _ in pruned(self._database, app.pk, CHANGES_KEPT):
                if self._background.stopping.is_set():
                    return

    def _forget_feedback(self) -> None:
        deleted = FEEDBACK_AT_ONCE
        while deleted == FEEDBACK_AT_ONCE and not self._background.stopping.is_set():
            with self._database.admin() as work:
                deleted = work.feedback.purge(self._retention.feedback, FEEDBACK_AT_ONCE)

    def _forget_crops(self) -> None:
        if self._retention.crops is None:
            return
        last: int | None = 0
        while last is not None and not self._background.stopping.is_set():
            with self._database.admin() as work:
                last = work.erasing.crops(self._retention.crops, last, CROPS_AT_ONCE)

    def _purge_audit(self) -> None:
        if self._audit is not None:
            self._audit.purge(self._background.stopping.is_set)


def pruned(database: Database, app_pk: int, keep: int) -> Iterator[int]:
    """Drop all but the last ``keep`` changes of an app, some at a time, while its writers go on; gives how many."""
    with database.admin() as work:
        work.changes.raise_floor(app_pk, keep)
    count = 1
    while count:
        with database.admin() as work:
            count = work.changes.prune(app_pk)
        yield count
