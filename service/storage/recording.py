"""The change log as a unit of work writes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from service.errors import AppUnavailable
from service.storage.execution import Execution
from service.values import ChangeKind, lasting_additions

CHANNEL = "aipface_changes"
"""NOTIFY channel; the payload is ``<app_pk>:<seq>``."""

# From here to the end of the transaction nothing of another app can be seen or changed (``service.storage.guard``).
_LOCK_HEAD = sa.text("""
    SELECT seq, set_config('aipface.app', :app, true), set_config('role', current_setting('aipface.role'), true)
    FROM change_heads WHERE app_pk = :app_pk FOR NO KEY UPDATE
""")

# The driver sends a number in as few bytes as hold it: without the casts the sum of two numbers ends at 32,767.
_WRITE = sa.text("""
    WITH written AS (
        INSERT INTO changes (app_pk, seq, kind, group_pk, user_pk, face_pk)
        SELECT :app_pk, CAST(:seq AS bigint) + position, kind, group_pk, user_pk, face_pk
        FROM unnest(CAST(:kinds AS smallint[]), CAST(:group_pks AS bigint[]), CAST(:user_pks AS bigint[]),
                    CAST(:face_pks AS bigint[])) WITH ORDINALITY AS row (kind, group_pk, user_pk, face_pk, position)
    ), moved AS (
        UPDATE change_heads SET seq = CAST(:seq AS bigint) + :count WHERE app_pk = :app_pk
    )
    SELECT pg_notify(:channel, :payload)
""")


class Row(NamedTuple):
    """A change without its place in the log, which comes with writing."""

    kind: ChangeKind
    group_pk: int
    user_pk: int
    face_pk: int


class Recording:
    """Collects the changes of one unit of work and writes them to the change log as its last statement.

    The constructor locks the head of the app's log before anything else happens. All writers of an app queue for that
    lock. So changes are numbered without gaps in the order of commits, and writers cannot deadlock later on.
    """

    def __init__(self, execution: Execution, app_pk: int) -> None:
        self.app_pk = app_pk
        self._execution = execution
        self._rows: list[Row] = []
        self._again: Counter[str] = Counter()
        row = execution.run(_LOCK_HEAD, {"app_pk": app_pk, "app": str(app_pk)}).one_or_none()
        if row is None:
            raise AppUnavailable("the app was deleted meanwhile")
        self.seq: int = row.seq

    def record(self, kind: ChangeKind, group_pk: int, user_pk: int = 0, face_pk: int = 0) -> None:
        """Note a change that has been made in the tables."""
        self._rows.append(Row(kind, group_pk, user_pk, face_pk))

    def embedded(self, group_pk: int, user_pk: int, face_pk: int) -> None:
        """Record that a further model has embedded a face. An addition for indexes of that model; others ignore it."""
        self._tell_again("embed_face", group_pk, user_pk, face_pk)

    def sealed(self, group_pk: int, user_pk: int, face_pk: int) -> None:
        """Record that a face was sealed in place.

        An addition for indexes that refused it as plain; others ignore it.
        """
        self._tell_again("seal_face", group_pk, user_pk, face_pk)

    def counts(self) -> dict[str, int]:
        """How many changes of each kind were recorded, by the kind's name in lower case."""
        counts = Counter(row.kind.name.lower() for row in self._rows)
        counts["add_face"] -= self._again.total()
        counts.update(self._again)
        return {kind: count for kind, count in counts.items() if count}

    def _tell_again(self, what: str, group_pk: int, user_pk: int, face_pk: int) -> None:
        self.record(ChangeKind.ADD_FACE, group_pk, user_pk, face_pk)
        self._again[what] += 1

    def write(self) -> None:
        """Write what was recorded, and tell the listeners; nothing at all when nothing was."""
        rows = additions_first(self._rows)
        if not rows:
            return
        kinds, group_pks, user_pks, face_pks = (list(column) for column in zip(*rows, strict=True))
        parameters = {"app_pk": self.app_pk, "seq": self.seq, "count": len(rows)}
        self._execution.run(
            _WRITE,
            {
                **parameters,
                "kinds": [int(kind) for kind in kinds],
                "group_pks": group_pks,
                "user_pks": user_pks,
                "face_pks": face_pks,
                "channel": CHANNEL,
                "payload": f"{self.app_pk}:{self.seq + len(rows)}",
            },
        )
        self.seq += len(rows)


def additions_first(rows: Sequence[Row]) -> list[Row]:
    """The same changes with additions before removals, less the additions that were taken back.

    An index applies them one by one: a user whose faces are replaced must not be missing in between.
    """
    return lasting_additions(rows) + [row for row in rows if row.kind is not ChangeKind.ADD_FACE]
