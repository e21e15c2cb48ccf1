"""Which keys faces are sealed under, and re-sealing the stored faces, a few rows at a time."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from service.storage.execution import Execution
from service.storage.sealing import FaceSealing, OpenedFace, Place, Sealing, is_sealed_embedding, sealed_under
from service.storage.tables import apps, face_embeddings, face_keys, face_tokens, faces, groups, users

ROWS_AT_ONCE = 200
"""Rows of one transaction; a face takes about 25 KB."""


REMEMBERED = "remembered faces"
FURTHER = "embeddings of further models"


class Wish(enum.Enum):
    """How faces are to be stored in the database."""

    SEALED = "sealed"
    """All faces sealed, under the current key."""
    RENEWED = "renewed"
    """Sealed faces under the current key; plain faces stay plain."""
    PLAIN = "plain"
    """All faces plain."""


@dataclass(frozen=True, slots=True)
class _Kind:
    """A table of faces: the order of its rows, columns that say whose face it is, and columns that may be sealed."""

    table: sa.Table
    order: tuple[sa.Column[Any], ...]
    source: sa.FromClause
    """Where the next two come from: the table itself, or joined to what its rows are about."""
    user_pk: sa.ColumnElement[int]
    token: sa.Column[str]
    sealed: tuple[str, ...] = ("embedding", "portrait")

    @property
    def key_id(self) -> sa.ColumnElement[bytes]:
        """The key that a row's embedding is sealed under; NULL for a plain one."""
        return sealed_under(self.table.c.embedding)


KINDS = {
    "faces": _Kind(faces, (faces.c.pk,), faces, faces.c.user_pk, faces.c.token),
    FURTHER: _Kind(
        face_embeddings,
        (face_embeddings.c.face_pk, face_embeddings.c.model_id),
        face_embeddings.join(faces, faces.c.pk == face_embeddings.c.face_pk),
        faces.c.user_pk,
        faces.c.token,
        ("embedding",),
    ),
    REMEMBERED: _Kind(
        face_tokens, (face_tokens.c.app_pk, face_tokens.c.token), face_tokens, sa.literal(0), face_tokens.c.token
    ),
}


@dataclass(frozen=True, slots=True)
class Step:
    """Outcome of one step over some rows.

    The next step begins after ``last``, which is ``None`` behind the last row.
    """

    last: tuple[Any, ...] | None
    done: int
    broken: int
    """Rows that could not be opened and stay as they are."""
    from_plain: tuple[tuple[int, int], ...] = ()
    """App and face of each embedding that lay in plain and is sealed now."""


@dataclass(frozen=True, slots=True)
class BrokenFace:
    """An enrolled face that cannot be opened."""

    app_id: str
    group_id: str
    user_id: str
    token: str


class FaceKeyReader:
    """Asks how faces are stored."""

    def __init__(self, execution: Execution, sealing: FaceSealing) -> None:
        self._execution = execution
        self._sealing = sealing

    def registered(self) -> list[bytes]:
        """Ids of the keys that faces may be sealed under, the oldest first."""
        query = sa.select(face_keys.c.key_id).order_by(face_keys.c.created, face_keys.c.key_id)
        return [bytes(key_id) for key_id in self._execution.run(query).scalars()]

    def any_plain(self) -> bool:
        """Whether there is an enrolled face that is not sealed."""
        return any(
            self._execution.run(
                sa.select(sa.literal(1)).select_from(kind.table).where(kind.key_id.is_(None)).limit(1)
            ).scalar_one_or_none()
            is not None
            for kind in (KINDS["faces"], KINDS[FURTHER])
        )

    def broken(self) -> Iterator[BrokenFace]:
        """Enrolled faces that cannot be opened; reads every embedding and every crop.

        One whose embeddings by several models cannot be opened comes several times.
        """
        sealing = self._sealing.enrolled
        for kind in (KINDS["faces"], KINDS[FURTHER]):
            for row in self._all(kind):
                if _opened(sealing, row).damaged:
                    yield BrokenFace(row.app_id, row.group_id, row.user_id, row.token)

    def _all(self, kind: _Kind) -> Iterator[sa.Row[Any]]:
        """Every row of enrolled faces with the names of whose it is, some at a time."""
        names = (apps.c.app_id, groups.c.name.label("group_id"), users.c.name.label("user_id"))
        joined = kind.source.join(users, users.c.pk == faces.c.user_pk).join(groups, groups.c.pk == users.c.group_pk)
        columns = dict.fromkeys((*kind.order, faces.c.app_pk, faces.c.user_pk, faces.c.token, kind.table.c.model_id))
        query = sa.select(*columns, *(kind.table.c[name] for name in kind.sealed), *names)
        query = query.select_from(joined.join(apps, apps.c.pk == faces.c.app_pk)).order_by(*kind.order)
        rows: Sequence[sa.Row[Any]] = self._execution.run(query.limit(ROWS_AT_ONCE)).all()
        while rows:
            yield from rows
            last = (sa.literal(getattr(rows[-1], column.name)) for column in kind.order)
            after = sa.tuple_(*kind.order) > sa.tuple_(*last)
            rows = self._execution.run(query.where(after).limit(ROWS_AT_ONCE)).all()


