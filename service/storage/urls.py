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
        _check_marks(url)
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the second of a port that is no number
        # The address may hold a password: not even the cause is shown.
        raise DatabaseUnavailable(
            "The database address cannot be read; write postgresql://user:password@host/name."
            " Special characters of a password are percent-encoded there: %40 for @, %23 for #, %2F for /."
        ) from None
    if parsed.drivername not in ("postgres", "postgresql", "postgresql+psycopg"):
        raise DatabaseUnavailable(f"The database address names {parsed.drivername}; only postgresql:// is supported.")
    if set(parsed.query) - {option.keyword.decode() for option in Conninfo.get_defaults()}:
        raise DatabaseUnavailable("The database address has an option that PostgreSQL does not know; TLS is sslmode.")
    return parsed.set(drivername="postgresql+psycopg")


def _check_marks(url: str) -> None:
    """Raise ``ValueError`` where marks that separate the parts stand in a part, so that it is not sure where one ends.

    Of a password with an ``@`` the end would be taken for the host, and told to everybody as one that is not found.
    """
    place, _, options = url.partition("://")[2].partition("?")
    authority, _, name = place.partition("/")
    if authority.count("@") > 1 or "#" in authority or "@" in name:
        raise ValueError
    if not all("=" in option for option in options.split("&") if option):
        raise ValueError


def driver_address(url: str) -> str:
    """The same address as psycopg itself takes it: words of libpq, whose addresses know no ``+`` for a blank."""
    address = normalised(url)
    _, words = address.get_dialect()().create_connect_args(address)
    return make_conninfo("", **words)
