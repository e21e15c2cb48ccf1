"""Faces of users: embeddings, portraits, and what the API says of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB, Insert, insert

from service.errors import EnrolledFaceNotFound, FaceExists, UserNotFound
from service.storage.execution import Execution, Parameters
from service.storage.models import FaceEmbeddings, made_by
from service.storage.recording import Recording
from service.storage.rows import RememberedFace, face_columns, stored_face
from service.storage.sealing import Place, Sealing
from service.storage.tables import face_embeddings, faces, groups, users
from service.storage.tokens import ENDING_SOON
from service.values import ChangeKind, Embedding, FaceEntry, StoredFace

# NULL in the column means "not known"; without this it would be the JSON value null.
_TYPES = {column.name: JSONB(none_as_null=True) if column.name == "quality" else column.type for column in faces.c}
_COPIED = (
    *("token", "model_id", "embedding", "location", "angles", "confidence", "quality", "points", "portrait"),
    "created",  # of the enrolment: a copy's crop is as old as the picture
)


@dataclass(frozen=True, slots=True, eq=False)
class NewFace:
    """A face to be enrolled together with others."""

    user_pk: int
    face: StoredFace
    model_id: str
    embedding: Embedding


class FaceReader:
    """Finding faces."""

    def __init__(self, execution: Execution, sealing: Sealing) -> None:
        self._execution = execution
        self._sealing = sealing

    def count(self, user_pk: int) -> int:
        query = sa.select(sa.func.count()).select_from(faces).where(faces.c.user_pk == user_pk)
        return int(self._execution.run(query).scalar_one())

    def count_of_app(self, app_pk: int) -> int:
        query = sa.select(sa.func.count()).select_from(faces).where(faces.c.app_pk == app_pk)
        return int(self._execution.run(query).scalar_one())

    def pk_by_token(self, user_pk: int, token: str) -> int | None:
        query = sa.select(faces.c.pk).where(faces.c.user_pk == user_pk, faces.c.token == token)
        return self._execution.run(query).scalar_one_or_none()

    def exists(self, user_pk: int, token: str) -> bool:
        return self.pk_by_token(user_pk, token) is not None

    def entries(self, user_pk: int) -> list[FaceEntry]:
        """The user's faces in the order of enrolment."""
        query = sa.select(faces.c.pk, faces.c.token, faces.c.created).where(faces.c.user_pk == user_pk)
        return [FaceEntry(row.pk, row.token, row.created) for row in self._execution.run(query.order_by(faces.c.pk))]

    def is_enrolled(self, app_pk: int, group_id: str, user_id: str, token: str) -> bool:
        """Whether the user of this name in this group has the face."""
        owner = sa.join(faces, users, users.c.pk == faces.c.user_pk).join(groups, groups.c.pk == users.c.group_pk)
        condition = (faces.c.app_pk == app_pk) & (faces.c.token == token)
        named = (users.c.name == user_id) & (groups.c.name == group_id)
        query = sa.select(faces.c.pk).select_from(owner).where(condition, named).limit(1)
        return self._execution.run(query).scalar_one_or_none() is not None

    def enrolled(self, app_pk: int, tokens: Sequence[str]) -> set[str]:
        """Those of some tokens that are of enrolled faces of the app."""
        given = (
            sa.func.unnest(sa.bindparam("tokens", list(tokens), sa.ARRAY(sa.Text)))
            .table_valued("token")
            .render_derived()
        )
        # A join: of a long list PostgreSQL would compare every face of every app with all of it.
        query = sa.select(faces.c.token).join(given, given.c.token == faces.c.token).where(faces.c.app_pk == app_pk)
        return set(self._execution.run(query).scalars())

    def tokens_of_users(self, user_pks: Sequence[int]) -> dict[int, set[str]]:
        """Tokens of the faces of each user that has any."""
        wanted = sa.bindparam("pks", list(user_pks), sa.ARRAY(sa.BigInteger))
        found: dict[int, set[str]] = {}
        for row in self._execution.run(
            sa.select(faces.c.user_pk, faces.c.token).where(faces.c.user_pk == sa.any_(wanted))
        ):
            found.setdefault(row.user_pk, set()).add(row.token)
        return found

    def portraits(self, pks: Sequence[int]) -> dict[int, bytes]:
        """JPEG crops by the faces' numbers; a face without one, or with one that cannot be opened, is left out."""
        wanted = sa.bindparam("pks", list(pks), sa.ARRAY(sa.BigInteger))
        query = sa.select(faces.c.pk, faces.c.app_pk, faces.c.user_pk, faces.c.token, faces.c.portrait)
        rows = self._execution.run(query.where(faces.c.pk == sa.any_(wanted)))
        opened = {row.pk: self._sealing.portrait(row.portrait, _place(row)) for row in rows}
        return {pk: portrait for pk, portrait in opened.items() if portrait is not None}

    def portrait(self, pk: int) -> bytes | None:
        """The crop of a face as JPEG, if one was kept and the face is there."""
        return self.portraits([pk]).get(pk)

    def embeddings_of_users(self, user_pks: Sequence[int], model_id: str) -> list[tuple[str, Embedding]]:
        """Token and embedding of every face of some users that this model has seen, in the order of enrolment."""
        columns = (faces.c.app_pk, faces.c.user_pk, faces.c.token, made_by(model_id).label("embedding"))
        rows = self._execution.run(sa.select(*columns).where(faces.c.user_pk.in_(user_pks)).order_by(faces.c.pk))
        opened = ((row.token, self._sealing.embedding(row.embedding, _place(row), model_id)) for row in rows)
        return [(token, embedding) for token, embedding in opened if embedding is not None]

    def count_by_model(self) -> dict[str, int]:
        """How many faces of all apps each model embedded; one that several did counts for each."""
        counts: Counter[str] = Counter()
        for model_id in (faces.c.model_id, face_embeddings.c.model_id):
            query = sa.select(model_id, sa.func.count().label("faces")).group_by(model_id)
            counts.update({row.model_id: row.faces for row in self._execution.run(query)})
        return dict(counts)

    def stored_by_token(self, app_pk: int, token: str, model_id: str) -> RememberedFace | None:
        """An enrolled face of the app by its token, whoever it belongs to, preferably with ``model_id``'s embedding.

        One that cannot be opened counts as not there.
        """
        usable = made_by(model_id).label("usable")
        query = sa.select(faces, usable).where(faces.c.app_pk == app_pk, faces.c.token == token)
        row = self._execution.run(query.order_by(usable.is_(None), faces.c.pk.desc()).limit(1)).one_or_none()
        if row is None:
            return None
        opened = self._sealing.face(row.usable, row.portrait, _place(row), model_id)
        return None if opened.damaged else RememberedFace(stored_face(row, opened.portrait), opened.embedding)


