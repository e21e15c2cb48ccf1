"""Database addresses in the forms that people write."""

from __future__ import annotations

from psycopg.conninfo import make_conninfo
from psycopg.pq import Conninfo
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from service.errors import DatabaseUnavailable


def normalised(url: str) -> URL:
    """An address of PostgreSQL with our driver named; raises :class:`DatabaseUnavailable` for any other."""
    try:
        parsed = _read(url)
    except (ArgumentError, ValueError):  # the second also of a port that is no number
        # The address may hold a password: not even the cause is shown.
        raise DatabaseUnavailable(
            "The database address cannot be read; write postgresql://user:password@host/name."
            " Special characters of a password are percent-encoded there: %40 for @."
        ) from None
    if parsed.drivername not in ("postgres", "postgresql", "postgresql+psycopg"):
        raise DatabaseUnavailable(f"The database address names {parsed.drivername}; only postgresql:// is supported.")
    if set(parsed.query) - {option.keyword.decode() for option in Conninfo.get_defaults()}:
        raise DatabaseUnavailable("The database address has an option that PostgreSQL does not know; TLS is sslmode.")
    return parsed.set(drivername="postgresql+psycopg")


_MAY_HAVE_MARKS = frozenset({"user", "password", "passfile", "dbname", "host", "application_name", "options"})
"""Options whose values may have an ``@`` of their own."""


def _read(url: str) -> URL:
    """The address. Raises ``ValueError`` where an ``@`` of a password was taken for the one before the host.

    What is left of the password would be the host's beginning, and told to everybody as one that is not found.
    """
    parsed = make_url(url)
    marked = {key: value for key, value in parsed.query.items() if key not in _MAY_HAVE_MARKS}
    behind = "" if "?" in str(parsed.password) else url.partition("?")[2]
    unread = [option for option in behind.split("&") if "=" not in option]
    name = parsed.database or "" if parsed.username else ""
    if any("@" in part for part in (parsed.host or "", name, *marked, *map(str, marked.values()), *unread)):
        raise ValueError
    return parsed


def driver_address(url: str) -> str:
    """The same address as psycopg itself takes it: words of libpq, whose addresses know no ``+`` for a blank."""
    address = normalised(url)
    _, words = address.get_dialect()().create_connect_args(address)
    return make_conninfo("", **words)
