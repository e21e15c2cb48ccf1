"""Which model the library is in, and what several models made of the same faces.

A face has one embedding of its own, in ``faces``, made by the model that was in use when it was enrolled. While the
library moves to another model, further embeddings stand beside it in ``face_embeddings``. Everything that reads
embeddings asks for those of one model and takes them from either table. So the moment of the move is the change of one
row in ``library_models``.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from service.errors import ModelChanged
from service.storage.execution import Execution
from service.storage.recording import Recording
from service.storage.rows import stored_face
from service.storage.sealing import Place, Sealing
from service.storage.tables import apps, face_embeddings, faces, groups, identities, library_models, users
from service.values import Embedding, StoredFace

CHANNEL = "aipface_models"
"""NOTIFY channel: which models are in use has changed; no payload."""

PRESENCE = int.from_bytes(b"aipm", "big")
"""First key of the advisory locks by which servers tell that they live, and which models they have loaded."""

ONLY_SEALED = 2**31 - 1
"""Second key of the lock by which a server tells that it takes no plain faces; no key of a model is as large."""

_ACTIVE = sa.text("SELECT model_id FROM library_models WHERE role = 'active'")


@dataclass(frozen=True, slots=True)
class LibraryModel:
    """A pack of weights, and the id of its recognition model."""

    pack: str
    model_id: str


@dataclass(frozen=True, slots=True)
class LibraryModels:
    """``active``: what is searched; ``target``: what the library is moving to; ``previous``: what it can go back to.

    A library that no server and no import has been started on has none of them: see ``service.library_model``.
    """

    active: LibraryModel | None = None
    target: LibraryModel | None = None
    previous: LibraryModel | None = None


@dataclass(frozen=True, slots=True)
class Coverage:
    """How many faces a model has embedded, how many it can still embed, and how many have no crop to do it from."""

    embedded: int
    missing: int
    without_crop: int


@dataclass(frozen=True, slots=True, eq=False)
class Unembedded:
    """A face that a model has not embedded, with its crop."""

    pk: int
    app_pk: int
    face: StoredFace


@dataclass(frozen=True, slots=True)
class NeedsPicture:
    """A user with ``faces`` faces that another model cannot embed, since their crops were not kept."""

    app_id: str
    group_id: str
    user_id: str
    faces: int


def made_by(model_id: str) -> sa.ColumnElement[Any]:
    """The embedding of a row of ``faces`` by one model, wherever it stands; NULL where that model made none."""
    other = sa.select(face_embeddings.c.embedding).where(
        face_embeddings.c.face_pk == faces.c.pk, face_embeddings.c.model_id == model_id
    )
    return sa.case((faces.c.model_id == model_id, faces.c.embedding), else_=other.scalar_subquery())


def further_embeddings(
    execution: Execution, sealing: Sealing, face_pk: int, place: Place
) -> dict[str, Embedding | None]:
    """What stands beside a face's own embedding, by model; ``None`` for what cannot be opened."""
    query = sa.select(face_embeddings).where(face_embeddings.c.face_pk == face_pk)
    return {row.model_id: sealing.embedding(row.embedding, place, row.model_id) for row in execution.run(query)}


def _lacking(model_id: str, after_pk: int | None = None) -> sa.ColumnElement[bool]:
    """Faces that a model has not embedded; with ``after_pk`` those with higher numbers alone."""
    known = (face_embeddings.c.face_pk == faces.c.pk) & (face_embeddings.c.model_id == model_id)
    lacking = faces.c.model_id != model_id
    if after_pk is not None:
        lacking &= faces.c.pk > after_pk
        # Stated for both tables: PostgreSQL does not infer it, and would read all embeddings from the first one on.
        known &= face_embeddings.c.face_pk > after_pk
    return lacking & ~sa.exists().where(known)


