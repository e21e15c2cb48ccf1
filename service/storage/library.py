"""An app's whole library as of one moment, row by row, for an export."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row

from service.storage.engine import Database
from service.storage.rows import stored_face
from service.storage.sealing import Place
from service.values import Embedding, StoredFace

ROWS_AT_ONCE = 200
"""Rows fetched together; a face takes about 25 KB."""


class LibraryDamaged(Exception):
    """What is stored cannot be read; the text is one sentence for the operator."""


@dataclass(frozen=True, slots=True)
class StoredGroup:
    """A group; ``scene`` is ``None`` for an ordinary one."""

    group_id: str
    scene: str | None


@dataclass(frozen=True, slots=True)
class StoredUser:
    """A user of a group."""

    group_id: str
    user_id: str
    user_info: str


@dataclass(frozen=True, slots=True, eq=False)
class StoredUserFace:
    """A face of a user with its embedding by the library's model or, where that has none, by the face's own.

    ``model_id`` says which model it is.
    """

    group_id: str
    user_id: str
    face: StoredFace
    model_id: str
    embedding: Embedding


LibraryRow = StoredGroup | StoredUser | StoredUserFace

_GROUPS = "SELECT name, scene FROM groups WHERE app_pk = %s ORDER BY pk"
_USERS = """
    SELECT groups.name AS group_id, users.name AS user_id, users.info
    FROM users JOIN groups ON groups.pk = users.group_pk
    WHERE users.app_pk = %s ORDER BY users.pk
"""
_FACES = """
    SELECT groups.name AS group_id, users.name AS user_id, faces.*,
           coalesce(made.model_id, faces.model_id) AS used_model_id,
           coalesce(made.embedding, faces.embedding) AS used_embedding
    FROM faces JOIN users ON users.pk = faces.user_pk JOIN groups ON groups.pk = users.group_pk
    LEFT JOIN library_models ON library_models.role = 'active'
    LEFT JOIN face_embeddings AS made ON made.face_pk = faces.pk AND made.model_id = library_models.model_id
    WHERE faces.app_pk = %s ORDER BY faces.pk
"""
"""Of a library that has been moved, what its model made stands beside the faces until that is finished."""


def read_library(database: Database, app_pk: int) -> Generator[LibraryRow, None, None]:
    """Every group, then every user, then every face, each in the order of creation, all as of one moment.

    Keeps a few hundred rows in memory at most. Close the generator when you stop early. Raises ``DatabaseUnavailable``,
    and :class:`LibraryDamaged` for a face that cannot be opened: if the copy left it out, nobody would notice in time.
    """
    sealing = database.sealing.enrolled
    with database.bulk() as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        for group in _rows(connection, _GROUPS, app_pk):
            yield StoredGroup(group.name, group.scene)
        for user in _rows(connection, _USERS, app_pk):
            yield StoredUser(user.group_id, user.user_id, user.info)
        for row in _rows(connection, _FACES, app_pk):
            place = Place(app_pk, row.user_pk, row.token)
            embedding, portrait, damaged = sealing.face(row.used_embedding, row.portrait, place, row.used_model_id)
            if embedding is None or damaged:
                raise LibraryDamaged(
                    f"a face of user {row.user_id} of group {row.group_id} cannot be opened; `aipface key faces` tells"
                    " which, delete them or put the missing key back"
                )
            yield StoredUserFace(row.group_id, row.user_id, stored_face(row, portrait), row.used_model_id, embedding)


def _rows(connection: psycopg.Connection[Any], query: str, app_pk: int) -> Generator[Any, None, None]:
    with connection.cursor(name="library", row_factory=namedtuple_row) as cursor:
        cursor.itersize = ROWS_AT_ONCE
        cursor.execute(query.encode(), (app_pk,))
        yield from cursor
