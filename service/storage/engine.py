"""Connections to the database, and the ways to use one: ``read``, ``write`` an app's library, ``admin`` and others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.pool import ConnectionPoolEntry

from service import deadline
from service.storage import guard
from service.storage.apps import AppReader, AppWriter
from service.storage.attempts import AttemptWriter
from service.storage.audit import AuditEntry, AuditReader, AuditWriter
from service.storage.audit_retention import AuditRetention
from service.storage.behind import Behind
from service.storage.captures import CaptureWriter
from service.storage.changes import ChangeReader, ChangeWriter
from service.storage.disclosure import DisclosureReader
from service.storage.envelopes import EnvelopeReader, EnvelopeWriter
from service.storage.erasing import EraseWriter
from service.storage.execution import Execution
from service.storage.face_keys import FaceKeyReader, FaceKeyWriter
from service.storage.faces import FaceReader, FaceWriter
from service.storage.failures import translated
from service.storage.feedback import FeedbackReader, FeedbackWriter
from service.storage.groups import GroupReader, GroupWriter
from service.storage.identities import IdentityReader, IdentityWriter
from service.storage.lines import Lines
from service.storage.liveness_sessions import LivenessSessionWriter
from service.storage.models import PRESENCE, FaceEmbeddings, ModelReader
from service.storage.moving import ModelWriter, Standstill
from service.storage.quotas import QuotaReader, QuotaWriter
from service.storage.recording import Recording
from service.storage.sealed import SealedWriter
from service.storage.sealing import PLAIN, FaceSealing
from service.storage.searching import SearchReader
from service.storage.tokens import TokenReader, TokenWriter
from service.storage.uploads import UploadReader, UploadWriter
from service.storage.urls import driver_address, normalised
from service.storage.users import UserReader, UserWriter

CONNECT_SECONDS = 5
CHECKOUT_SECONDS = 5.0
"""Longest wait for a free connection of the pool."""
STATEMENT_SECONDS = 30.0
"""Longest statement of a request; bulk work sets its own."""
LOCK_SECONDS = 10.0
"""Longest wait for the other writers of the same app."""
RECYCLE_SECONDS = 1800

UNLIMITED = """
    SELECT set_config(name, '0', false)
    FROM unnest(ARRAY['statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout']) AS name
"""
"""Lifts time limits that were set for the account or for the database."""


class Reader:
    """Queries. Every statement stands alone and sees what was committed before it."""

    def __init__(self, execution: Execution, sealing: FaceSealing) -> None:
        self.apps = AppReader(execution)
        self.groups = GroupReader(execution)
        self.users = UserReader(execution)
        self.faces = FaceReader(execution, sealing.enrolled)
        self.tokens = TokenReader(execution, sealing.remembered)
        self.changes = ChangeReader(execution, sealing.enrolled)
        self.feedback = FeedbackReader(execution)
        self.searching = SearchReader(execution)
        self.envelopes = EnvelopeReader(execution)
        self.identities = IdentityReader(execution)
        self.uploads = UploadReader(execution)
        self.quotas = QuotaReader(execution)
        self.audit = AuditReader(execution)
        self.disclosure = DisclosureReader(execution, sealing)
        self.face_keys = FaceKeyReader(execution, sealing)
        self.models = ModelReader(execution, sealing.enrolled)


class UnitOfWork:
    """One transaction on one app's library; the only writer of that app while it lasts.

    Its changes become visible, in the tables and in the change log, all at once or not at all.
    """

    def __init__(self, execution: Execution, recording: Recording, sealing: FaceSealing) -> None:
        self._recording = recording
        self.groups = GroupWriter(execution, recording)
        self.users = UserWriter(execution, recording)
        self.faces = FaceWriter(execution, recording, sealing.enrolled)
        self.embeddings = FaceEmbeddings(execution, recording, sealing.enrolled)
        self.tokens = TokenReader(execution, sealing.remembered)
        self.erasing = EraseWriter(execution)
        self.detail: dict[str, int] = {}
        """Counts for the audit log, besides those of the changes."""
        self.audited: AuditEntry | None = None
        """After the work: its entry in the audit log, which is committed with it."""

    @property
    def app_pk(self) -> int:
        return self._recording.app_pk

    @property
    def seq(self) -> int:
        """Where the app's change log ends: before our changes during the work, with them after it."""
        return self._recording.seq


