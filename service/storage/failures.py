"""Translates the driver's errors into ``DatabaseUnavailable`` and ``StorageFull``, which callers are told about.

Errors that are not listed here are bugs of ours and pass through.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg
import sqlalchemy.exc

from service.errors import DatabaseUnavailable, StorageFull

# https://www.postgresql.org/docs/current/errcodes-appendix.html
FULL = frozenset({"53100", "25006"})
"""disk_full, read_only_sql_transaction"""
AWAY_CLASSES = frozenset({"08", "53", "57", "58"})
"""connection exception, insufficient resources, operator intervention (timeouts too), system error"""
AWAY = frozenset({"55P03", "40P01", "40001", "28000", "28P01", "3D000", "25P03"})
"""lock not available, deadlock, serialisation, refused log-ins, no such database, idle in transaction too long"""


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise :class:`DatabaseUnavailable` or :class:`StorageFull` for failures of SQLAlchemy and psycopg."""
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


def refusal(error: Exception) -> str | None:
    """The database's own word in one line, without the statement; ``None`` for what it did not say."""
    if not isinstance(error, sqlalchemy.exc.DBAPIError):
        return None
    return str(error.orig).partition("\n")[0]


def disconnected(error: sqlalchemy.exc.DBAPIError) -> bool:
    """Whether the connection was dead, so that the statement may be tried on another one."""
    return error.connection_invalidated


def _meaning(error: psycopg.Error) -> DatabaseUnavailable | StorageFull | None:
    code = error.sqlstate
    text = (str(error).strip().splitlines() or ["no message"])[0]
    if code in FULL:
        return StorageFull(text)
    if code is None:
        # Without a code it never reached the server, or the connection broke.
        return DatabaseUnavailable(text) if isinstance(error, psycopg.OperationalError) else None
    if code[:2] in AWAY_CLASSES or code in AWAY:
        return DatabaseUnavailable(text)
    return None
