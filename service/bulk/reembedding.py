"""Moving the library to another model: every face is embedded anew from its crop, then all servers switch at once.

Servers go on searching and enrolling meanwhile, with the old model. The faces that they enrol are embedded anew in
further passes until few are missing; the last few are embedded while all writers wait.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from service.errors import FaceTokenNotFound
from service.intake import seen
from service.intake.seen import FaceEngine
from service.storage.engine import Database
from service.storage.models import Coverage, LibraryModel, Unembedded
from service.values import Embedding, StoredFace

BATCH_FACES = 128
"""Faces of one batch. It bounds what an interruption loses, and how long writers of an app have to wait."""

LAST_FACES = 16
"""Faces that may be embedded while every writer waits: less than a second, on a slow machine."""

FACES_IN_CROP = 5
"""Faces among which that of the crop is looked for: others may stand beside it."""

Embed = Callable[[StoredFace], Embedding]


class Reembedding:
    """Embeds by one model what the library has of others, all apps together. May be interrupted and run again."""

    def __init__(self, database: Database, target: LibraryModel, embed: Embed, *, threads: int) -> None:
        """``embed`` raises ``FaceTokenNotFound`` for a crop that is damaged."""
        self._database = database
        self._target = target
        self._embed = embed
        self._threads = threads
        self.unreadable: set[int] = set()
        """Numbers of faces whose crops are damaged: they stay behind, as those without one."""

    def coverage(self) -> Coverage:
        """What there is to do. Faces whose crops turned out to be damaged count as without one."""
        with self._database.read() as reader:
            found = reader.models.coverage(self._target.model_id)
        damaged = min(len(self.unreadable), found.missing)
        return Coverage(found.embedded, found.missing - damaged, found.without_crop + damaged)

    def catch_up(self) -> Generator[int, None, None]:
        """Embed what is missing; gives the number of faces of each batch that was committed, until none is left.

        Raises ``ServiceUnavailable``; what was committed by then stays.
        """
        with ThreadPoolExecutor(self._threads, thread_name_prefix="reembed") as pool:
            while True:
                done, last = 0, 0
                while batch := self._batch(last):
                    last = batch[-1].pk
                    made = self._embedded(batch, pool)
                    self._write(batch, made)
                    done += len(made)
                    yield len(made)
                if not done:
                    return

    def switch(self, *, leave_behind: bool = False) -> bool:
        """Switch the library to the target model; returns whether it was switched.

        It is not switched where more faces are missing than may be embedded while all writers wait, nor, without
        ``leave_behind``, where a face cannot be embedded. Then catch up, look at the coverage and try again.
        """
        with self._database.standstill() as still, ThreadPoolExecutor(1) as pool:
            most = LAST_FACES + len(self.unreadable)
            missing = still.models.unembedded(self._target.model_id, 0, most + 1, cropless=not leave_behind)
            if len(missing) > most:
                return False
            made = self._embedded([face for face in missing if face.face.portrait is not None], pool)
            if len(made) < len(missing) and not leave_behind:
                return False
            still.add(self._target.model_id, made)
            still.activate(self._target)
        return True

    def _batch(self, after_pk: int) -> list[Unembedded]:
        with self._database.read() as reader:
            return reader.models.unembedded(self._target.model_id, after_pk, BATCH_FACES)

    def _embedded(self, faces: Sequence[Unembedded], pool: ThreadPoolExecutor) -> dict[int, Embedding]:
        """Embeddings by the faces' numbers."""
        made = pool.map(self._made, [face for face in faces if face.pk not in self.unreadable])
        return {pk: embedding for pk, embedding in made if embedding is not None}

    def _made(self, face: Unembedded) -> tuple[int, Embedding | None]:
        try:
            return face.pk, self._embed(face.face)
        except FaceTokenNotFound:
            self.unreadable.add(face.pk)
            return face.pk, None

    def _write(self, faces: Sequence[Unembedded], made: dict[int, Embedding]) -> None:
        by_app: dict[int, dict[int, Embedding]] = defaultdict(dict)
        for face in faces:
            if face.pk in made:
                by_app[face.app_pk][face.pk] = made[face.pk]
        for app_pk, own in by_app.items():
            with self._database.write(app_pk) as work:
                work.embeddings.add(self._target.model_id, own)


def tidied(database: Database, model_id: str) -> Iterator[int]:
    """End a move: embeddings of this model, the active one, take the faces' places and all others go, app by app.

    Gives the number of each step. A face that the model has not embedded keeps what it has. Raises
    ``ServiceUnavailable``; running it again goes on.
    """
    with database.admin() as work:
        work.models.end()
        app_pks = work.models.apps_with_further()
    for app_pk in app_pks:
        count = 1
        while count:
            with database.admin() as work:
                count = work.models.tidy(app_pk, model_id)
            yield count


def from_known_points(engine: FaceEngine) -> Embed:
    """Embed crops by the points that were stored: for an engine that would find the same."""
    return lambda stored: seen.remembered(engine, stored, None).embedding


def from_new_points(engine: FaceEngine) -> Embed:
    """Embed crops by the points that the engine finds in them itself, since its embedder was made for such.

    Where it finds no face in the crop, the stored points serve.
    """

    def embed(stored: StoredFace) -> Embedding:
        if stored.portrait is None:
            raise FaceTokenNotFound(stored.token)
        crop = seen.decode_jpeg(stored.portrait)
        x, y, width, height = stored.box
        middle = np.array([x + width / 2, y + height / 2])
        found = [
            (float(np.hypot(*(np.array(face.box[:2]) + np.array(face.box[2:]) / 2 - middle))), face)
            for face in engine.detect(crop, FACES_IN_CROP)
        ]
        near = [(distance, face) for distance, face in found if distance < min(width, height) / 2]
        if not near:
            return seen.remembered(engine, stored, None).embedding
        face = min(near, key=lambda pair: pair[0])[1]
        embedding: Embedding = engine.embed([engine.align(crop, face.points)])[0]
        return embedding

    return embed
