"""The change log as readers and its upkeep see it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from service.storage.execution import Execution
from service.storage.models import made_by
from service.storage.sealing import Place, Sealing
from service.storage.tables import change_heads, changes, faces
from service.values import Change, ChangeKind, ChangeMark, Embedding

_CREATED = sa.cast(sa.func.extract("epoch", changes.c.created) * 1_000_000, sa.BigInteger).label("created")
"""Exact: PostgreSQL extracts a decimal number and keeps microseconds."""
_MARK = (changes.c.seq, changes.c.kind, changes.c.group_pk, changes.c.user_pk, changes.c.face_pk, _CREATED)


class ChangeReader:
    """Reading the change log."""

    def __init__(self, execution: Execution, sealing: Sealing) -> None:
        self._execution = execution
        self._sealing = sealing

    def head(self, app_pk: int) -> int | None:
        """Number of the app's last change, 0 before the first; None when there is no such app."""
        query = sa.select(change_heads.c.seq).where(change_heads.c.app_pk == app_pk)
        return self._execution.run(query).scalar_one_or_none()

    def heads(self) -> dict[int, int]:
        """The same for every app, by its ``pk``."""
        query = sa.select(change_heads.c.app_pk, change_heads.c.seq)
        return {row.app_pk: row.seq for row in self._execution.run(query)}

    def floor(self, app_pk: int) -> int | None:
        """Changes up to this number were pruned and cannot be read any more."""
        query = sa.select(change_heads.c.floor).where(change_heads.c.app_pk == app_pk)
        return self._execution.run(query).scalar_one_or_none()

    def since(self, app_pk: int, seq: int, limit: int, model_id: str) -> list[Change]:
        """The first ``limit`` changes after ``seq``, with the embeddings that are still there and of this model.

        One that cannot be opened counts as not there.
        """
        added = sa.and_(changes.c.kind == int(ChangeKind.ADD_FACE), faces.c.pk == changes.c.face_pk)
        columns = (*_MARK, faces.c.user_pk.label("owner_pk"), faces.c.token, made_by(model_id).label("embedding"))
        query = sa.select(*columns).join_from(changes, faces, added, isouter=True)
        query = query.where(changes.c.app_pk == app_pk, changes.c.seq > seq).order_by(changes.c.seq).limit(limit)
        return [
            Change(
                row.seq,
                ChangeKind(row.kind),
                row.group_pk,
                row.user_pk,
                row.face_pk,
                self._embedding(app_pk, row, model_id),
                row.created,
            )
            for row in self._execution.run(query)
        ]

    def _embedding(self, app_pk: int, row: sa.Row[Any], model_id: str) -> Embedding | None:
        if row.embedding is None:
            return None
        return self._sealing.embedding(row.embedding, Place(app_pk, row.owner_pk, row.token), model_id)

    def mark(self, app_pk: int, seq: int) -> ChangeMark | None:
        """The row of one change; ``None`` when the log does not have it, any more or yet."""
        query = sa.select(*_MARK).where(changes.c.app_pk == app_pk, changes.c.seq == seq)
        row = self._execution.run(query).one_or_none()
        return None if row is None else ChangeMark._make(row)


_RAISE_FLOOR = sa.text("""
    UPDATE change_heads SET floor = seq - :keep WHERE app_pk = :app_pk AND seq - :keep > floor RETURNING floor
""")


class ChangeWriter(ChangeReader):
    """Upkeep of the change log."""

    def prune(self, app_pk: int, keep: int) -> int:
        """Drop all but the last ``keep`` changes of an app; returns how many were dropped."""
        floor = self._execution.run(_RAISE_FLOOR, {"app_pk": app_pk, "keep": keep}).scalar_one_or_none()
        if floor is None:
            return 0
        old = (changes.c.app_pk == app_pk) & (changes.c.seq <= floor)
        return self._execution.run(changes.delete().where(old)).rowcount
