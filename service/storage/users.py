"""Users: a person as enrolled in one group."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from service.errors import GroupNotFound, UserAlreadyInGroup, UserNotFound
from service.storage.execution import Execution
from service.storage.recording import Recording
from service.storage.tables import groups, users
from service.storage.tokens import ENDING_SOON
from service.values import ChangeKind, UserEntry

_ENTRY = sa.select(users.c.pk, groups.c.name.label("group_id"), users.c.name.label("user_id"), users.c.info).join(
    groups, groups.c.pk == users.c.group_pk
)


class UserReader:
    """Finding users."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def pk(self, group_pk: int, user_id: str) -> int | None:
        query = sa.select(users.c.pk).where(users.c.group_pk == group_pk, users.c.name == user_id)
        return self._execution.run(query).scalar_one_or_none()

    def pks(self, group_pks: Sequence[int], user_id: str) -> list[int]:
        """The user's entries in several groups, as far as they exist."""
        query = sa.select(users.c.pk).where(users.c.group_pk.in_(group_pks), users.c.name == user_id)
        return list(self._execution.run(query.order_by(users.c.pk)).scalars())

    def entries(self, app_pk: int, user_id: str) -> list[UserEntry]:
        """The user in every group of the app, in the order of enrolment."""
        query = _ENTRY.where(users.c.app_pk == app_pk, users.c.name == user_id).order_by(users.c.pk)
        return [_entry(row) for row in self._execution.run(query)]

    def infos(self, app_pk: int, group_id: str, user_ids: Sequence[str]) -> dict[str, str]:
        """user_info by id, of those of some users who are in a group."""
        named = sa.bindparam("names", list(user_ids), sa.ARRAY(sa.Text))
        query = _ENTRY.where(users.c.app_pk == app_pk, groups.c.name == group_id, users.c.name == sa.any_(named))
        return {row.user_id: row.info for row in self._execution.run(query)}

    def entries_in_group(self, group_pk: int, start: int, length: int) -> list[UserEntry]:
        """Users of a group in the order of enrolment."""
        query = _ENTRY.where(users.c.group_pk == group_pk).order_by(users.c.pk).offset(start).limit(length)
        return [_entry(row) for row in self._execution.run(query)]

    def entries_by_pk(self, pks: Sequence[int]) -> dict[int, UserEntry]:
        """Users by number; one deleted meanwhile is left out."""
        query = _ENTRY.where(users.c.pk == sa.any_(sa.bindparam("pks", list(pks), sa.ARRAY(sa.BigInteger))))
        return {row.pk: _entry(row) for row in self._execution.run(query)}

    def groups_of(self, pks: Collection[int]) -> set[int]:
        """Numbers of the groups that users are in, as far as they are still there."""
        given = sa.bindparam("pks", list(pks), sa.ARRAY(sa.BigInteger))
        query = sa.select(users.c.group_pk).where(users.c.pk == sa.any_(given)).distinct()
        return set(self._execution.run(query).scalars())


# Faces go first, so that the rows of their tokens can still be told.
_DELETE = sa.text(f"""
    WITH gone AS (
        DELETE FROM faces WHERE user_pk = ANY (CAST(:pks AS bigint[])) AND app_pk = :app_pk RETURNING token
    ), {ENDING_SOON}
    DELETE FROM users WHERE pk = ANY (CAST(:pks AS bigint[])) AND app_pk = :app_pk RETURNING pk, group_pk
""")  # noqa: S608 (constants)

_GIVEN = "unnest(CAST(:names AS text[]), CAST(:infos AS text[])) AS given (name, info)"
_INSERT_MANY = sa.text(f"""
    INSERT INTO users (app_pk, group_pk, name, info)
    SELECT groups.app_pk, groups.pk, given.name, coalesce(given.info, '') FROM groups, {_GIVEN}
    WHERE groups.pk = :group_pk AND groups.app_pk = :app_pk
    ON CONFLICT DO NOTHING
""")  # noqa: S608 (constants)
_SET_INFOS = sa.text(f"""
    UPDATE users SET info = given.info FROM {_GIVEN}
    WHERE users.group_pk = :group_pk AND users.app_pk = :app_pk AND users.name = given.name
      AND users.info <> given.info
""")  # noqa: S608 (constants)


class UserWriter(UserReader):
    """Changing users within a unit of work."""

    def __init__(self, execution: Execution, recording: Recording) -> None:
        super().__init__(execution)
        self._recording = recording

    def insert(self, group_pk: int, user_id: str, user_info: str = "") -> int:
        """A new user without faces; raises :class:`UserAlreadyInGroup`, :class:`GroupNotFound`."""
        app_pk = self._recording.app_pk
        group = sa.select(
            groups.c.app_pk, groups.c.pk, sa.literal(user_id, sa.Text), sa.literal(user_info, sa.Text)
        ).where(groups.c.pk == group_pk, groups.c.app_pk == app_pk)
        statement = insert(users).from_select(["app_pk", "group_pk", "name", "info"], group)
        pk = self._execution.run(statement.on_conflict_do_nothing().returning(users.c.pk)).scalar_one_or_none()
        if pk is not None:
            return int(pk)
        if self.pk(group_pk, user_id) is None:
            raise GroupNotFound(str(group_pk))
        raise UserAlreadyInGroup(user_id)

    def get_or_create_many(
        self, group_pk: int, infos: Mapping[str, str | None], renewed: Mapping[str, str] | None = None
    ) -> dict[str, int]:
        """Numbers of users of a group by id; those missing are made, with the user_info that ``infos`` has by id.

        ``renewed``: user_info that replaces that of users who are there. Raises :class:`GroupNotFound`.
        """
        names = list(infos)
        parameters = {"app_pk": self._recording.app_pk, "group_pk": group_pk}
        self._execution.run(_INSERT_MANY, {**parameters, "names": names, "infos": [infos[name] for name in names]})
        if renewed:
            self._execution.run(_SET_INFOS, {**parameters, "names": list(renewed), "infos": list(renewed.values())})
        condition = (users.c.group_pk == group_pk) & (users.c.app_pk == self._recording.app_pk)
        query = sa.select(users.c.name, users.c.pk).where(condition, users.c.name.in_(names))
        found = {row.name: row.pk for row in self._execution.run(query)}
        if len(found) < len(names):
            raise GroupNotFound(str(group_pk))
        return found

    def set_info(self, pk: int, user_info: str) -> None:
        """Raises :class:`UserNotFound`."""
        condition = (users.c.pk == pk) & (users.c.app_pk == self._recording.app_pk)
        if not self._execution.run(users.update().where(condition).values(info=user_info)).rowcount:
            raise UserNotFound(str(pk))

    def delete(self, *pks: int) -> None:
        """Delete users with faces, embeddings and portraits; raises :class:`UserNotFound`.

        All that go together in one statement: what is remembered of their faces is locked in one order.
        """
        parameters = {"pks": list(pks), "app_pk": self._recording.app_pk}
        groups_by_user = {row.pk: row.group_pk for row in self._execution.run(_DELETE, parameters)}
        for pk in pks:
            if pk not in groups_by_user:
                raise UserNotFound(str(pk))
            self._recording.record(ChangeKind.REMOVE_USER, groups_by_user[pk], pk)


def _entry(row: sa.Row[Any]) -> UserEntry:
    return UserEntry(row.pk, row.group_id, row.user_id, row.info)
