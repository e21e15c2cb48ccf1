"""Groups of an app's library."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from service.errors import GroupExists, GroupNotFound
from service.storage.execution import Execution
from service.storage.recording import Recording
from service.storage.tables import groups, users
from service.storage.tokens import ENDING_SOON
from service.values import ANY_SCENE, ChangeKind


class GroupReader:
    """Finding groups. Lists come in the order of creation, so that pages stay where they are while others write."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def pk(self, app_pk: int, name: str) -> int | None:
        return self.pks(app_pk, [name]).get(name)

    def pks(self, app_pk: int, names: Sequence[str]) -> dict[str, int]:
        """Numbers of the groups that exist, by name."""
        query = sa.select(groups.c.name, groups.c.pk).where(groups.c.app_pk == app_pk, groups.c.name.in_(names))
        return {row.name: row.pk for row in self._execution.run(query)}

    def pks_in_scene(self, app_pk: int, names: Sequence[str], scene: str | None) -> dict[str, int]:
        """The same for groups of a scene, of ``ANY_SCENE``, or (``None``) for those that belong to none."""
        condition = groups.c.scene.is_not(None) if scene == ANY_SCENE else groups.c.scene.is_not_distinct_from(scene)
        query = sa.select(groups.c.name, groups.c.pk)
        query = query.where(groups.c.app_pk == app_pk, groups.c.name.in_(names), condition)
        return {row.name: row.pk for row in self._execution.run(query)}

    def scene(self, pk: int) -> str | None:
        """The scene that a group belongs to."""
        return self._execution.run(sa.select(groups.c.scene).where(groups.c.pk == pk)).scalar_one_or_none()

    def names(self, app_pk: int, start: int, length: int) -> list[str]:
        query = sa.select(groups.c.name).where(groups.c.app_pk == app_pk).order_by(groups.c.pk)
        return list(self._execution.run(query.offset(start).limit(length)).scalars())

    def users(self, group_pk: int, start: int, length: int) -> list[str]:
        query = sa.select(users.c.name).where(users.c.group_pk == group_pk).order_by(users.c.pk)
        return list(self._execution.run(query.offset(start).limit(length)).scalars())


# The faces of a group, in one statement: what is remembered under their tokens ends soon after them.
_DELETE = sa.text(f"""
    WITH gone AS (
        DELETE FROM faces WHERE group_pk = (SELECT pk FROM groups WHERE pk = :pk AND app_pk = :app_pk) RETURNING token
    ), {ENDING_SOON}
    SELECT count(*) FROM gone
""")  # noqa: S608 (constants)


class GroupWriter(GroupReader):
    """Changing groups within a unit of work."""

    def __init__(self, execution: Execution, recording: Recording) -> None:
        super().__init__(execution)
        self._recording = recording

    def insert(self, name: str, scene: str | None = None) -> int:
        """A new group; raises :class:`GroupExists`."""
        row = {"app_pk": self._recording.app_pk, "name": name, "scene": scene}
        pk = self._execution.run(
            insert(groups).values(row).on_conflict_do_nothing().returning(groups.c.pk)
        ).scalar_one_or_none()
        if pk is None:
            raise GroupExists(name)
        return int(pk)

    def get_or_create(self, name: str, scene: str | None = None) -> int:
        """Raises :class:`GroupExists` when the group of this name belongs to another scene, or to none."""
        pk = self.pks_in_scene(self._recording.app_pk, [name], scene).get(name)
        return self.insert(name, scene) if pk is None else pk

    def delete(self, pk: int) -> None:
        """Delete a group with its users, faces, embeddings and portraits; raises :class:`GroupNotFound`."""
        app_pk = self._recording.app_pk
        # A large group takes longer than a request may.
        self._execution.run(sa.text("SET LOCAL statement_timeout = 0"))
        self._execution.run(_DELETE, {"pk": pk, "app_pk": app_pk})
        if not self._execution.run(groups.delete().where(groups.c.pk == pk, groups.c.app_pk == app_pk)).rowcount:
            raise GroupNotFound(str(pk))
        self._recording.record(ChangeKind.REMOVE_GROUP, pk)
