"""Bringing a database's schema to a revision, by the scripts in ``alembic/``.

Replicas may start together: a session lock lets one of them migrate, and the others find the work done. They poll for
the lock instead of waiting within a statement, since ``CREATE INDEX CONCURRENTLY`` waits for every statement that began
before it, even for one that only waits for a lock. Servers of the release before may run meanwhile and afterwards. A
migration never waits long in the queue for a table, since all requests that need the table would wait behind it.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from time import sleep

import psycopg
import sqlalchemy as sa
import tenacity
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError

from service.errors import DatabaseUnavailable
from service.storage.engine import UNLIMITED
from service.storage.failures import translated
from service.storage.tables import metadata
from service.storage.urls import driver_address, normalised

logger = logging.getLogger(__name__)

LOCK = 0x61697066
"""Key of the advisory lock: the letters "aipf"."""
QUEUED_SECONDS = 2
"""Longest wait of a migration for a table: less than the time after which the requests behind it fail, and longer than
PostgreSQL takes to cancel an autovacuum for it (``deadlock_timeout``, a second)."""
PAUSE_SECONDS = 5.0
"""Pause between attempts, for the requests that waited behind the last one."""
IN_USE = (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected)
POLL_SECONDS = 0.2
"""How often this process tries to get the lock while another one migrates."""
CONNECT_SECONDS = 10


class UnknownRevision(DatabaseUnavailable):
    """The wanted revision, or the one that the database is at, is none of ours; the text is for the operator."""


def scripts() -> Path:
    """The folder of the scripts: inside an installed package, or beside ``service/`` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent / "alembic"


def head() -> str:
    """The newest revision that this code knows; :class:`DatabaseUnavailable` where its scripts cannot be read."""
    return _revisions()[0]


def known() -> frozenset[str]:
    """Every revision that this code can bring a database to. Raises as ``head`` does."""
    return _revisions()[1]


@cache  # who looks whether the server is ready asks every few seconds
def _revisions() -> tuple[str, frozenset[str]]:
    try:
        found = ScriptDirectory.from_config(_config())
        newest = found.get_current_head()
        all_of_them = frozenset(script.revision for script in found.walk_revisions())
    except OSError as error:
        raise DatabaseUnavailable(f"the scripts of the schema cannot be read: {error}") from error
    if newest is None:  # Alembic passes over a folder that cannot be read
        raise DatabaseUnavailable("the scripts of the schema cannot be read")
    return newest, all_of_them


def current(url: str) -> str | None:
    """The revision a database is at, or None when it is empty. Raises :class:`DatabaseUnavailable`."""
    with _connection(url) as connection:
        return MigrationContext.configure(connection).get_current_revision()


def upgrade(url: str, revision: str = "head") -> None:
    """Bring a database up to ``revision``, waiting for who holds its tables, such as a backup.

    Raises :class:`DatabaseUnavailable`, :class:`UnknownRevision`.
    """
    check_encoding(url)
    with _permitted():
        _patiently(url, lambda config: command.upgrade(config, revision))


def downgrade(url: str, revision: str) -> None:
    """Bring a database down to ``revision``; ``base`` empties it. Raises as ``upgrade`` does."""
    _patiently(url, lambda config: command.downgrade(config, revision))


def check_revision(revision: str) -> None:
    """Raise :class:`UnknownRevision` for one that there is no script for, before anything is asked of a database.

    Steps (``-1``) are counted from where that is, and pass.
    """
    name = re.sub(r"[+-]\d+$", "", revision)
    if name:
        with _known_alone():
            ScriptDirectory.from_config(_config()).get_revision(name)


def check_encoding(url: str) -> None:
    """Raise :class:`DatabaseUnavailable` where a database has no place for every letter.

    Told when connecting; SQLAlchemy chokes on SQL_ASCII.
    """
    with translated(), psycopg.connect(driver_address(url), connect_timeout=CONNECT_SECONDS) as connection:
        encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise DatabaseUnavailable(
            f"the database's encoding is {encoding}; make one with: CREATE DATABASE name TEMPLATE template0 ENCODING"
            " 'UTF8'"
        )


