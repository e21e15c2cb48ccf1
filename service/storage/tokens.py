"""Faces remembered for a while under their token, so that callers need not send the picture again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson
import sqlalchemy as sa
from psycopg.types.json import Jsonb

from service.storage.execution import Execution
from service.storage.rows import RememberedFace, face_columns, stored_face
from service.storage.sealing import Place, Sealing
from service.storage.tables import face_tokens

GRACE = timedelta(minutes=10)
"""How long a face's token still works after the face was deleted from the library. Some scripts detect a face, delete
the user, and enrol the user anew by the token. No longer, since what is kept under it belongs to a person who was
deleted."""

# In the order in which they are written: who deletes and who sees the same faces must not wait in a circle either.
ENDING_SOON = f"""
    known AS (
        SELECT token FROM face_tokens WHERE app_pk = :app_pk AND token IN (SELECT token FROM gone)
        ORDER BY token COLLATE "C" FOR UPDATE
    ), ending AS (
        UPDATE face_tokens SET expires = least(expires, now() + interval '{GRACE.total_seconds()} seconds')
        WHERE app_pk = :app_pk AND token IN (SELECT token FROM known)
    )
"""  # noqa: S608 (constants)
"""Parts of a ``WITH`` clause. They follow a part ``gone`` with the tokens of deleted faces, and let what is remembered
under these tokens end within ``GRACE``. The token may have been sent to a client long ago or just now, since the same
picture always gives the same token.
"""


class TokenReader:
    """Finding remembered faces."""

    def __init__(self, execution: Execution, sealing: Sealing) -> None:
        self._execution = execution
        self._sealing = sealing

    def get(self, app_pk: int, token: str, model_id: str) -> RememberedFace | None:
        """The face unless it has expired or cannot be opened; its embedding only when ``model_id`` made it."""
        usable = sa.case((face_tokens.c.model_id == model_id, face_tokens.c.embedding)).label("usable")
        query = sa.select(face_tokens, usable).where(
            face_tokens.c.app_pk == app_pk, face_tokens.c.token == token, face_tokens.c.expires > sa.func.now()
        )
        row = self._execution.run(query).one_or_none()
        if row is None:
            return None
        opened = self._sealing.face(row.usable, row.portrait, Place(app_pk, 0, token), model_id)
        return None if opened.damaged else RememberedFace(stored_face(row, opened.portrait), opened.embedding)

    def size(self) -> tuple[int, int]:
        """Rows, as PostgreSQL's statistics estimate them, and bytes on disk: what counting would not be worth."""
        row = self._execution.run(_SIZE).one()
        return int(row.rows), int(row.bytes)


_SIZE = sa.text("""
    SELECT COALESCE(pg_stat_get_live_tuples('face_tokens'::regclass), 0) AS rows,
           pg_total_relation_size('face_tokens'::regclass) AS bytes
""")

_PURGE = sa.text("""
    DELETE FROM face_tokens WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM face_tokens WHERE expires <= now() ORDER BY expires LIMIT :limit FOR UPDATE SKIP LOCKED
    ))
""")


# Nobody who has but the token keeps a face of somebody who was deleted.
_UPSERT = f"""
    INSERT INTO face_tokens AS known (
        app_pk, token, location, angles, confidence, points, portrait, model_id, embedding, expires
    )
    SELECT app_pk, %(token)s, %(location)s, %(angles)s, %(confidence)s, %(points)s, %(portrait)s,
        %(model_id)s, %(embedding)s, now() + %(lifetime)s
    FROM change_heads WHERE app_pk = %(app_pk)s AND (
        NOT %(recalled)s
        OR EXISTS (SELECT FROM face_tokens AS told WHERE told.app_pk = %(app_pk)s AND told.token = %(token)s)
        OR EXISTS (SELECT FROM faces WHERE faces.app_pk = %(app_pk)s AND faces.token = %(token)s)
    )
    ON CONFLICT (app_pk, token) DO UPDATE SET
        location = excluded.location, angles = excluded.angles, confidence = excluded.confidence,
        points = excluded.points, portrait = excluded.portrait,
        expires = CASE
            WHEN %(recalled)s AND known.expires <= now() + interval '{GRACE.total_seconds()} seconds' THEN known.expires
            ELSE excluded.expires
        END,
        model_id = coalesce(excluded.model_id, known.model_id),
        embedding = coalesce(excluded.embedding, known.embedding)
"""  # noqa: S608 (constants)


class TokenWriter(TokenReader):
    """Remembering and forgetting faces."""

    def put(self, app_pk: int, faces: Sequence[RememberedFace], model_id: str, lifetime: timedelta) -> None:
        """Remember faces, or extend the time of faces that are remembered. A stored embedding stays if none is given.

        A face that was named by its token (``recalled``) gets no more time in its last minutes (``GRACE``), and is not
        remembered again if it was deleted or has expired since.

        Nothing is remembered for an app that is gone. A row written at the very moment of an app's deletion stays until
        it expires, but nobody can ask for it.
        """
        rows: dict[str, dict[str, Any]] = {}
        for known in faces:
            place = Place(app_pk, 0, known.face.token)
            embedding = known.embedding
            sealed = None if embedding is None else self._sealing.seal_embedding(embedding, place, model_id)
            columns = face_columns(known.face, self._sealing.seal_portrait(known.face.portrait, place))
            rows[known.face.token] = {
                "app_pk": app_pk,
                **columns,
                "location": Jsonb(columns["location"], orjson.dumps),
                "angles": Jsonb(columns["angles"], orjson.dumps),
                "model_id": None if sealed is None else model_id,
                "embedding": sealed,
                "lifetime": lifetime,
                "recalled": known.recalled,
            }
        # In one order for everybody: two requests that see the same faces must not wait for each other in a circle.
        if rows:
            self._execution.direct(_UPSERT, *(rows[token] for token in sorted(rows)))

    def remove(self, app_pk: int, tokens: Sequence[str]) -> int:
        """Forget faces; returns how many were known."""
        condition = (face_tokens.c.app_pk == app_pk) & face_tokens.c.token.in_(tokens)
        return self._execution.run(face_tokens.delete().where(condition)).rowcount

    def purge_expired(self, limit: int) -> int:
        """Delete expired faces, oldest first, at most ``limit`` of them; returns how many."""
        return self._execution.run(_PURGE, {"limit": limit}).rowcount