class ModelReader:
    """Asking which models there are."""

    def __init__(self, execution: Execution, sealing: Sealing) -> None:
        self._execution = execution
        self._sealing = sealing

    def in_use(self) -> LibraryModels:
        rows = self._execution.run(sa.select(library_models))
        return LibraryModels(**{row.role: LibraryModel(row.pack, row.model_id) for row in rows})

    def active_id(self) -> str | None:
        """The id of the model that the library is in; None where nothing has said so yet."""
        return self._execution.run(_ACTIVE).scalar_one_or_none()

    def empty(self) -> bool:
        """Whether nobody is enrolled, in any app, nor entered into the register of identities with a picture."""
        known = sa.exists().select_from(faces), sa.exists().where(identities.c.embedding.is_not(None))
        return not self._execution.run(sa.select(sa.or_(*known))).scalar_one()

    def coverage(self, model_id: str) -> Coverage:
        """Over all apps."""
        cropped = faces.c.portrait.is_not(None)
        numbers = {"missing": sa.func.count().filter(cropped), "without": sa.func.count().filter(~cropped)}
        counts = sa.select(*(number.label(name) for name, number in numbers.items()))
        row = self._execution.run(counts.where(_lacking(model_id))).one()
        total = self._execution.run(sa.select(sa.func.count()).select_from(faces)).scalar_one()
        return Coverage(total - row.missing - row.without, row.missing, row.without)

    def unembedded(self, model_id: str, after_pk: int, limit: int, *, cropless: bool = False) -> list[Unembedded]:
        """The next faces, in the order of enrolment, that a model has not embedded.

        Faces without a crop are left out unless ``cropless``. A crop that cannot be opened counts as missing.
        """
        condition = _lacking(model_id, after_pk)
        if not cropless:
            condition &= faces.c.portrait.is_not(None)
        rows = self._execution.run(sa.select(faces).where(condition).order_by(faces.c.pk).limit(limit))
        return [Unembedded(row.pk, row.app_pk, stored_face(row, self._portrait(row))) for row in rows]

    def _portrait(self, row: sa.Row[Any]) -> bytes | None:
        return self._sealing.portrait(row.portrait, Place(row.app_pk, row.user_pk, row.token))

    def needing_pictures(self, model_id: str) -> list[NeedsPicture]:
        """Every user with faces that a model has not embedded and cannot embed, because they have no crop."""
        owner = sa.join(faces, users, users.c.pk == faces.c.user_pk).join(groups, groups.c.pk == users.c.group_pk)
        owner = owner.join(apps, apps.c.pk == faces.c.app_pk)
        names = (apps.c.app_id, groups.c.name.label("group_id"), users.c.name.label("user_id"))
        query = sa.select(*names, sa.func.count().label("faces")).select_from(owner)
        query = query.where(_lacking(model_id), faces.c.portrait.is_(None)).group_by(*names).order_by(*names)
        return [NeedsPicture(row.app_id, row.group_id, row.user_id, row.faces) for row in self._execution.run(query)]

    def register_needing_pictures(self, model_id: str) -> int:
        """How many people of the register of identities have a picture that only another model can embed or compare."""
        columns = identities.c
        condition = (columns.model_id != model_id) & columns.embedding.is_not(None) & columns.portrait.is_(None)
        return int(self._execution.run(sa.select(sa.func.count()).where(condition)).scalar_one())

    def servers(self, model_id: str) -> tuple[int, int]:
        """How many servers run on this database, and how many of them have loaded a model."""
        row = self._execution.run(_SERVERS, {"presence": PRESENCE, "model": presence_key(model_id)}).one()
        return int(row.running), int(row.prepared)

    def plain_refused(self) -> bool:
        """Whether a server runs that takes no plain faces for genuine."""
        row = self._execution.run(_SERVERS, {"presence": PRESENCE, "model": ONLY_SEALED}).one()
        return bool(row.prepared)