def may_make_tables(url: str) -> bool:
    """Whether the account may make tables where it would: in the first schema of its path that it may use."""
    with _connection(url) as connection:
        return bool(connection.scalar(sa.text("SELECT has_schema_privilege(current_schema(), 'CREATE')")))


def missing(url: str) -> list[str]:
    """Tables, and columns of others, that a database at the newest revision has to have and has not."""
    wanted = {table.name: [column.name for column in table.columns] for table in metadata.tables.values()}
    query = """
        SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(:name) AND attnum > 0 AND NOT attisdropped
    """
    lacking = []
    with _connection(url) as connection:
        for name, columns in wanted.items():
            found = set(connection.scalars(sa.text(query), {"name": name}))
            lacking += [f"{name}.{column}" for column in columns if column not in found] if found else [name]
    return lacking


def _patiently(url: str, migrate: Callable[[Config], None]) -> None:
    """Migrate as soon as nobody uses the tables that have to be changed; each migration is done whole or not at all.

    The lock is released between attempts: servers of earlier releases wait for it within a statement, and the creation
    of an index may wait for that statement.
    """
    with _connection(url) as connection, _known_alone():
        config = _config(connection)

        def attempt() -> None:
            with _alone(connection):
                connection.execute(sa.text(f"SET lock_timeout = '{QUEUED_SECONDS}s'"))
                connection.commit()
                migrate(config)

        patience = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_is_in_use),
            wait=tenacity.wait_fixed(PAUSE_SECONDS),
            after=lambda _: connection.rollback(),
            before_sleep=_tell_once,
            sleep=sleep,
        )
        patience(attempt)


def _is_in_use(error: BaseException) -> bool:
    return isinstance(error, sa.exc.OperationalError) and isinstance(error.orig, IN_USE)


def _tell_once(attempt: tenacity.RetryCallState) -> None:
    if attempt.attempt_number == 1:
        logger.warning("the schema is not up to date yet: tables are in use, perhaps by a backup; waiting")


def _config(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


@contextlib.contextmanager
def _permitted() -> Iterator[None]:
    """Raise :class:`DatabaseUnavailable` where the account may not make tables, or there is no schema for them."""
    try:
        yield
    except sa.exc.ProgrammingError as error:
        if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege | psycopg.errors.InvalidSchemaName):
            raise
        raise DatabaseUnavailable(
            f"{str(error.orig).splitlines()[0]}; the account needs a schema on its search_path that it may make tables"
            " in: GRANT CREATE, USAGE ON SCHEMA public TO account"
        ) from error


@contextlib.contextmanager
def _connection(url: str) -> Iterator[sa.Connection]:
    engine = sa.create_engine(normalised(url), poolclass=sa.NullPool, connect_args={"connect_timeout": CONNECT_SECONDS})
    with translated(), engine.connect() as connection:
        try:
            yield connection
        except sa.exc.PendingRollbackError as error:  # by who cleans up behind the error that told so
            raise DatabaseUnavailable("the connection was lost") from error


@contextlib.contextmanager
def _alone(connection: sa.Connection) -> Iterator[None]:
    """Hold the lock; it belongs to the session, so that scripts may commit in between."""
    connection.execute(sa.text(UNLIMITED))
    while not connection.scalar(sa.select(sa.func.pg_try_advisory_lock(LOCK))):
        connection.commit()
        sleep(POLL_SECONDS)
    connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(sa.select(sa.func.pg_advisory_unlock(LOCK)))
        connection.commit()


@contextlib.contextmanager
def _known_alone() -> Iterator[None]:
    """Raise :class:`UnknownRevision` for what Alembic finds no script for."""
    try:
        yield
    except CommandError as error:
        raise UnknownRevision(
            f"{error}: this program knows the schemas up to {head()}; with a database of a newer release, take that"
        ) from None
