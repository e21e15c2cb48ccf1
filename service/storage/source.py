"""What the search's catalog reads: everything at one moment, and the changes since."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Generator, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg import sql

from service.storage.engine import Database
from service.storage.face_rows import FaceRows, Run
from service.storage.rows import FLOAT
from service.storage.sealing import Mode, embedding_context, of_unit_length
from service.values import Change, ChangeMark, Embeddings, LogHead

logger = logging.getLogger(__name__)

Block = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], Embeddings]
"""Face, user and group numbers ``(n,)`` int64, and embeddings ``(n, dimension)`` float32."""

Blocks = Generator[Block, None, int]
"""Returns how many faces it left out, because they cannot be read."""

BLOCK_ROWS = 8192

LOCK = int.from_bytes(b"aipi", "big")
"""First key of the advisory locks around a shared index: the letters "aipi"."""

_HEADS = """
    SELECT change_heads.app_pk, change_heads.seq, kind, group_pk, user_pk, face_pk,
           (extract(epoch FROM created) * 1000000)::bigint
    FROM change_heads LEFT JOIN changes ON changes.app_pk = change_heads.app_pk AND changes.seq = change_heads.seq
    WHERE (%(app)s::bigint IS NULL OR change_heads.app_pk = %(app)s)
      AND change_heads.app_pk <> ALL (%(without)s::bigint[])
    ORDER BY change_heads.app_pk
"""
_COUNT = """
    SELECT seq, (SELECT count(*) FROM faces WHERE app_pk = %(app)s AND model_id = %(model)s)
                + (SELECT count(*) FROM face_embeddings WHERE app_pk = %(app)s AND model_id = %(model)s)
    FROM change_heads WHERE app_pk = %(app)s
