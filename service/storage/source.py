"""What the search's catalog reads: everything at one moment, and the changes since."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from service.errors import DatabaseUnavailable
from service.storage.engine import Database
from service.storage.rows import FLOAT
from service.values import Change, Embeddings

Block = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Embeddings]
"""Face, user and group numbers ``(n,)`` int64, and embeddings ``(n, dimension)`` float32."""

BLOCK_ROWS = 8192

LOCK = int.from_bytes(b"aipi", "big")
"""First key of the advisory locks around a shared index: the letters "aipi"."""

# Binary COPY (https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"): a header of 19 bytes, rows of
# big-endian fields each after its length, and a trailer of one int16 -1.
_SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER = b"\xff\xff"
_KEY_BYTES = 8


class PostgresChangeSource:
    """The faces that one model embedded, with ``dimension`` numbers each; satisfies ``service.search``'s protocol."""

    def __init__(self, database: Database, model_id: str, dimension: int) -> None:
        self._database = database
        self._model_id = model_id
        self._dimension = dimension

    def snapshot(self, app_pk: int | None = None) -> Generator[tuple[int, int, Iterator[Block]], None, None]:
        """``(app_pk, seq, blocks)`` for every app, or for one, as of one moment; ``seq`` is the log's head then.

        The blocks of an app have to be used up before the next app is asked for. The snapshot ends with the iterator:
        close it when it is given up early.
        """
        with self._database.bulk() as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', '0', true)")
                query = "SELECT app_pk, seq FROM change_heads WHERE %(app)s::bigint IS NULL OR app_pk = %(app)s"
                heads = cursor.execute(query + " ORDER BY app_pk", {"app": app_pk}).fetchall()
                for pk, seq in heads:
                    yield pk, seq, self._blocks(cursor, pk)

    def changes_since(self, app_pk: int, seq: int, limit: int) -> list[Change]:
        with self._database.read() as reader:
            return reader.changes.since(app_pk, seq, limit, self._model_id)

    def head(self, app_pk: int) -> int | None:
        with self._database.read() as reader:
            return reader.changes.head(app_pk)

    def heads(self) -> dict[int, int]:
        with self._database.read() as reader:
            return reader.changes.heads()

    @contextlib.contextmanager
    def applying(self, app_pk: int) -> Iterator[None]:
        """Keeps every other process from applying changes of this app to a shared index meanwhile; waits its turn."""
        with self._database.bulk() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s, hashint8(%s))", (LOCK, app_pk))
            yield

    def _blocks(self, cursor: psycopg.Cursor[Any], app_pk: int) -> Iterator[Block]:
        query = sql.SQL(
            "COPY ("
            "SELECT pk, user_pk, group_pk, embedding FROM faces WHERE app_pk = {app} AND model_id = {model} "
            "UNION ALL SELECT pk, user_pk, group_pk, face_embeddings.embedding "
            "FROM face_embeddings JOIN faces ON pk = face_pk "
            "WHERE face_embeddings.app_pk = {app} AND face_embeddings.model_id = {model}"
            ") TO STDOUT (FORMAT BINARY)"
        ).format(app=sql.Literal(app_pk), model=sql.Literal(self._model_id))
        layout = _row_layout(self._dimension)
        with cursor.copy(query) as copy:
            head = bytes(copy.read())
            if not head.startswith(_SIGNATURE):
                raise DatabaseUnavailable("the database's COPY does not have the documented form")
            pending = [head[len(_SIGNATURE) :]]
            size = len(pending[0])
            while data := copy.read():
                pending.append(bytes(data))
                size += len(data)
                if size >= BLOCK_ROWS * layout.itemsize:
                    text = b"".join(pending)
                    whole = len(text) // layout.itemsize * layout.itemsize
                    yield _parse(text[:whole], layout)
                    pending, size = [text[whole:]], len(text) - whole
            rest = b"".join(pending)
            if not rest.endswith(_TRAILER):
                raise DatabaseUnavailable("the database's COPY ended early")
            if len(rest) > len(_TRAILER):
                yield _parse(rest[: -len(_TRAILER)], layout)


def _row_layout(dimension: int) -> np.dtype[np.void]:
    """A row of the copy: every field has a fixed width, because all embeddings have one dimension."""
    fields: list[tuple[str, Any]] = [("fields", ">i2")]
    for name in ("face", "user", "group"):
        fields += [(f"{name}_bytes", ">i4"), (name, ">i8")]
    return np.dtype([*fields, ("embedding_bytes", ">i4"), ("embedding", FLOAT, (dimension,))])


def _parse(text: bytes, layout: np.dtype[np.void]) -> Block:
    """Rows of a binary copy as arrays; raises :class:`ValueError` when a row has another width."""
    rows = np.frombuffer(text, dtype=layout) if len(text) % layout.itemsize == 0 else None
    width = layout["embedding"].itemsize
    if rows is None or not (
        (rows["fields"] == 4).all()
        and (rows["embedding_bytes"] == width).all()
        and all((rows[f"{name}_bytes"] == _KEY_BYTES).all() for name in ("face", "user", "group"))
    ):
        raise ValueError(f"an embedding in the database does not have {width} bytes")
    keys = (rows[name].astype(np.int64) for name in ("face", "user", "group"))
    face_pks, user_pks, group_pks = keys
    return face_pks, user_pks, group_pks, np.ascontiguousarray(rows["embedding"], dtype=np.float32)