class Administration:
    """One transaction that writes no change log, because no index has to follow what it changes.

    That is everything around the libraries (apps, face tokens, sessions, feedback, captures, uploads, the register of
    people, upkeep), and what changes how enrolled faces are stored, not which there are: forgetting crops, sealing
    anew, tidying up after a move to another model.
    """

    def __init__(self, execution: Execution, audit_keys: Sequence[bytes], sealing: FaceSealing) -> None:
        self.apps = AppWriter(execution)
        self.audit = AuditWriter(execution, audit_keys)
        self.audit_retention = AuditRetention(execution, self.audit, audit_keys)
        self.erasing = EraseWriter(execution)
        self.tokens = TokenWriter(execution, sealing.remembered)
        self.changes = ChangeWriter(execution, sealing.enrolled)
        self.feedback = FeedbackWriter(execution)
        self.envelopes = EnvelopeWriter(execution)
        self.captures = CaptureWriter(execution)
        self.identities = IdentityWriter(execution)
        self.uploads = UploadWriter(execution)
        self.liveness_sessions = LivenessSessionWriter(execution)
        self.quotas = QuotaWriter(execution)
        self.sealed = SealedWriter(execution)
        self.face_keys = FaceKeyWriter(execution, sealing)
        self.models = ModelWriter(execution, sealing.enrolled)
        self.attempts = AttemptWriter(execution)


