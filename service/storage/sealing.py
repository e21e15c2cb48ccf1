"""Embeddings and crops of faces as columns hold them: in plain, or sealed under a key that the database does not have.

A sealed value is the byte 1, the id of its key (4 bytes), a nonce (12) and the ciphertext with its tag (16 more). What
is plain is told from it without a flag: a plain embedding has a multiple of four bytes and a sealed one never has, and
a plain crop is a JPEG, which begins with 0xFF. Both kinds may lie side by side, so that sealing can be turned on and
off while a library is in use. A face's embedding and crop are written together and of one kind, but neither tells of
the other for ever: what finishes a move to another model replaces the embedding alone.

Each value is bound to what it is and whose: one that was moved to another face, user or app does not open.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from service.storage.rows import FLOAT, embedding_bytes
from service.values import Embedding, Embeddings

logger = logging.getLogger(__name__)

FORMAT = b"\x01"
KEY_ID_BYTES = 4
OVERHEAD = len(FORMAT) + KEY_ID_BYTES + 12 + 16
"""Bytes that sealing adds: one more than a multiple of four."""

UNIT_TOLERANCE = 0.01
"""How far the squared length of an embedding may be from 1. Bytes that are no embedding have any length."""


class Mode(enum.Enum):
    """What is done with faces that are written, and with plain ones that are found."""

    OFF = "off"
    """Written plain; both kinds are read."""
    ON = "on"
    """Written sealed; both kinds are read."""
    ONLY = "only"
    """Written sealed; a plain one counts as forged."""


class Cipher(Protocol):
    """Authenticated encryption; ``service.access.keys.Sealer`` is one."""

    @property
    def key_ids(self) -> tuple[bytes, ...]:
        """What values begin with, the current key's first; ``KEY_ID_BYTES`` each."""

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Encrypt, bound to ``context``."""

    def opened(self, sealed: bytes, context: bytes) -> bytes | None:
        """What was sealed; ``None`` where it was not, or not so."""


@dataclass(frozen=True, slots=True)
class Place:
    """Whose face a value belongs to. ``user_pk`` is 0 for a face that is only remembered under its token."""

    app_pk: int
    user_pk: int
    token: str

    def of_embedding(self, model_id: str) -> bytes:
        """What an embedding is bound to. No part can hold a zero byte: PostgreSQL's texts have none."""
        return embedding_context(self.app_pk, self.user_pk, model_id.encode(), self.token.encode())

    def of_portrait(self) -> bytes:
        """What a crop is bound to."""
        return b"face portrait\0%d\0%d\0%b" % (self.app_pk, self.user_pk, self.token.encode())


def embedding_context(app_pk: int, user_pk: int, model_id: bytes, token: bytes) -> bytes:
    """As ``Place.of_embedding``, for a face out of very many."""
    return b"face embedding\0%d\0%d\0%b\0%b" % (app_pk, user_pk, model_id, token)


def of_unit_length(embeddings: Embeddings) -> NDArray[np.bool_]:
    """Which rows of ``(n, dimension)`` have unit length, as embeddings have; rows with NaN or infinity have not.

    A longer vector would match half of all strangers, and a single NaN would spoil the codes of a whole segment.
    """
    lengths = np.einsum("ij,ij->i", embeddings, embeddings)
    return np.asarray(np.abs(lengths - 1.0) < UNIT_TOLERANCE)


def is_sealed_embedding(column: bytes) -> bool:
    return len(column) % FLOAT.itemsize != 0


def is_sealed_portrait(column: bytes) -> bool:
    return column[:1] == FORMAT


class OpenedFace(NamedTuple):
    """What two columns hold of a face, where it could be opened."""

    embedding: Embedding | None
    portrait: bytes | None
    damaged: bool
    """Whether something is there and could not be opened."""