"""


class PostgresChangeSource:
    """The faces that one model embedded, with ``dimension`` numbers each; satisfies ``service.search``'s protocol."""

    def __init__(self, database: Database, model_id: str, dimension: int) -> None:
        self._database = database
        self._model_id = model_id
        self._dimension = dimension

    def snapshot(
        self, app_pk: int | None = None, *, without: Collection[int] = (), groups: Collection[int] | None = None
    ) -> Generator[tuple[int, LogHead, Blocks], None, None]:
        """``(app_pk, head, blocks)`` for every app but some, or for one, as of one moment; the log ends at ``head``.

        ``groups``: whose faces alone are read; ``None`` reads those of all.
        The blocks of an app have to be used up before the next app is asked for. The snapshot ends with the iterator:
        close it when it is given up early.
        """
        with self._database.bulk() as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT set_config('statement_timeout', '0', true)")
                heads = cursor.execute(_HEADS, {"app": app_pk, "without": list(without)}).fetchall()
                for pk, seq, *mark in heads:
                    head = LogHead(seq, None if mark[0] is None else ChangeMark(seq, *mark))
                    yield pk, head, self._blocks(cursor, pk, groups)

    def changes_since(self, app_pk: int, seq: int, limit: int) -> list[Change]:
        with self._database.read() as reader:
            changes = reader.changes.since(app_pk, seq, limit, self._model_id)
        return [self._fitting(change) for change in changes]

    def mark(self, app_pk: int, seq: int) -> ChangeMark | None:
        with self._database.read() as reader:
            return reader.changes.mark(app_pk, seq)

    def count(self, app_pk: int) -> tuple[int, int]:
        """The log's head and how many faces there are, as of one moment."""
        with self._database.bulk() as connection:
            connection.execute("SELECT set_config('statement_timeout', '0', true)")
            row = connection.execute(_COUNT, {"app": app_pk, "model": self._model_id}).fetchone()
            return (0, 0) if row is None else (int(row[0]), int(row[1]))

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

    def _fitting(self, change: Change) -> Change:
        """The change, without its embedding where that has another dimension than the model's."""
        if change.embedding is None or len(change.embedding) == self._dimension:
            return change
        logger.error("a stored embedding has another dimension than its model", extra={"face": change.face_pk})
        return replace(change, embedding=None)

    def _blocks(self, cursor: psycopg.Cursor[Any], app_pk: int, groups: Collection[int] | None) -> Blocks:
        # Tokens are needed to open sealed embeddings only, so those of plain faces are not read.
        query = sql.SQL(
            "COPY (SELECT pk, user_pk, group_pk, CASE WHEN octet_length(embedding) % 4 <> 0 THEN token END, embedding"
            " FROM (SELECT pk, user_pk, group_pk, token, embedding FROM faces"
            " WHERE app_pk = {app} AND model_id = {model} AND {chosen}"
            " UNION ALL SELECT pk, user_pk, group_pk, token, face_embeddings.embedding"
            " FROM face_embeddings JOIN faces ON pk = face_pk"
            " WHERE face_embeddings.app_pk = {app} AND face_embeddings.model_id = {model} AND {chosen}) AS made"
            ") TO STDOUT (FORMAT BINARY)"
        ).format(app=sql.Literal(app_pk), model=sql.Literal(self._model_id), chosen=_chosen(groups))
        enough = BLOCK_ROWS * self._dimension * FLOAT.itemsize
        rows, lost, plain = FaceRows(), 0, 0
        only = self._database.sealing.enrolled.mode is Mode.ONLY

        def opened() -> Iterator[Block]:
            nonlocal lost, plain
            for run in rows.take():
                block = self._block(app_pk, run)
                left_out = len(run.face_pks) - len(block[0])
                if only and run.tokens is None:
                    plain += left_out
                else:
                    lost += left_out
                yield block

        with cursor.copy(query) as copy:
            while data := copy.read():
                rows.add(bytes(data))
                if rows.size >= enough:
                    yield from opened()
            yield from opened()
            rows.end()
        if lost:
            told = (
                "stored faces cannot be read and are not searched: altered, moved, sealed under another key, or"
                " embedded with another dimension than their model's"
            )
            logger.error(told, extra={"faces": lost, "app": app_pk})
        if plain:
            told = (
                "stored faces lie in plain, which `only` takes for forged, and are not searched; if they are yours:"
                " aipface key seal-faces"
            )
            logger.error(told, extra={"faces": plain, "app": app_pk})
        return lost + plain

    def _block(self, app_pk: int, run: Run) -> Block:
        """The faces of a run with their embeddings opened; faces without a usable embedding are left out.

        An embedding is unusable if it cannot be opened or has another dimension (both give zeros here), or has not unit
        length. The change log has no embedding for such faces either.
        """
        sealing = self._database.sealing.enrolled
        if run.tokens is not None:
            model_id = self._model_id.encode()
            contexts = (
                embedding_context(app_pk, user_pk, model_id, token)
                for user_pk, token in zip(run.user_pks.tolist(), run.tokens, strict=True)
            )
            embeddings = sealing.embeddings(run.values.tolist(), contexts, self._dimension)
        elif sealing.mode is Mode.ONLY:
            embeddings = np.zeros((len(run.values), self._dimension), np.float32)
        else:
            embeddings = self._plain(run.values)
        kept = of_unit_length(embeddings)
        if kept.all():
            return run.face_pks, run.user_pks, run.group_pks, embeddings
        return run.face_pks[kept], run.user_pks[kept], run.group_pks[kept], embeddings[kept]

    def _plain(self, values: NDArray[np.void]) -> Embeddings:
        """``(n, dimension)``; zeros where the values have another dimension."""
        if values.dtype.itemsize != self._dimension * FLOAT.itemsize:
            return np.zeros((len(values), self._dimension), np.float32)
        rows = np.ascontiguousarray(values).view(FLOAT).reshape(len(values), self._dimension)
        return np.ascontiguousarray(rows, dtype=np.float32)


def _chosen(groups: Collection[int] | None) -> sql.Composable:
    """Which rows of ``faces`` are wanted."""
    return sql.SQL("true") if groups is None else sql.SQL("group_pk = ANY ({})").format(sql.Literal(sorted(groups)))
