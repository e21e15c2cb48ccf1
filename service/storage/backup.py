"""Whole databases as streams: every lasting table as of one moment, and back into an empty database.

Uses PostgreSQL's COPY in its binary form and none of PostgreSQL's programs, so that the embedded server and any other
one work alike. Unlogged tables, which do not survive a crash anyway (face tokens, session codes), are left out.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from service.storage import migrations
from service.storage.engine import Database
from service.storage.tables import face_keys, library_models, metadata

_COLUMNS = """
    SELECT attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE attrelid = to_regclass(%s) AND relpersistence = 'p' AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
# As the schema at hand has them, which may be an older one than the code maps.


_OF_THE_ROWS = ("22", "23", "42", "54", "XX", "08P01")
"""What the codes of errors begin with that rows cause: data, integrity, names, limits, protocol (a wrong length)."""


class BackupError(Exception):
    """A backup cannot be read, or not be put back here; the text is one sentence for the operator."""


class Unfitting(BackupError):
    """The database does not take what the backup holds: perhaps because that is damaged."""


@dataclass(frozen=True, slots=True)
class TableDump:
    """One table: its columns in the order of the rows, and the rows as COPY writes them. To be used up in turn."""

    name: str
    columns: tuple[str, ...]
    blocks: Iterable[bytes]


class Snapshot:
    """A database as of one moment."""

    def __init__(self, cursor: psycopg.Cursor[Any], schema: str) -> None:
        self._cursor = cursor
        self.schema = schema
        """The revision of the schema."""
        self._reading: Generator[bytes, None, None] | None = None

    def release(self) -> int:
        """The server's major release."""
        return self._cursor.connection.info.server_version // 10_000

    def sequences(self) -> dict[str, int]:
        """The last numbers that were given, by the names of the sequences; of those that gave any."""
        query = "SELECT sequencename, last_value FROM pg_sequences WHERE schemaname = current_schema()"
        return {name: last for name, last in self._cursor.execute(query).fetchall() if last is not None}

    def tables(self) -> Iterator[TableDump]:
        """Every lasting table, those that others refer to first."""
        for table in metadata.sorted_tables:
            columns = tuple(name for (name,) in self._cursor.execute(_COLUMNS, (table.name,)).fetchall())
            if columns:
                self._reading = self._blocks(table.name, columns)
                yield TableDump(table.name, columns, self._reading)

    def close(self) -> None:
        """Give up a table that was not read to its end.

        If a running COPY is left to the garbage collector, that may end it while the transaction is being ended, and
        the two then wait for each other's use of the connection for ever.
        """
        if self._reading is not None:
            self._reading.close()

    def _blocks(self, name: str, columns: Iterable[str]) -> Generator[bytes, None, None]:
        with self._cursor.copy(_copy("COPY {} ({}) TO STDOUT (FORMAT BINARY)", name, columns)) as copy:
            for data in copy:
                yield bytes(data)


@contextlib.contextmanager
def snapshot(database: Database) -> Iterator[Snapshot]:
    """A database as of this moment. Raises :class:`DatabaseUnavailable`."""
    schema = migrations.current(database.url)
    with database.bulk() as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.cursor() as cursor, contextlib.closing(Snapshot(cursor, schema or "")) as found:
            yield found


class Restoring:
    """One transaction that fills an empty database; nothing of it is there when it fails."""

    def __init__(self, cursor: psycopg.Cursor[Any]) -> None:
        self._cursor = cursor

    def table(self, dump: TableDump) -> None:
        """Put rows in. Raises :class:`Unfitting`."""
        with _told():
            self._fill(dump)

    def _fill(self, dump: TableDump) -> None:
        known = "SELECT 1 FROM pg_class WHERE oid = to_regclass(%s)"
        if self._cursor.execute(known, (dump.name,)).fetchone() is None:
            raise Unfitting(f"the backup has a table {dump.name}, which its own schema does not have")
        refused: psycopg.Error | None = None
        with self._cursor.copy(_copy("COPY {} ({}) FROM STDIN (FORMAT BINARY)", dump.name, dump.columns)) as copy:
            try:
                for block in dump.blocks:
                    copy.write(block)
            except psycopg.Error as error:  # often only that no more is taken: the end of the COPY tells why
                refused = error
        if refused is not None:
            raise refused

    def sequence(self, name: str, last: int) -> None:
        """Go on counting after ``last``."""
        with _told():
            self._cursor.execute("SELECT setval(to_regclass(%s), %s)", (name, last))


@contextlib.contextmanager
def restoring(url: str, schema: str) -> Iterator[Restoring]:
    """Fill a database that holds nothing, beginning with the schema that the backup was made of; then bring it up.

    Raises :class:`BackupError` for a database that holds anything, and for a schema that is not known here.
    """
    if schema not in migrations.known():
        raise BackupError(f"the backup was made by a newer release (schema {schema}); restore it with that")
    database = Database(url)
    try:
        _check_empty(database)
        if migrations.current(url) is not None:
            migrations.downgrade(url, "base")
        migrations.upgrade(url, schema)
        with database.bulk() as connection, connection.cursor() as cursor:
            yield Restoring(cursor)
            with _told():  # of what is checked at the end
                connection.commit()
        migrations.upgrade(url)
    finally:
        database.close()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """Rows that the database does not take, as one sentence."""
    try:
        yield
    except psycopg.Error as error:
        if not (error.sqlstate or "").startswith(_OF_THE_ROWS):
            raise
        raise Unfitting(f"the backup does not fit: {str(error).splitlines()[0]}") from error


def _check_empty(database: Database) -> None:
    """Raise :class:`BackupError` unless every table is empty, but for what is noted before there is a face.

    The first command that runs with encrypted faces notes its key; the first server, which model it works with.
    """
    noted = {face_keys.name, library_models.name}
    with database.bulk() as connection:
        for name in (name for name in metadata.tables if name not in noted):
            if connection.execute("SELECT to_regclass(%s)", (name,)).fetchone() == (None,):
                continue
            query = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(name))
            if connection.execute(query).fetchone() == (True,):
                raise BackupError(f"the database is not empty (there are {name}); a backup needs one that is")


def _copy(text: str, name: str, columns: Iterable[str]) -> sql.Composed:
    listed = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL(text).format(sql.Identifier(name), listed)