class FaceKeyWriter(FaceKeyReader):
    """Counts and changes how faces are stored. Within transactions, since that may take longer than a request."""

    def counts(self, kind: str) -> dict[bytes | None, int]:
        """How many embeddings of a kind are sealed under each key; ``None``: in plain. Reads the whole table."""
        self._take_time()
        key_id = KINDS[kind].key_id.label("key_id")
        query = sa.select(key_id, sa.func.count().label("rows")).select_from(KINDS[kind].table).group_by(key_id)
        rows = self._execution.run(query).all()
        return {None if row.key_id is None else bytes(row.key_id): row.rows for row in rows}

    def outstanding(self, kind: str, wish: Wish, key_id: bytes) -> int:
        """How many rows are not stored as wished.

        Reads every embedding, and every crop whose embedding is as wished.
        """
        self._take_time()
        query = sa.select(sa.func.count()).select_from(KINDS[kind].table)
        return int(self._execution.run(query.where(_unlike(KINDS[kind], wish, key_id))).scalar_one())

    def register(self, key_id: bytes) -> None:
        """Note that faces may be sealed under a key from now on; comes before the first of them."""
        self._execution.run(insert(face_keys).values(key_id=key_id).on_conflict_do_nothing())

    def forget(self, key_ids: Sequence[bytes]) -> int:
        """Note that no face is sealed under some keys any more; returns how many of them were registered."""
        return self._execution.run(face_keys.delete().where(face_keys.c.key_id.in_(key_ids))).rowcount

    def step(self, kind: str, wish: Wish, sealing: Sealing, after: tuple[Any, ...] | None) -> Step:
        """Rewrite the next rows after ``after`` as wished, with ``sealing``.

        Rows that another transaction has locked are skipped: a step that never waits cannot deadlock.
        """
        self._take_time()
        which = KINDS[kind]
        table, order = which.table, which.order
        columns = (*order, table.c.app_pk, which.user_pk.label("user_pk"), which.token, table.c.model_id)
        query = sa.select(*dict.fromkeys(columns), *(table.c[name] for name in which.sealed)).select_from(which.source)
        query = query.where(_unlike(which, wish, sealing.key_ids[0])).order_by(*order).limit(ROWS_AT_ONCE)
        if after is not None:
            query = query.where(sa.tuple_(*order) > sa.tuple_(*map(sa.literal, after)))
        rows = self._execution.run(query.with_for_update(of=table, skip_locked=True)).all()
        renewed = [(row, values) for row in rows if (values := _anew(sealing, row, which)) is not None]
        new = [values for _, values in renewed]
        if new:
            same = sa.and_(*(column == sa.bindparam(f"is_{column.name}") for column in order))
            values = {name: sa.bindparam(f"new_{name}") for name in which.sealed}
            self._execution.run(table.update().where(same).values(values), new)
        last = tuple(getattr(rows[-1], column.name) for column in order) if rows else None
        from_plain: tuple[tuple[int, int], ...] = ()
        if wish is Wish.SEALED and kind != REMEMBERED:
            plain = (row for row, _ in renewed if not is_sealed_embedding(row.embedding))
            from_plain = tuple((row.app_pk, getattr(row, order[0].name)) for row in plain)
        return Step(last, len(new), len(rows) - len(new), from_plain)

    def _take_time(self) -> None:
        self._execution.run(sa.text("SET LOCAL statement_timeout = 0"))


def _unlike(kind: _Kind, wish: Wish, key_id: bytes) -> sa.ColumnElement[bool]:
    return sa.or_(*(_column_unlike(kind.table.c[name], wish, key_id) for name in kind.sealed))


def _column_unlike(column: sa.Column[bytes], wish: Wish, key_id: bytes) -> sa.ColumnElement[bool]:
    under = sealed_under(column)
    if wish is Wish.SEALED:
        return column.is_not(None) & under.is_distinct_from(key_id)
    return under.is_not(None) if wish is Wish.PLAIN else under != key_id


def _opened(sealing: Sealing, row: sa.Row[Any]) -> OpenedFace:
    """Embedding and crop of a row; embeddings of further models have no crop beside them."""
    return sealing.face(row.embedding, getattr(row, "portrait", None), _place(row), row.model_id or "")


def _place(row: sa.Row[Any]) -> Place:
    return Place(row.app_pk, row.user_pk, row.token)


def _anew(sealing: Sealing, row: sa.Row[Any], kind: _Kind) -> dict[str, Any] | None:
    embedding, portrait, damaged = _opened(sealing, row)
    if damaged:
        return None
    place = _place(row)
    new = {
        "embedding": None if embedding is None else sealing.seal_embedding(embedding, place, row.model_id or ""),
        "portrait": sealing.seal_portrait(portrait, place),
    }
    keys = {f"is_{column.name}": getattr(row, column.name) for column in kind.order}
    return {**keys, **{f"new_{name}": new[name] for name in kind.sealed}}
