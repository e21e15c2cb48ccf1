"""Everything that is stored about one user of an app."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from service.storage.execution import Execution
from service.storage.feedback import naming
from service.storage.models import further_embeddings
from service.storage.rows import stored_face
from service.storage.sealing import FaceSealing, Place, Sealing
from service.storage.tables import face_tokens, faces, feedback, groups, users
from service.values import Embedding, StoredFace


@dataclass(frozen=True, slots=True)
class HeldUser:
    """A user as enrolled in one group."""

    pk: int
    group_id: str
    scene: str | None
    user_info: str
    enrolled: datetime


@dataclass(frozen=True, slots=True, eq=False)
class HeldFace:
    """A face with all that is kept of it. ``expires`` is set for one that is only remembered under its token."""

    face: StoredFace
    model_id: str | None
    embedding: Embedding | None
    quality: Mapping[str, Any] | None
    enrolled: datetime | None
    expires: datetime | None
    damaged: bool
    """Whether some part of it is stored and cannot be opened."""
    by_others: Mapping[str, Embedding] = field(default_factory=dict)
    """What further models made of it, while the library moves from one to another."""


class DisclosureReader:
    """Reading what is held; faces one at a time, for pictures are large."""

    def __init__(self, execution: Execution, sealing: FaceSealing) -> None:
        self._execution = execution
        self._sealing = sealing

    def user(self, app_pk: int, user_id: str) -> list[HeldUser]:
        """The user in every group."""
        columns = (users.c.pk, groups.c.name, groups.c.scene, users.c.info, users.c.created)
        query = sa.select(*columns).join_from(users, groups, groups.c.pk == users.c.group_pk)
        query = query.where(users.c.app_pk == app_pk, users.c.name == user_id).order_by(users.c.pk)
        return [HeldUser(row.pk, row.name, row.scene, row.info, row.created) for row in self._execution.run(query)]

    def faces(self, user_pk: int) -> Iterator[HeldFace]:
        """The faces of the user in one group, in the order of enrolment."""
        query = sa.select(faces.c.pk).where(faces.c.user_pk == user_pk).order_by(faces.c.pk)
        for pk in self._execution.run(query).scalars().all():
            row = self._execution.run(sa.select(faces).where(faces.c.pk == pk)).one_or_none()
            if row is not None:
                place = Place(row.app_pk, user_pk, row.token)
                held = _held(self._sealing.enrolled, row, place)
                others = further_embeddings(self._execution, self._sealing.enrolled, pk, place)
                whole = {model_id: embedding for model_id, embedding in others.items() if embedding is not None}
                yield replace(held, by_others=whole, damaged=held.damaged or len(whole) < len(others))

    def remembered(self, app_pk: int, user_id: str) -> list[HeldFace]:
        """What is remembered under the tokens of the user's faces."""
        ours = sa.select(faces.c.token).join(users, users.c.pk == faces.c.user_pk)
        ours = ours.where(users.c.app_pk == app_pk, users.c.name == user_id)
        query = sa.select(face_tokens).where(face_tokens.c.app_pk == app_pk, face_tokens.c.token.in_(ours))
        rows = self._execution.run(query.order_by(face_tokens.c.token))
        return [_held(self._sealing.remembered, row, Place(app_pk, 0, row.token)) for row in rows]

    def feedback(self, app_pk: int, user_id: str) -> list[tuple[datetime, Mapping[str, Any]]]:
        """Feedback that has the user's id anywhere as a text of its own."""
        query = sa.select(feedback.c.created, feedback.c.content).where(feedback.c.app_pk == app_pk, naming(user_id))
        return [(row.created, row.content) for row in self._execution.run(query.order_by(feedback.c.pk))]


def _held(sealing: Sealing, row: sa.Row[Any], place: Place) -> HeldFace:
    """A row of either table; what cannot be opened is missing."""
    opened = sealing.face(row.embedding, row.portrait, place, row.model_id or "")
    return HeldFace(
        stored_face(row, opened.portrait),
        row.model_id,
        opened.embedding,
        getattr(row, "quality", None),
        getattr(row, "created", None),
        getattr(row, "expires", None),
        damaged=opened.damaged,
    )
