"""Groups of an app's library."""

from __future__ import annotations

from collections.abc import Callable

from service.errors import GroupExists, GroupNotFound
from service.storage.engine import Database, Reader, UnitOfWork
from service.values import App

Published = Callable[[int, int], None]
"""Called with (app_pk, seq) after a write, so that this process's index answers with it at once."""


Names = list[str]


class Groups:
    """The ``faceset/group/*`` calls."""

    def __init__(self, database: Database, published: Published) -> None:
        self._database = database
        self._published = published

    def add(self, app: App, group_id: str, scene: str | None = None) -> None:
        """Create an empty group, of a scene if one is named. Raises ``GroupExists``, whatever scene has the name."""
        with self._database.write(app.pk) as work:
            work.groups.insert(group_id, scene)

    def delete(self, app: App, group_id: str) -> None:
        """Delete a group with its users, faces, embeddings and crops. Raises ``GroupNotFound``."""
        with self._database.write(app.pk) as work:
            group = work.groups.pk(app.pk, group_id)
            if group is None:
                raise GroupNotFound
            work.groups.delete(group)
        self._published(app.pk, work.seq)

    def list(self, app: App, start: int, length: int) -> Names:
        """Names of the app's groups in order of creation."""
        with self._database.read(app.pk) as reader:
            return reader.groups.names(app.pk, start, length)

    def users(self, app: App, group_id: str, start: int, length: int) -> Names:
        """Ids of a group's users in order of enrolment. Raises ``GroupNotFound``."""
        with self._database.read(app.pk) as reader:
            group = reader.groups.pk(app.pk, group_id)
            if group is None:
                raise GroupNotFound
            return reader.groups.users(group, start, length)


def group_in_scene(reader: Reader | UnitOfWork, app: App, group_id: str, scene: str | None) -> int:
    """The group's key. Raises ``GroupNotFound``, also when the group belongs to another scene (``None``: to any)."""
    group = reader.groups.pks_in_scene(app.pk, [group_id], scene).get(group_id)
    if group is None:
        raise GroupNotFound
    return group


def made_in_scene(work: UnitOfWork, group_id: str, scene: str | None) -> int:
    """The group's key; made when it is missing. Raises ``GroupNotFound`` when the name belongs to another scene."""
    try:
        return work.groups.get_or_create(group_id, scene)
    except GroupExists:
        raise GroupNotFound from None