class Database:
    """A pool of connections to one PostgreSQL. Connects when first used; safe to share between threads.

    All methods raise :class:`DatabaseUnavailable` when the database does not answer and :class:`StorageFull` when it
    refuses to write. After a failure while committing it is not known whether the work was done. ``write`` and
    ``admin`` raise :class:`DeadlineExceeded` and commit nothing for a request whose deadline has passed. The other
    methods ignore deadlines: what they write is right even if the request was given up, or only commands use them.
    """

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 8,
        checkout_seconds: float = CHECKOUT_SECONDS,
        statement_seconds: float = STATEMENT_SECONDS,
        lock_seconds: float = LOCK_SECONDS,
        audit_keys: Sequence[bytes] = (),
        sealing: FaceSealing = PLAIN,
    ) -> None:
        """``audit_keys``: the first seals the audit log, the others sealed it before; without any nothing is logged.

        ``sealing`` says how faces are sealed.
        """
        self.url = url
        self.sealing = sealing
        self.behind = Behind()
        self.lines = Lines()
        self._audit_keys = audit_keys
        self._engine = sa.create_engine(
            normalised(url),
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=checkout_seconds,
            pool_recycle=RECYCLE_SECONDS,
            connect_args=connect_arguments(),
            hide_parameters=True,  # they are names, pictures and embeddings, and an error's text may reach a log
            # Most requests only read: with this as the default their connections need not be switched back and forth.
            isolation_level="AUTOCOMMIT",
        )
        self._limits = tuple(f"{int(1000 * seconds)}ms" for seconds in (statement_seconds, lock_seconds))
        sa.event.listen(self._engine, "do_connect", lambda *_: self.lines.check())
        sa.event.listen(self._engine, "connect", self._limit_waiting)
        self._transactions = self._engine.execution_options(isolation_level="READ COMMITTED")

    @contextlib.contextmanager
    def read(self, app_pk: int | None = None) -> Iterator[Reader]:
        """Queries without a transaction.

        With an ``app_pk`` only rows of that app are visible, else those of all apps.
        """
        act = guard.all_apps if app_pk is None else guard.OneApp(app_pk)
        with translated(), contextlib.closing(Execution(self._engine, act)) as execution:
            yield Reader(execution, self.sealing)

    @contextlib.contextmanager
    def write(self, app_pk: int) -> Iterator[UnitOfWork]:
        """Change an app's library: committed at the end of the block, undone when it raises.

        Waits first for the app's deferred work (``behind``), so that the token of a face that is deleted here has been
        written and ends with the face. Raises :class:`AppUnavailable` when the app has been deleted.
        """
        self.behind.settle(app_pk)
        with translated(), contextlib.closing(Execution(self._transactions)) as execution:
            recording = Recording(execution, app_pk)
            work = UnitOfWork(execution, recording, self.sealing)
            yield work
            recording.write()
            # The audit chain is locked last. Writers of an app queue at its change log, so they never wait for the
            # chain.
            counts = {**recording.counts(), **work.detail}
            work.audited = AuditWriter(execution, self._audit_keys).record(None, counts, chain=app_pk)
            deadline.check()  # a request that was answered "too late" must not be carried out after all
            execution.commit()

    @contextlib.contextmanager
    def admin(self, app_pk: int | None = None) -> Iterator[Administration]:
        """Change what is outside the libraries: committed at the end of the block, undone when it raises.

        With an ``app_pk`` only rows of that app are visible and can be changed.
        """
        act = guard.all_apps_within_transaction if app_pk is None else guard.OneAppWithinTransaction(app_pk)
        with translated(), contextlib.closing(Execution(self._transactions, act)) as execution:
            yield Administration(execution, self._audit_keys, self.sealing)
            deadline.check()
            execution.commit()

    @contextlib.contextmanager
    def standstill(self) -> Iterator[Standstill]:
        """Block the writers of all apps while the library moves: committed at the end, undone when it raises."""
        act = guard.all_apps_within_transaction
        with translated(), contextlib.closing(Execution(self._transactions, act)) as execution:
            yield Standstill(execution, self.sealing.enrolled)
            execution.commit()

    @contextlib.contextmanager
    def moving(self) -> Iterator[bool]:
        """Hold the lock for moving the library to another model; gives ``False`` where another process has it."""
        with self.bulk() as connection:
            connection.autocommit = True
            row = connection.execute("SELECT pg_try_advisory_lock(%s, -1)", (PRESENCE,)).fetchone()
            yield row == (True,)

    @contextlib.contextmanager
    def remembering(self, app_pk: int) -> Iterator[TokenWriter]:
        """Change an app's face tokens without a transaction: each statement stands alone and costs a round trip."""
        with translated(), contextlib.closing(Execution(self._engine, guard.OneApp(app_pk))) as execution:
            yield TokenWriter(execution, self.sealing.remembered)

    @contextlib.contextmanager
    def metering(self) -> Iterator[QuotaWriter]:
        """Take from quotas and count without a transaction: each statement stands alone, and costs one round trip."""
        with translated(), contextlib.closing(Execution(self._engine, guard.all_apps)) as execution:
            yield QuotaWriter(execution)

    @contextlib.contextmanager
    def attempts(self) -> Iterator[AttemptWriter]:
        """Count failed log-ins without a transaction: each statement stands alone, and costs one round trip."""
        with translated(), contextlib.closing(Execution(self._engine, guard.all_apps)) as execution:
            yield AttemptWriter(execution)

    @contextlib.contextmanager
    def bulk(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """A connection of its own, outside the pool and without time limits, for copying whole tables."""
        with translated(), self._connected() as connection:
            connection.execute(UNLIMITED)
            connection.commit()
            yield connection

    def _connected(self) -> psycopg.Connection[tuple[Any, ...]]:
        self.lines.check()
        connection = psycopg.connect(driver_address(self.url), **connect_arguments())
        self.lines.add(connection)
        return connection

    def connections(self) -> int:
        """Connections of the pool in use now."""
        pool = self._engine.pool
        return pool.checkedout() if isinstance(pool, sa.QueuePool) else 0

    def close(self) -> None:
        """Finish deferred work and close idle connections; those in use are closed when they are given back."""
        self.behind.stop()
        self._engine.dispose()
        self.lines.spare()

    def _limit_waiting(self, connection: psycopg.Connection[Any], _entry: ConnectionPoolEntry) -> None:
        self.lines.add(connection)
        with connection.cursor() as cursor:
            cursor.execute(guard.PREPARE)
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false),"
                " set_config('idle_in_transaction_session_timeout', '60s', false),"
                " set_config('DateStyle', 'ISO', false)",  # the only one that the driver reads
                self._limits,
            )
        connection.commit()


def connect_arguments() -> dict[str, Any]:
    """Connection parameters: the application's name, and timeouts after which a silent peer counts as dead."""
    return {
        "application_name": "aipface",
        "connect_timeout": CONNECT_SECONDS,
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        # Keepalives work on idle connections only. Without this, a statement would be re-sent to a dead peer for 15
        # min.
        "tcp_user_timeout": 30_000,
    }
