"""Running statements on one connection of the pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
import sqlalchemy.exc

from service.metrics import measured
from service.storage.failures import disconnected

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


class Execution:
    """A connection, checked out by the first statement.

    A pooled connection may have died unnoticed. Asking each one for a sign of life first would cost a round trip per
    request, so the first statement is tried once more on a fresh connection instead: nothing was done before it.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None

    @measured("database")
    def run(self, statement: sa.Executable, parameters: Parameters = None) -> sa.CursorResult[Any]:
        """Execute one statement. Driver errors pass through; the caller translates them."""
        if self._connection is None:
            self._connection = self._engine.connect()
            try:
                return self._connection.execute(statement, parameters)
            except sqlalchemy.exc.DBAPIError as error:
                if not disconnected(error):
                    raise
                # SQLAlchemy has thrown away every connection of the pool that is as old as this one.
                self._connection.close()
                self._connection = self._engine.connect()
        return self._connection.execute(statement, parameters)

    @measured("database")
    def commit(self) -> None:
        if self._connection is not None:
            self._connection.commit()

    def close(self) -> None:
        """Give the connection back; what was not committed is undone."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
