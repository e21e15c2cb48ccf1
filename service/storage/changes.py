"""The change log as readers and its upkeep see it."""

from __future__ import annotations

import sqlalchemy as sa

from service.storage.execution import Execution
from service.storage.sealing import Place, Sealing
from service.storage.tables import change_heads, changes
from service.values import Change, ChangeKind, ChangeMark

_CREATED = sa.cast(sa.func.extract("epoch", changes.c.created) * 1_000_000, sa.BigInteger).label("created")
"""Exact: PostgreSQL extracts a decimal number and keeps microseconds."""
_MARK = (changes.c.seq, changes.c.kind, changes.c.group_pk, changes.c.user_pk, changes.c.face_pk, _CREATED)

# The range of numbers, and not only a LIMIT, keeps the plan from joining the whole rest of the log first.
_SINCE = """
    SELECT log.seq, log.kind, log.group_pk, log.user_pk, log.face_pk,
           (extract(epoch FROM log.created) * 1000000)::bigint, faces.user_pk, faces.token,
           CASE WHEN faces.model_id = %(model_id)s THEN faces.embedding ELSE (
               SELECT embedding FROM face_embeddings WHERE face_pk = faces.pk AND model_id = %(model_id)s
           ) END
    FROM changes AS log LEFT JOIN faces ON log.kind = 1 AND faces.pk = log.face_pk
    WHERE log.app_pk = %(app_pk)s::bigint AND log.seq > %(seq)s::bigint AND log.seq <= %(seq)s::bigint + %(limit)s
    ORDER BY log.seq
"""
"""A change and its face, read by the driver itself: through SQLAlchemy a row takes eight times as long."""


class ChangeReader:
    """Reading the change log."""

    def __init__(self, execution: Execution, sealing: Sealing) -> None:
        self._execution = execution
        self._sealing = sealing

    def head(self, app_pk: int) -> int | None:
        """Number of the app's last change, 0 before the first; None when there is no such app."""
        rows = self._execution.direct("SELECT seq FROM change_heads WHERE app_pk = %(app_pk)s", {"app_pk": app_pk})
        return next((seq for (seq,) in rows), None)

    def heads(self) -> dict[int, int]:
        """The same for every app, by its ``pk``."""
        query = sa.select(change_heads.c.app_pk, change_heads.c.seq)
        return {row.app_pk: row.seq for row in self._execution.run(query)}

    def since(self, app_pk: int, seq: int, limit: int, model_id: str) -> list[Change]:
        """The ``limit`` changes after ``seq``, as far as the log has them, with the embeddings of this model.

        An embedding that is not there any more, or cannot be opened, is left out of its change.
        """
        parameters = {"app_pk": app_pk, "seq": seq, "limit": limit, "model_id": model_id}
        found = []
        for *numbers, created, owner_pk, token, column in self._execution.direct(_SINCE, parameters):
            number, kind, group_pk, user_pk, face_pk = numbers
            embedding = None
            if column is not None:
                embedding = self._sealing.embedding(column, Place(app_pk, owner_pk, token), model_id)
            found.append(Change(number, ChangeKind(kind), group_pk, user_pk, face_pk, embedding, created))
        return found

    def mark(self, app_pk: int, seq: int) -> ChangeMark | None:
        """The row of one change; ``None`` when the log does not have it, any more or yet."""
        query = sa.select(*_MARK).where(changes.c.app_pk == app_pk, changes.c.seq == seq)
        row = self._execution.run(query).one_or_none()
        return None if row is None else ChangeMark._make(row)


_PRUNED_AT_ONCE = 10_000

_RAISE_FLOOR = sa.text("""
    UPDATE change_heads SET floor = seq - :keep WHERE app_pk = :app_pk AND seq - :keep > floor
""")

_STAY = sa.text("SELECT FROM apps WHERE pk = :app_pk FOR KEY SHARE")

_PRUNE = sa.text("""
    DELETE FROM changes WHERE app_pk = :app_pk AND seq <= least(
        (SELECT floor FROM change_heads WHERE app_pk = :app_pk),
        (SELECT min(seq) FROM changes WHERE app_pk = :app_pk) + CAST(:limit AS bigint) - 1
    )
""")
"""From the beginning on: readers tell a pruned log by the change that should come first, and see no gap behind it."""


class ChangeWriter(ChangeReader):
    """Upkeep of the change log."""

    def raise_floor(self, app_pk: int, keep: int) -> None:
        """Give up all but the last ``keep`` changes of an app; :meth:`prune` drops them, in other transactions."""
        self._execution.run(_RAISE_FLOOR, {"app_pk": app_pk, "keep": keep})

    def prune(self, app_pk: int) -> int:
        """Drop some changes that were given up; returns how many, 0 at last. No writer of the app waits for it."""
        # Deleting the app takes these rows as well: one of the two waits, before it holds any of them.
        self._execution.run(_STAY, {"app_pk": app_pk})
        return self._execution.run(_PRUNE, {"app_pk": app_pk, "limit": _PRUNED_AT_ONCE}).rowcount
