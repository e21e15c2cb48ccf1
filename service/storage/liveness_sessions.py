"""Session codes that people are asked to speak or perform, kept until a video answers them or they expire."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa

from service.storage.execution import Execution
from service.storage.tables import liveness_sessions


@dataclass(frozen=True, slots=True)
class StoredSession:
    """``kind`` and ``code`` as they were put."""

    kind: str
    code: str


_PURGE = sa.text("""
    DELETE FROM liveness_sessions WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM liveness_sessions WHERE expires <= now() ORDER BY expires LIMIT :limit FOR UPDATE SKIP LOCKED
    ))
""")


class LivenessSessionWriter:
    """Opening sessions, and taking them: a session is gone with the statement that reads it."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def put(self, app_pk: int, session_id: str, session: StoredSession, lifetime: timedelta) -> None:
        """Open a session; ids are the caller's to make unique."""
        expires = sa.func.now() + sa.bindparam("lifetime", lifetime, type_=sa.Interval)
        values = {"app_pk": app_pk, "session_id": session_id, "kind": session.kind, "code": session.code}
        self._execution.run(liveness_sessions.insert().values(**values, expires=expires))

    def take(self, app_pk: int, session_id: str) -> StoredSession | None:
        """Delete and return a session of this app that has not expired.

        Of several transactions that take the same one, in whatever processes, the row's lock lets one find it.
        """
        table = liveness_sessions.c
        mine = (table.app_pk == app_pk) & (table.session_id == session_id) & (table.expires > sa.func.now())
        statement = liveness_sessions.delete().where(mine).returning(table.kind, table.code)
        row = self._execution.run(statement).one_or_none()
        return None if row is None else StoredSession(row.kind, row.code)

    def purge_expired(self, limit: int) -> int:
        """Delete expired sessions, oldest first, at most ``limit`` of them; returns how many."""
        return self._execution.run(_PURGE, {"limit": limit}).rowcount
