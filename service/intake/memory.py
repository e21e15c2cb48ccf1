"""Remembers faces under their tokens. A token works, in every process, from the moment that an answer contains it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import timedelta

import tenacity

from service.inference.admission import Admission
from service.intake.seen import SeenFace
from service.storage.engine import Database
from service.storage.rows import RememberedFace
from service.values import App

PATIENCE_SECONDS = 0.3
"""How long an unknown token is looked for again, in case another process is just writing it."""

MOST_PATIENT = 4
"""Requests that may look again at the same time. Further ones are answered at once, lest they hold all threads."""

_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1


class FaceMemory:
    """Remembers the faces of answers for ``lifetime``. Thread-safe.

    Cutting a face's portrait and writing its row take a third of the time of a ``detect``, and the answer does not
    depend on either. So an idle server does both behind the answer (``service.storage.behind``). A busy one does them
    before it: otherwise the next request would have to wait for them.
    """

    def __init__(self, database: Database, admission: Admission, lifetime: timedelta) -> None:
        self._database = database
        self._admission = admission
        self._lifetime = lifetime
        self._patience = threading.BoundedSemaphore(MOST_PATIENT)

    def remember(self, app: App, faces: Sequence[SeenFace], model_id: str) -> None:
        """Keep the faces under their tokens, with the embeddings that the model has computed of them so far.

        Raises ``DatabaseUnavailable`` and ``StorageFull``, unless it is done behind the answer (see ``Behind``).
        """
        told = [(face, face.known_embedding) for face in faces]

        def write() -> None:
            known = [RememberedFace(face.stored, embedding, face.recalled) for face, embedding in told]
            with self._database.remembering(app.pk) as tokens:
                tokens.put(app.pk, known, model_id, self._lifetime)

        if self._admission.undisturbed:
            self._database.behind.do(app.pk, write)
        else:
            write()

    def recall(self, app: App, token: str, model_id: str) -> RememberedFace | None:
        """A face of the app by its token: remembered by any process, or enrolled; ``None`` for an unknown token.

        Its embedding is there only where ``model_id`` computed it.
        """
        self._database.behind.settle(app.pk)
        known = self._look(app.pk, token, model_id)
        if known is not None or not self._others_run(model_id) or not self._patience.acquire(blocking=False):
            return known
        try:
            looking = tenacity.Retrying(
                retry=tenacity.retry_if_result(lambda found: found is None),
                stop=tenacity.stop_after_delay(PATIENCE_SECONDS),
                wait=tenacity.wait_exponential(multiplier=_FIRST_PAUSE, max=_LONGEST_PAUSE),
                retry_error_callback=lambda _: None,
            )
            return looking(self._look, app.pk, token, model_id)
        finally:
            self._patience.release()

    def _look(self, app_pk: int, token: str, model_id: str) -> RememberedFace | None:
        with self._database.read(app_pk) as reader:
            return reader.tokens.get(app_pk, token, model_id) or reader.faces.stored_by_token(app_pk, token, model_id)

    def _others_run(self, model_id: str) -> bool:
        """Whether other servers use the database, one of which may have answered with the token a moment ago."""
        with self._database.read() as reader:
            running, _ = reader.models.servers(model_id)
        return running > 1
