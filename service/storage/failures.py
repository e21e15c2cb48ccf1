"""Translates the driver's errors into ``DatabaseUnavailable`` and ``StorageFull``, which callers are told about.

Errors that are not listed here are bugs of ours and pass through.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Iterator

import psycopg
import sqlalchemy.exc

from service.errors import AppUnavailable, DatabaseUnavailable, ServiceError, StorageFull

logger = logging.getLogger(__name__)

# https://www.postgresql.org/docs/current/errcodes-appendix.html
FULL = frozenset({"53100", "25006"})
"""disk_full, read_only_sql_transaction"""
AWAY_CLASSES = frozenset({"08", "53", "57", "58"})
"""connection exception, insufficient resources, operator intervention (timeouts too), system error"""
AWAY = frozenset({"55P03", "40P01", "40001", "28000", "28P01", "3D000", "25P03"})
"""lock not available, deadlock, serialisation, refused log-ins, no such database, idle in transaction too long"""
BROKEN_CLASS = "XX"
"""internal error: a damaged page or index, a lost file: the operator has to hear of it"""
NO_SUCH_KEY, OF_AN_APP = "23503", "_app_pk_fkey"
"""foreign_key_violation, and what PostgreSQL ends the names of those with that tables of apps have"""
NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})
"""Waiting for an answer takes the driver a descriptor."""


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise :class:`DatabaseUnavailable` or :class:`StorageFull` for failures of SQLAlchemy and psycopg.

    Or :class:`AppUnavailable` where the app that a row is written for was deleted a moment ago.
    """
    try:
        yield
    except sqlalchemy.exc.DBAPIError as error:
        meaning = _meaning(error.orig) if isinstance(error.orig, psycopg.Error) else None
        if meaning is None and error.connection_invalidated:
            meaning = DatabaseUnavailable("the connection was lost")
        if meaning is None:
            raise
        raise meaning from error
    except psycopg.Error as error:
        meaning = _meaning(error)
        if meaning is None:
            raise
        raise meaning from error
    except sqlalchemy.exc.TimeoutError as error:
        raise DatabaseUnavailable("all connections to the database are in use") from error
    except OSError as error:
        if error.errno not in NO_DESCRIPTOR:
            raise
        raise DatabaseUnavailable("no descriptor is left for a connection to the database") from error


def refusal(error: Exception) -> str | None:
    """The database's own word in one line, without the statement; ``None`` for what it did not say."""
    if not isinstance(error, sqlalchemy.exc.DBAPIError):
        return None
    return str(error.orig).partition("\n")[0]


def disconnected(error: sqlalchemy.exc.DBAPIError) -> bool:
    """Whether the connection was dead, so that the statement may be tried on another one."""
    return error.connection_invalidated


def _meaning(error: psycopg.Error) -> ServiceError | None:
    code = error.sqlstate
    text = (str(error).strip().splitlines() or ["no message"])[0]
    if code in FULL:
        return StorageFull(text)
    if code is None:
        # Without a code it never reached the server, or the connection broke.
        return DatabaseUnavailable(text) if isinstance(error, psycopg.OperationalError) else None
    if code == NO_SUCH_KEY and (error.diag.constraint_name or "").endswith(OF_AN_APP):
        return AppUnavailable("the app was deleted meanwhile")
    if code[:2] == BROKEN_CLASS:
        logger.error("the database reports damage, or a fault of its own: %s", text)
        return DatabaseUnavailable(text)
    if code[:2] in AWAY_CLASSES or code in AWAY:
        return DatabaseUnavailable(text)
    return None
