"""Running statements on one connection of the pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import psycopg
import sqlalchemy as sa
import sqlalchemy.exc

from service.metrics import measured
from service.storage.failures import disconnected

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


Act: TypeAlias = Callable[[sa.Connection], None]


class Execution:
    """A connection, checked out by the first statement.

    A pooled connection may have died unnoticed. Checking each one first would cost a round trip per request. Instead,
    when the first statement fails for that reason, it is repeated on a fresh connection: nothing was done before it.
    """

    def __init__(self, engine: sa.Engine, act: Act | None = None) -> None:
        """``act`` prepares the connection, e.g. by taking the role of one app (``service.storage.guard``)."""
        self._engine = engine
        self._act = act
        self._connection: sa.Connection | None = None

    @measured("database")
    def run(self, statement: sa.Executable, parameters: Parameters = None) -> sa.CursorResult[Any]:
        """Execute one statement. Driver errors pass through; the caller translates them."""
        if self._connection is None:
            self._connection = self._checked_out()
            try:
                return self._connection.execute(statement, parameters)
            except sqlalchemy.exc.DBAPIError as error:
                if not disconnected(error):
                    raise
                # SQLAlchemy has thrown away every connection of the pool that is as old as this one.
                self.close()
                self._connection = self._checked_out()
        return self._connection.execute(statement, parameters)

    @measured("database")
    def direct(self, statement: str, *parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Execute one statement of the hot path with psycopg, without SQLAlchemy; returns its rows.

        ``statement`` has its ``parameters`` as ``%(name)s``. With several sets of parameters it is executed for each,
        in one round trip, all or none of them, and returns nothing. SQLAlchemy's own overhead is 0.3 ms of processor
        time, four times what the driver takes.
        """
        if self._connection is None:
            self._connection = self._checked_out()
            try:
                return self._by_driver(self._connection, statement, parameters)
            except psycopg.OperationalError:
                if not _driver(self._connection).closed:
                    raise
                self._connection.invalidate()
                self.close()
                self.run(sa.text("SELECT 1"))  # makes SQLAlchemy drop the pool's other dead connections, too
        return self._by_driver(self._connection, statement, parameters)

    def _checked_out(self) -> sa.Connection:
        """The connection, checked out and prepared by ``act``; one that turns out to be dead is replaced once."""
        connection = self._engine.connect()
        if self._act is None:
            return connection
        try:
            self._act(connection)
        except sqlalchemy.exc.DBAPIError as error:
            connection.close()
            if not disconnected(error):
                raise
            connection = self._engine.connect()
            self._act(connection)
        return connection

    @staticmethod
    def _by_driver(
        connection: sa.Connection, statement: str, parameters: Sequence[Mapping[str, Any]]
    ) -> list[tuple[Any, ...]]:
        driver = _driver(connection)
        if not driver.autocommit and not connection.in_transaction():
            connection.begin()  # else SQLAlchemy would not know that there is something to commit
        with driver.cursor(binary=True) as cursor:
            if len(parameters) > 1:
                cursor.executemany(statement.encode(), parameters)
                return []
            cursor.execute(statement.encode(), *parameters)
            return [] if cursor.description is None else cursor.fetchall()

    @measured("database")
    def commit(self) -> None:
        if self._connection is not None:
            self._connection.commit()

    def close(self) -> None:
        """Give the connection back; what was not committed is undone."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _driver(connection: sa.Connection) -> psycopg.Connection[tuple[Any, ...]]:
    """The driver's connection below SQLAlchemy's."""
    driver: psycopg.Connection[tuple[Any, ...]] | None = connection.connection.driver_connection
    if driver is None:  # pragma: no cover - only once it is given back
        raise RuntimeError("the connection is closed")
    return driver
