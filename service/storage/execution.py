"""Running statements on one connection of the pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import sqlalchemy as sa
import sqlalchemy.exc

from service.storage.failures import disconnected

Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


Act: TypeAlias = Callable[[sa.Connection], None]


class Execution:
    """A connection, checked out by the first statement.

    A pooled connection may have died unnoticed. Asking each one for a sign of life first would cost a round trip per
    request, so the first statement is tried once more on a fresh connection instead: nothing was done before it.
    """

    def __init__(self, engine: sa.Engine, act: Act | None = None) -> None:
        """``act`` readies a connection that was checked out, where the work is particular about whom it acts for."""
        self._engine = engine
        self._act = act
        self._connection: sa.Connection | None = None

    def run(self, statement: sa.Executable, parameters: Parameters = None) -> sa.CursorResult[Any]:
        """Execute one statement. Driver errors pass through; the caller translates them."""
        if self._connection is None:
            self._connection = self._engine.connect()
            try:
                if self._act is not None:
                    self._act(self._connection)
                return self._connection.execute(statement, parameters)
            except sqlalchemy.exc.DBAPIError as error:
                if not disconnected(error):
                    raise
                # SQLAlchemy has thrown away every connection of the pool that is as old as this one.
                self._connection.close()
                self._connection = self._engine.connect()
                if self._act is not None:
                    self._act(self._connection)
        return self._connection.execute(statement, parameters)

    def commit(self) -> None:
        if self._connection is not None:
            self._connection.commit()

    def close(self) -> None:
        """Give the connection back; what was not committed is undone."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
