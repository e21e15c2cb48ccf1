"""Files that callers sent and may name again for a while."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from service.storage.execution import Execution
from service.storage.tables import uploads


@dataclass(frozen=True, slots=True)
class SealedUpload:
    """One file: its id, what it is, its content as it was handed in, sealed."""

    upload_id: str
    kind: str
    content: bytes


class UploadReader:
    """Finding uploads."""

    def __init__(self, execution: Execution) -> None:
        self._execution = execution

    def content(self, app_pk: int, kind: str, upload_id: str) -> bytes | None:
        """The sealed content unless it is of another app, of another kind, or has expired."""
        query = sa.select(uploads.c.content).where(
            uploads.c.app_pk == app_pk,
            uploads.c.upload_id == upload_id,
            uploads.c.kind == kind,
            uploads.c.expires > sa.func.now(),
        )
        found = self._execution.run(query).scalar_one_or_none()
        return None if found is None else bytes(found)


# The newest stay as long as they fit together. Rows that another request is deleting are left to it.
_TRIM = sa.text("""
    DELETE FROM uploads WHERE app_pk = :app_pk AND upload_id IN (
        SELECT upload_id FROM uploads WHERE app_pk = :app_pk AND upload_id IN (
            SELECT upload_id FROM (
                SELECT upload_id, sum(size) OVER (ORDER BY expires DESC, upload_id) AS total
                FROM uploads WHERE app_pk = :app_pk
            ) AS summed WHERE total > :most_bytes
        ) FOR UPDATE SKIP LOCKED
    )
""")

_PURGE = sa.text("""
    DELETE FROM uploads WHERE (app_pk, upload_id) IN (
        SELECT app_pk, upload_id FROM uploads WHERE expires <= now() ORDER BY expires LIMIT :limit
        FOR UPDATE SKIP LOCKED
    )
""")


class UploadWriter(UploadReader):
    """Keeping uploads, and forgetting them."""

    def put(self, app_pk: int, upload: SealedUpload, lifetime: timedelta, most_bytes: int) -> None:
        """Store a file, or store it for longer; of the app's files only the last ``most_bytes`` together stay."""
        expires = sa.func.now() + sa.bindparam("lifetime", lifetime, type_=sa.Interval)
        statement = insert(uploads).values(
            app_pk=app_pk,
            upload_id=upload.upload_id,
            kind=upload.kind,
            content=upload.content,
            size=len(upload.content),
            expires=expires,
        )
        fresh = {name: statement.excluded[name] for name in ("content", "size", "expires")}
        self._execution.run(statement.on_conflict_do_update(index_elements=["app_pk", "upload_id"], set_=fresh))
        self._execution.run(_TRIM, {"app_pk": app_pk, "most_bytes": most_bytes})

    def purge_expired(self, limit: int) -> int:
        """Delete expired files, oldest first, at most ``limit`` of them; returns how many."""
        return self._execution.run(_PURGE, {"limit": limit}).rowcount