# What is remembered of a face under its token ends soon after it.
_DELETE = f"""
    WITH gone AS (
        DELETE FROM faces WHERE {{condition}} AND app_pk = :app_pk RETURNING pk, token, user_pk, group_pk
    ), {ENDING_SOON}
    SELECT pk, user_pk, group_pk FROM gone ORDER BY pk
"""  # noqa: S608 (constants)
_DELETE_ONE = sa.text(_DELETE.format(condition="pk = ANY (CAST(:pks AS bigint[]))"))
_DELETE_OF_USERS = sa.text(_DELETE.format(condition="user_pk = ANY (CAST(:pks AS bigint[]))"))


class FaceWriter(FaceReader):
    """Changing faces within a unit of work."""

    def __init__(self, execution: Execution, recording: Recording, sealing: Sealing) -> None:
        super().__init__(execution, sealing)
        self._recording = recording
        self._embeddings = FaceEmbeddings(execution, recording, sealing)

    def insert(
        self,
        user_pk: int,
        face: StoredFace,
        model_id: str,
        embedding: Embedding,
        quality: Mapping[str, Any] | None = None,
    ) -> int:
        """Give a user a face; raises :class:`FaceExists` for a token that the user has, :class:`UserNotFound`.

        Raises :class:`ModelChanged` when the library is in another model.
        """
        self._embeddings.check(model_id)
        values = {
            **self._columns(NewFace(user_pk, face, model_id, embedding)),
            "quality": None if quality is None else dict(quality),
        }
        literals = (sa.literal(value, _TYPES[name]).label(name) for name, value in values.items())
        query = _owned(user_pk, self._recording.app_pk, *literals)
        pks = self._insert(query, tuple(values))
        if pks:
            return pks[0]
        if self.exists(user_pk, face.token):
            raise FaceExists(face.token)
        raise UserNotFound(str(user_pk))

    def insert_many(self, group_pk: int, new: Sequence[NewFace]) -> list[int]:
        """Give users of one group faces; returns the numbers of those made, tokens that a user has being passed over.

        The users must be the group's, as ``users.get_or_create_many`` returns them. Raises :class:`ModelChanged` when
        the library is in another model.
        """
        if not new:
            return []
        for model_id in {face.model_id for face in new}:
            self._embeddings.check(model_id)
        whose = {"app_pk": self._recording.app_pk, "group_pk": group_pk}
        rows = [{**self._columns(face), **whose, "user_pk": face.user_pk} for face in new]
        return self._made(insert(faces).on_conflict_do_nothing(index_elements=["user_pk", "token"]), rows)

    def copy(self, source_user_pk: int, user_pk: int) -> int:
        """Give a user the faces of another, less those that it has; returns how many it got.

        A face that cannot be opened is not copied: what is sealed is bound to its user, and sealed anew here.
        """
        ours = (faces.c.user_pk == source_user_pk) & (faces.c.app_pk == self._recording.app_pk)
        query = sa.select(faces.c.pk, faces.c.app_pk, faces.c.user_pk, faces.c.token, faces.c.model_id)
        query = query.add_columns(faces.c.embedding, faces.c.portrait).where(ours).order_by(faces.c.pk)
        copies = [(row.pk, pk) for row in self._execution.run(query).all() for pk in self._copied(row, user_pk)]
        self._embeddings.copy(copies)
        return len(copies)

    def delete(self, pk: int) -> None:
        """Delete one face; raises :class:`EnrolledFaceNotFound`."""
        if not self._delete(_DELETE_ONE, pk):
            raise EnrolledFaceNotFound(str(pk))

    def delete_of_users(self, *user_pks: int) -> int:
        """Delete every face of users, who stay; returns how many there were.

        All that go together in one statement: what is remembered of them is locked in one order.
        """
        return self._delete(_DELETE_OF_USERS, *user_pks)

    def _copied(self, row: sa.Row[Any], user_pk: int) -> list[int]:
        """The face that came of giving one to another user, if one did."""
        opened = self._sealing.face(row.embedding, row.portrait, _place(row), row.model_id)
        if opened.embedding is None or opened.damaged:
            return []
        place = Place(row.app_pk, user_pk, row.token)
        new = {
            "model_id": row.model_id,  # together with what it made, and not as it may be by now
            "embedding": self._sealing.seal_embedding(opened.embedding, place, row.model_id),
            "portrait": self._sealing.seal_portrait(opened.portrait, place),
        }
        columns = (sa.literal(new[name], _TYPES[name]) if name in new else faces.c[name] for name in _COPIED)
        query = _owned(user_pk, row.app_pk, *columns).join_from(users, faces, faces.c.pk == row.pk)
        return self._insert(query, _COPIED)

    def _columns(self, new: NewFace) -> dict[str, Any]:
        """What is written of a face, sealed where that is wished."""
        place = Place(self._recording.app_pk, new.user_pk, new.face.token)
        return {
            **face_columns(new.face, self._sealing.seal_portrait(new.face.portrait, place)),
            "model_id": new.model_id,
            "embedding": self._sealing.seal_embedding(new.embedding, place, new.model_id),
        }

    def _insert(self, query: sa.Select[Any], columns: Sequence[str]) -> list[int]:
        statement = insert(faces).from_select(["app_pk", "group_pk", "user_pk", *columns], query)
        return self._made(statement.on_conflict_do_nothing(index_elements=["user_pk", "token"]))

    def _made(self, statement: Insert, parameters: Parameters = None) -> list[int]:
        returning = statement.returning(faces.c.pk, faces.c.group_pk, faces.c.user_pk)
        rows = self._execution.run(returning, parameters).all()
        for row in rows:
            self._recording.record(ChangeKind.ADD_FACE, row.group_pk, row.user_pk, row.pk)
        return [row.pk for row in rows]

    def _delete(self, statement: sa.TextClause, *pks: int) -> int:
        rows = self._execution.run(statement, {"pks": list(pks), "app_pk": self._recording.app_pk}).all()
        for row in rows:
            self._recording.record(ChangeKind.REMOVE_FACE, row.group_pk, row.user_pk, row.pk)
        return len(rows)


def _place(row: sa.Row[Any]) -> Place:
    return Place(row.app_pk, row.user_pk, row.token)


def _owned(user_pk: int, app_pk: int, *columns: sa.ColumnElement[Any]) -> sa.Select[Any]:
    """Rows for ``faces`` that belong to a user of the app; none when the app has no such user."""
    query = sa.select(users.c.app_pk, users.c.group_pk, users.c.pk, *columns)
    return query.where(users.c.pk == user_pk, users.c.app_pk == app_pk)
