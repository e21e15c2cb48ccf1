"""Moving the library from one model to another: the beginning, the switch, and tidying up afterwards."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import sqlalchemy as sa

from service.storage import guard
from service.storage.execution import Execution
from service.storage.faces import FaceReader
from service.storage.models import CHANNEL, FaceEmbeddings, LibraryModel, ModelReader
from service.storage.recording import Recording
from service.storage.sealing import Sealing
from service.storage.tables import change_heads, face_embeddings, faces, library_models
from service.values import Embedding

_TIDIED_AT_ONCE = 500
"""Embeddings of one step, during which the writers of their app wait."""

_NOTIFY = sa.select(sa.func.pg_notify(CHANNEL, ""))

_SET = sa.text("""
    INSERT INTO library_models (role, pack, model_id) VALUES (:role, :pack, :model_id)
    ON CONFLICT (role) DO UPDATE SET pack = excluded.pack, model_id = excluded.model_id, since = now()
    WHERE library_models.model_id <> excluded.model_id OR library_models.pack <> excluded.pack
""")

_SET_IF_UNSET = sa.text("""
    INSERT INTO library_models (role, pack, model_id) VALUES (:role, :pack, :model_id) ON CONFLICT DO NOTHING
""")

_TAKE_IN = sa.text("""
    WITH chosen AS (
        SELECT face_pk, embedding FROM face_embeddings WHERE app_pk = :app_pk AND model_id = :model_id LIMIT :limit
    ), moved AS (
        UPDATE faces SET model_id = :model_id, embedding = chosen.embedding FROM chosen WHERE faces.pk = chosen.face_pk
    )
    DELETE FROM face_embeddings USING chosen
    WHERE face_embeddings.face_pk = chosen.face_pk AND face_embeddings.model_id = :model_id
""")
"""An embedding moves in one statement: whoever reads finds it in one place or in the other.

A sealed one moves as it is, for it is bound to its face and model and not to the table.
"""

_DROP_OTHERS = sa.text("""
    DELETE FROM face_embeddings WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM face_embeddings WHERE app_pk = :app_pk AND model_id <> :model_id LIMIT :limit
    ))
""")


class ModelWriter(ModelReader):
    """Within administration: what the library is moving to, and the end of it."""

    def begin(self, active: LibraryModel, target: LibraryModel) -> None:
        """Record the target, so that servers load it; and ``active``, unless one is recorded. Twice is harmless."""
        self._execution.run(_SET_IF_UNSET, _row("active", active))
        self._execution.run(_SET, _row("target", target))
        self._execution.run(_NOTIFY)

    def settle(self, model: LibraryModel) -> LibraryModel:
        """The model that the library is in, which is this one where nothing has been said yet."""
        if self._execution.run(_SET_IF_UNSET, _row("active", model)).rowcount:
            self._execution.run(_NOTIFY)
        return self.in_use().active or model

    def counts(self) -> dict[str, int]:
        """How many faces of all apps each model embedded, however long it takes to count them."""
        self._execution.run(sa.text("SET LOCAL statement_timeout = 0"))
        return FaceReader(self._execution, self._sealing).count_by_model()

    def end(self) -> None:
        """There is neither something to move to nor to go back to any more."""
        self._execution.run(library_models.delete().where(library_models.c.role != "active"))
        self._execution.run(_NOTIFY)

    def tidy(self, app_pk: int, model_id: str) -> int:
        """Move some embeddings of the active model into the app's rows of ``faces``; after the last drop the others.

        Returns how many were moved or dropped, 0 at the end. A face that the model has not embedded keeps its
        embedding. Blocks the app's writers: copying a face reads the two tables one after the other.
        """
        head = sa.select(change_heads.c.app_pk).where(change_heads.c.app_pk == app_pk)
        self._execution.run(head.with_for_update(key_share=True))
        step = {"app_pk": app_pk, "model_id": model_id, "limit": _TIDIED_AT_ONCE}
        return self._execution.run(_TAKE_IN, step).rowcount or self._execution.run(_DROP_OTHERS, step).rowcount

    def apps_with_further(self) -> list[int]:
        """The apps that have embeddings beside those in ``faces``, by their ``pk``."""
        query = sa.select(face_embeddings.c.app_pk).distinct().order_by(face_embeddings.c.app_pk)
        return list(self._execution.run(query).scalars())

    def embeddings_beside(self) -> int:
        """How many embeddings stand beside those in ``faces``."""
        return int(self._execution.run(sa.select(sa.func.count()).select_from(face_embeddings)).scalar_one())


class Standstill:
    """One transaction during which nobody enrols, copies or deletes anything, in any app; searches go on."""

    def __init__(self, execution: Execution, sealing: Sealing) -> None:
        self._execution = execution
        self._sealing = sealing
        execution.run(sa.text("SET LOCAL statement_timeout = 0"))
        # Apps that are being made right now are there afterwards, and none is made until the end.
        execution.run(sa.text("LOCK TABLE apps IN SHARE MODE"))
        execution.run(sa.select(change_heads.c.app_pk).order_by(change_heads.c.app_pk).with_for_update(key_share=True))
        self.models = ModelReader(execution, sealing)

    def add(self, model_id: str, embeddings: Mapping[int, Embedding]) -> None:
        """Add what a model made of faces of any apps, by their numbers."""
        owners = sa.select(faces.c.pk, faces.c.app_pk).where(faces.c.pk.in_(list(embeddings)))
        by_app: dict[int, dict[int, Embedding]] = defaultdict(dict)
        for row in self._execution.run(owners):
            by_app[row.app_pk][row.pk] = embeddings[row.pk]
        for app_pk, own in by_app.items():
            recording = Recording(self._execution, app_pk)
            FaceEmbeddings(self._execution, recording, self._sealing).add(model_id, own)
            recording.write()
            guard.all_apps_again(self._execution.run)

    def settle(self, model: LibraryModel) -> LibraryModel:
        """Make this the model of a library that has no faces, nor has the register; returns the library's model.

        Nobody can enrol by another model in between: writers wait for this transaction and then read its result.
        """
        active = self.models.in_use().active
        if active is not None and (active.model_id == model.model_id or not self.models.empty()):
            return active
        self._execution.run(_SET, _row("active", model))
        self._execution.run(library_models.delete().where(library_models.c.role != "active"))
        self._execution.run(_NOTIFY)
        return model

    def activate(self, model: LibraryModel) -> None:
        """With the end of the transaction the library is in this model; what it was in can be gone back to."""
        active = self.models.in_use().active
        if active is not None and active != model:
            self._execution.run(_SET, _row("previous", active))
        self._execution.run(_SET, _row("active", model))
        self._execution.run(library_models.delete().where(library_models.c.role == "target"))
        self._execution.run(_NOTIFY)


def _row(role: str, model: LibraryModel) -> dict[str, str]:
    return {"role": role, "pack": model.pack, "model_id": model.model_id}
