"""Groups of an app's library."""

from __future__ import annotations

from collections.abc import Callable

from service.errors import GroupNotFound
from service.storage.engine import Database
from service.values import App

Published = Callable[[int, int], None]
"""Called with (app_pk, seq) after a write, so that this process's index answers with it at once."""


Names = list[str]


class Groups:
    """The ``faceset/group/*`` calls."""

    def __init__(self, database: Database, published: Published) -> None:
        self._database = database
        self._published = published

    def add(self, app: App, group_id: str) -> None:
        """Create an empty group. Raises ``GroupExists``."""
        with self._database.write(app.pk) as work:
            work.groups.insert(group_id)

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
        with self._database.read() as reader:
            return reader.groups.names(app.pk, start, length)

    def users(self, app: App, group_id: str, start: int, length: int) -> Names:
        """Ids of a group's users in order of enrolment. Raises ``GroupNotFound``."""
        with self._database.read() as reader:
            group = reader.groups.pk(app.pk, group_id)
            if group is None:
                raise GroupNotFound
            return reader.groups.users(group, start, length)
