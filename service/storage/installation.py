"""What tells one installation from every other."""

from __future__ import annotations

import psycopg

from service.errors import ServiceUnavailable
from service.storage.engine import Database

_INSTALLATION = """
    SELECT system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database()) FROM pg_control_system()
"""


def installation_of(database: Database) -> str:
    """Letters, digits and underscores that no other installation has: for names in what several of them may share.

    PostgreSQL gives every cluster of databases a number of its own when it makes it, and every database in it another.
    A standby has those of the server that it follows and keeps them when it takes over; a database that a backup was
    restored into has others. Only copies of a server's files have the same.

    Raises ``ServiceUnavailable``.
    """
    with database.bulk() as connection:
        try:
            row = connection.execute(_INSTALLATION).fetchone()
        except psycopg.errors.InsufficientPrivilege:
            raise ServiceUnavailable(
                "the account may not ask the database which one it is: GRANT EXECUTE ON FUNCTION pg_control_system"
            ) from None
    if row is None:
        raise ServiceUnavailable("the database does not say which one it is")
    cluster, oid = row
    return f"{cluster % 2**64:x}_{oid}"
