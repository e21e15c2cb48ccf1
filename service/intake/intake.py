"""From what a caller sent to faces with tokens: fetch, decode, detect, remember."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Protocol

import numpy as np

from service.access.keys import Keyring
from service.errors import FaceNotFound, FaceTokenNotFound
from service.images.decode import decode_picture
from service.images.inline import decode_base64
from service.intake import seen
from service.intake.seen import FaceEngine, SeenFace
from service.storage.engine import Database
from service.storage.rows import RememberedFace
from service.values import App, Face, ImageKind, ImageSource


class Admission(Protocol):
    """Bounded admission in front of the processor-heavy part; see ``service.inference.admission``."""

    def permit(self) -> AbstractContextManager[object]:
        """Wait for a turn, or raise ``Overloaded``."""
        ...


class Intake:
    """Turns an ``ImageSource`` into ``SeenFace`` values and remembers them under their tokens.

    Decoding, detection and embedding run inside one permit, so that at most as many pictures are worked on as there
    are processors; downloading and the database stay outside it.
    """

    def __init__(
        self,
        *,
        engine: FaceEngine,
        admission: Admission,
        database: Database,
        keyring: Keyring,
        download: Callable[[str], bytes],
        max_picture_bytes: int,
        max_picture_pixels: int,
        token_lifetime: timedelta,
    ) -> None:
        self._engine = engine
        self._admission = admission
        self._database = database
        self._keyring = keyring
        self._download = download
        self._max_picture_bytes = max_picture_bytes
        self._max_picture_pixels = max_picture_pixels
        self._token_lifetime = token_lifetime

    @property
    def model_id(self) -> str:
        """Names the weights that embeddings come from."""
        return self._engine.model_id

    def faces(self, app: App, source: ImageSource, *, limit: int = 1, embed: bool = False) -> list[SeenFace]:
        """Find at most ``limit`` faces, largest first; with ``embed``, embed them in the same turn.

        Raises ``FaceNotFound`` for a picture without a face, ``FaceTokenNotFound`` for an unknown token, and the
        picture and parameter errors of the image room.
        """
        if source.kind is ImageKind.FACE_TOKEN:
            faces = [self._recall(app, source.text)]
            if embed and faces[0].known_embedding is None:
                with self._admission.permit():
                    _ = faces[0].embedding
            return faces
        data = self._bytes(source)
        with self._admission.permit():
            image = decode_picture(data, self._max_picture_pixels)
            found = self._engine.detect(image, limit)
            if not found:
                raise FaceNotFound
            faces = [seen.found(self._engine, image, face, self._token(app, data, face)) for face in found]
            for face in faces:
                if embed:
                    _ = face.embedding
                _ = face.stored
        return faces

    def remember(self, app: App, faces: Sequence[SeenFace]) -> None:
        """Keep the faces for a while, so that their tokens work as pictures from this moment, in every process."""
        with self._database.admin() as work:
            work.tokens.put(
                app.pk,
                [RememberedFace(face.stored, face.known_embedding) for face in faces],
                self.model_id,
                self._token_lifetime,
            )

    def _bytes(self, source: ImageSource) -> bytes:
        if source.kind is ImageKind.URL:
            return self._download(source.text)
        return decode_base64(source.text, self._max_picture_bytes)

    def _token(self, app: App, data: bytes, face: Face) -> str:
        """Same app, same picture, same face: same token. The box comes from one fixed pyramid level per face."""
        box = np.rint(np.asarray(face.box)).astype(int)
        return self._keyring.face_token(app.app_id, hashlib.sha256(data).digest(), tuple(int(v) for v in box))

    def _recall(self, app: App, token: str) -> SeenFace:
        with self._database.read() as reader:
            known = reader.tokens.get(app.pk, token, self.model_id) or reader.faces.stored_by_token(
                app.pk, token, self.model_id
            )
        if known is None:
            raise FaceTokenNotFound(token)
        face = seen.remembered(self._engine, known.face, known.embedding)
        if known.embedding is not None:
            face.embedding = known.embedding
        return face