class Sealing:
    """Seals and opens what one table holds of faces.

    A value that cannot be opened (altered, moved, or sealed under a key that is not here) is logged with the numbers of
    its app and user and counts as missing: it matches nobody, and no request fails because of it.
    """

    def __init__(self, cipher: Cipher | None = None, mode: Mode = Mode.OFF) -> None:
        """Without a ``cipher`` only plain values can be read and written."""
        if cipher is None and mode is not Mode.OFF:
            raise ValueError("sealing needs a key")
        self._cipher = cipher
        self.mode = mode

    @property
    def seals(self) -> bool:
        """Whether what is written is sealed."""
        return self.mode is not Mode.OFF

    @property
    def key_ids(self) -> tuple[bytes, ...]:
        """The keys at hand, the one that seals first."""
        return () if self._cipher is None else self._cipher.key_ids

    def seal_embedding(self, embedding: Embedding, place: Place, model_id: str) -> bytes:
        """``(dimension,)`` as its column holds it."""
        return self._sealed(embedding_bytes(embedding), place.of_embedding(model_id))

    def seal_portrait(self, portrait: bytes | None, place: Place) -> bytes | None:
        """A JPEG as its column holds it."""
        return None if portrait is None else self._sealed(portrait, place.of_portrait())

    def embedding(self, column: bytes | None, place: Place, model_id: str) -> Embedding | None:
        """``(dimension,)`` float32; ``None`` for NULL and for what cannot be opened."""
        if column is None:
            return None
        plain = self._opened(bytes(column), place.of_embedding(model_id), sealed=is_sealed_embedding(column))
        if plain is None or is_sealed_embedding(plain):
            self._tell("embedding", place, sealed=is_sealed_embedding(column))
            return None
        embedding = np.frombuffer(plain, dtype=FLOAT).astype(np.float32, copy=False)
        if not of_unit_length(embedding[np.newaxis])[0]:  # what was cut off may look plain
            self._tell("embedding", place)
            return None
        return embedding

    def portrait(self, column: bytes | None, place: Place) -> bytes | None:
        """A JPEG; ``None`` for NULL and for what cannot be opened."""
        if column is None:
            return None
        plain = self._opened(bytes(column), place.of_portrait(), sealed=is_sealed_portrait(column))
        if plain is None:
            self._tell("crop", place, sealed=is_sealed_portrait(column))
        return plain

    def face(self, embedding: bytes | None, portrait: bytes | None, place: Place, model_id: str) -> OpenedFace:
        """Both columns of a row, opened as ``embedding`` and ``portrait`` do."""
        made, crop = self.embedding(embedding, place, model_id), self.portrait(portrait, place)
        damaged = (made is None) != (embedding is None) or (crop is None) != (portrait is None)
        return OpenedFace(made, crop, damaged)

    def embeddings(self, columns: Sequence[bytes], contexts: Iterable[bytes], dimension: int) -> Embeddings:
        """Sealed embeddings by their contexts, ``(n, dimension)`` float32.

        The rows of those that could not be opened are zero. Nothing is logged.
        """
        size = dimension * FLOAT.itemsize
        opened = [self._opened(column, context) for column, context in zip(columns, contexts, strict=True)]
        nothing = bytes(size)
        content = b"".join(nothing if plain is None or len(plain) != size else plain for plain in opened)
        return np.frombuffer(content, dtype=FLOAT).reshape(-1, dimension).astype(np.float32, copy=False)

    def _sealed(self, plain: bytes, context: bytes) -> bytes:
        if self._cipher is None or not self.seals:
            return plain
        return FORMAT + self._cipher.seal(plain, context)

    def _opened(self, column: bytes, context: bytes, *, sealed: bool = True) -> bytes | None:
        if not sealed:
            return None if self.mode is Mode.ONLY else column
        if self._cipher is None or column[:1] != FORMAT:
            return None
        return self._cipher.opened(column[len(FORMAT) :], context)

    def _tell(self, what: str, place: Place, *, sealed: bool = True) -> None:
        extra = {"what": what, "app": place.app_pk, "user": place.user_pk}
        if self.mode is Mode.ONLY and not sealed:
            told = "a stored face lies in plain, which `only` takes for forged; if it is yours: aipface key seal-faces"
            logger.error(told, extra=extra)
        else:
            logger.error("a stored face cannot be opened: altered, moved, or sealed under another key", extra=extra)


@dataclass(frozen=True, slots=True)
class FaceSealing:
    """Both tables' sealing; each has a key of its own, because remembered faces come and go by the million."""

    enrolled: Sealing
    remembered: Sealing

    @property
    def seals(self) -> bool:
        return self.enrolled.seals


PLAIN = FaceSealing(Sealing(), Sealing())
"""Without any key."""


def sealed_under(column: sa.ColumnElement[bytes]) -> sa.ColumnElement[bytes]:
    """In SQL: the id of the key that an embedding or a crop is sealed under; NULL where there is none."""
    return sa.case((_sealed_in_sql(column), sa.func.substring(column, len(FORMAT) + 1, KEY_ID_BYTES)))


def _sealed_in_sql(column: sa.ColumnElement[bytes]) -> sa.ColumnElement[bool]:
    if column.name == "embedding":  # which does not fetch what lies outside the row
        return sa.func.octet_length(column) % FLOAT.itemsize != 0
    return sa.func.substring(column, 1, len(FORMAT)) == FORMAT
