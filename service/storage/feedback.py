"""What callers told us about answers that they got."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from service.storage.execution import Execution
from service.storage.tables import feedback


@dataclass(frozen=True, slots=True)
class StoredFeedback:
    """One item; ``content`` is as the caller sent it, less the picture."""

    pk: int
    content: Mapping[str, object]
    created: datetime


def naming(name: str) -> sa.ColumnElement[bool]:
    """Of feedback: that it has this very text anywhere as a text of its own."""
    given = sa.func.jsonb_build_object("name", name)
    return sa.func.jsonb_path_exists(feedback.c.content, sa.text("'$.** ? (@ == $name)'"), given)


class FeedbackReader:
    """Reading feedback."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def latest(self, app_pk: int, limit: int) -> list[StoredFeedback]:
        """An app's feedback, newest first."""
        query = sa.select(feedback.c.pk, feedback.c.content, feedback.c.created)
        query = query.where(feedback.c.app_pk == app_pk).order_by(feedback.c.pk.desc()).limit(limit)
        return [StoredFeedback(row.pk, row.content, row.created) for row in self._execution.run(query)]


_TRIM = sa.text("""
    DELETE FROM feedback WHERE app_pk = :app_pk AND pk <= (
        SELECT pk FROM feedback WHERE app_pk = :app_pk ORDER BY pk DESC OFFSET :keep LIMIT 1
    )
""")

_PURGE = sa.text("""
    DELETE FROM feedback WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM feedback WHERE created < now() - CAST(:age AS interval) ORDER BY created LIMIT :limit
        FOR UPDATE SKIP LOCKED
    ))
""")


class FeedbackWriter(FeedbackReader):
    """Keeping feedback, and forgetting it."""

    def insert(self, app_pk: int, contents: Sequence[Mapping[str, object]], keep: int) -> None:
        """Store items; of the app's feedback only the last ``keep`` items stay."""
        if not contents:
            return
        rows = [{"app_pk": app_pk, "content": dict(content)} for content in contents]
        self._execution.run(feedback.insert(), rows)
        self._execution.run(_TRIM, {"app_pk": app_pk, "keep": keep})

    def purge(self, age: timedelta, limit: int) -> int:
        """Delete items older than ``age``, oldest first, at most ``limit`` of them; returns how many."""
        return self._execution.run(_PURGE, {"age": age, "limit": limit}).rowcount