_SERVERS = sa.text("""
    SELECT count(DISTINCT pid) FILTER (WHERE objid::bigint = 0) AS running,
           count(DISTINCT pid) FILTER (WHERE objid::bigint = :model) AS prepared
    FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND objsubid = 2 AND classid::bigint = :presence
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")


def presence_key(model_id: str | None) -> int:
    """Second key of the advisory lock of a loaded model, a positive int4; 0 for the server itself."""
    if model_id is None:
        return 0
    return 1 + zlib.crc32(model_id.encode()) % (2**31 - 2)


class FaceEmbeddings:
    """Within a unit of work: embeddings of further models for an app's faces."""

    def __init__(self, execution: Execution, recording: Recording, sealing: Sealing) -> None:
        self._execution = execution
        self._recording = recording
        self._sealing = sealing

    def check(self, model_id: str) -> None:
        """Raise :class:`ModelChanged` when the library is in another model than the one that embedded new faces.

        The unit of work holds the lock of the app's log, and a move needs those of all apps. So the answer holds until
        the unit of work ends.
        """
        active = self._execution.run(_ACTIVE).scalar_one_or_none()
        if active not in (None, model_id):
            raise ModelChanged(active)

    def add(self, model_id: str, embeddings: Mapping[int, Embedding]) -> int:
        """Add what a model made of faces, by their numbers; returns how many of them are still there.

        Each goes into the change log as an addition: indexes of that model add the face, those of others have it
        already.
        """
        if not embeddings:
            return 0
        places = self._places(embeddings)
        made = {
            pk: self._sealing.seal_embedding(embedding, places[pk], model_id)
            for pk, embedding in embeddings.items()
            if pk in places
        }
        rows = self._execution.run(
            _ADD,
            {
                "model_id": model_id,
                "app_pk": self._recording.app_pk,
                "pks": list(made),
                "embeddings": list(made.values()),
            },
        ).all()
        for row in rows:
            self._recording.embedded(row.group_pk, row.user_pk, row.face_pk)
        return len(rows)

    def tell(self, face_pks: Collection[int]) -> None:
        """Write additions to the change log for faces that were sealed in place, as far as they still exist.

        Indexes that refused them while they were plain add them now; others have them already.
        """
        columns = (faces.c.pk, faces.c.group_pk, faces.c.user_pk)
        ours = _among(faces.c.pk, face_pks) & (faces.c.app_pk == self._recording.app_pk)
        for row in self._execution.run(sa.select(*columns).where(ours).order_by(faces.c.pk)):
            self._recording.sealed(row.group_pk, row.user_pk, row.pk)

    def copy(self, copies: Iterable[tuple[int, int]]) -> None:
        """Give copied faces, by (source, copy), what further models made of their sources.

        What cannot be opened is not copied.
        """
        targets = dict(copies)
        known = self._execution.run(sa.select(face_embeddings).where(_among(face_embeddings.c.face_pk, targets))).all()
        places = self._places({each for row in known for each in (row.face_pk, targets[row.face_pk])})
        copied = []
        for row in known:
            target = targets[row.face_pk]
            embedding = self._sealing.embedding(row.embedding, places[row.face_pk], row.model_id)
            if embedding is not None:
                column = self._sealing.seal_embedding(embedding, places[target], row.model_id)
                copied.append({"face_pk": target, "model_id": row.model_id, "app_pk": row.app_pk, "embedding": column})
        if copied:
            self._execution.run(face_embeddings.insert(), copied)

    def _places(self, face_pks: Collection[int]) -> dict[int, Place]:
        """Whose each of the app's faces is, as far as they are still there."""
        columns = (faces.c.pk, faces.c.app_pk, faces.c.user_pk, faces.c.token)
        ours = _among(faces.c.pk, face_pks) & (faces.c.app_pk == self._recording.app_pk)
        return {
            row.pk: Place(row.app_pk, row.user_pk, row.token)
            for row in self._execution.run(sa.select(*columns).where(ours))
        }


_ADD = sa.text("""
    WITH added AS (
        INSERT INTO face_embeddings (face_pk, model_id, app_pk, embedding)
        SELECT faces.pk, :model_id, faces.app_pk, made.embedding
        FROM unnest(CAST(:pks AS bigint[]), CAST(:embeddings AS bytea[])) AS made (pk, embedding)
        JOIN faces ON faces.pk = made.pk AND faces.app_pk = :app_pk AND faces.model_id <> :model_id
        ON CONFLICT DO NOTHING
        RETURNING face_pk
    )
    SELECT added.face_pk, faces.group_pk, faces.user_pk FROM added JOIN faces ON faces.pk = added.face_pk ORDER BY 1
""")


def _among(column: sa.Column[int], numbers: Collection[int]) -> sa.ColumnElement[bool]:
    """As one array, however many there are."""
    return column == sa.any_(sa.literal(list(numbers), sa.ARRAY(sa.BigInteger)))
