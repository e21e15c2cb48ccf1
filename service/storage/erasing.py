"""Counting and deleting what is stored about people besides their faces, for erasures."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import sqlalchemy as sa

from service.storage.execution import Execution
from service.storage.feedback import naming
from service.storage.tables import capture_devices, capture_people, face_tokens, faces, feedback, metadata, uploads

_NAMING_MEMBERS = sa.text("""
    DELETE FROM feedback WHERE app_pk = :app_pk AND EXISTS (
        SELECT 1 FROM jsonb_path_query(content, '$.** ? (@.type() == "string")') AS told (name)
        JOIN users ON users.group_pk = :group_pk AND users.app_pk = :app_pk AND users.name = told.name #>> '{}'
        WHERE NOT EXISTS (
            SELECT 1 FROM users AS others
            WHERE others.app_pk = :app_pk AND others.name = users.name AND others.group_pk <> :group_pk
        )
    )
""")

_CROPS = sa.text("""
    WITH looked_at AS (
        SELECT pk, portrait IS NOT NULL AND created < now() - CAST(:age AS interval) AS old
        FROM faces WHERE pk > :after ORDER BY pk LIMIT :limit
    ), forgotten AS (
        UPDATE faces SET portrait = NULL WHERE pk IN (SELECT pk FROM looked_at WHERE old)
    )
    SELECT max(pk) FROM looked_at
""")


class EraseWriter:
    """Within a unit of work, or within administration where a whole app goes."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def faces(self, app_pk: int, user_pks: Sequence[int]) -> dict[str, int]:
        """Forget what is remembered under the tokens of some users' faces; counts of that, of faces and of crops.

        To be called before the users are deleted: deletion alone would leave the remembered faces for some minutes.
        """
        return self._faces(app_pk, faces.c.user_pk == sa.any_(sa.bindparam("pks", list(user_pks), _NUMBERS)))

    def faces_of_group(self, app_pk: int, group_pk: int) -> dict[str, int]:
        """The same for a group."""
        return self._faces(app_pk, faces.c.group_pk == group_pk)

    def everything(self, app_pk: int) -> dict[str, int]:
        """How many rows of each table go with an app."""
        counts = {
            table.name: self._count(table, table.c.app_pk == app_pk)
            for table in metadata.sorted_tables
            if "app_pk" in table.c
        }
        of_devices = capture_people.c.capture_device_pk.in_(
            sa.select(capture_devices.c.pk).where(capture_devices.c.app_pk == app_pk)
        )
        counts["capture_people"] = self._count(capture_people, of_devices)
        return {name: count for name, count in counts.items() if count}

    def feedback_naming(self, app_pk: int, name: str) -> int:
        """Delete the feedback that has this very text anywhere; returns how many items."""
        return self._execution.run(feedback.delete().where(feedback.c.app_pk == app_pk, naming(name))).rowcount

    def feedback_naming_members(self, app_pk: int, group_pk: int) -> int:
        """The same for whoever is in this group and in no other of the app."""
        return self._execution.run(_NAMING_MEMBERS, {"app_pk": app_pk, "group_pk": group_pk}).rowcount

    def feedback(self, app_pk: int) -> int:
        """Delete all feedback of an app; returns how many items."""
        return self._execution.run(feedback.delete().where(feedback.c.app_pk == app_pk)).rowcount

    def remembered(self, app_pk: int) -> int:
        """Forget every remembered face of an app; returns how many."""
        return self._execution.run(face_tokens.delete().where(face_tokens.c.app_pk == app_pk)).rowcount

    def crops(self, age: timedelta, after: int, limit: int) -> int | None:
        """Look at ``limit`` faces behind the number ``after``, and forget crops enrolled longer ago than ``age``.

        Returns the last one's number, to go on from; ``None`` behind the last face. No statement reads the whole table,
        which in a large library takes longer than statements may.
        """
        found: int | None = self._execution.run(_CROPS, {"age": age, "after": after, "limit": limit}).scalar_one()
        return found

    def uploads(self, app_pk: int) -> int:
        """Delete the files kept for an app; returns how many."""
        return self._execution.run(uploads.delete().where(uploads.c.app_pk == app_pk)).rowcount

    def captures(self, app_pk: int) -> int:
        """Forget an app's devices with the pictures and people that they showed; returns how many devices."""
        return self._execution.run(capture_devices.delete().where(capture_devices.c.app_pk == app_pk)).rowcount

    def _faces(self, app_pk: int, condition: sa.ColumnElement[bool]) -> dict[str, int]:
        ours = condition & (faces.c.app_pk == app_pk)
        query = sa.select(sa.func.count().label("faces"), sa.func.count(faces.c.portrait).label("crops")).where(ours)
        found = self._execution.run(query.select_from(faces)).one()
        return {"faces": found.faces, "crops": found.crops, "face_tokens": self._forgotten(app_pk, ours)}

    def _forgotten(self, app_pk: int, ours: sa.ColumnElement[bool]) -> int:
        """Forget what is remembered of some faces; returns how many were."""
        of_app, token = face_tokens.c.app_pk == app_pk, face_tokens.c.token
        known = sa.select(token).where(of_app, token.in_(sa.select(faces.c.token).where(ours)))
        # In the order in which they are written, see ``ENDING_SOON``.
        locked = known.order_by(token.collate("C")).with_for_update().cte("known")
        return self._execution.run(face_tokens.delete().where(of_app, token.in_(sa.select(locked.c.token)))).rowcount

    def _count(self, table: sa.Table, condition: sa.ColumnElement[bool]) -> int:
        return int(self._execution.run(sa.select(sa.func.count()).select_from(table).where(condition)).scalar_one())


_NUMBERS = sa.ARRAY(sa.BigInteger)
