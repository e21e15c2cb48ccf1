"""Between our values and what columns hold."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import chain
from typing import Any

import numpy as np
import sqlalchemy as sa

from service.values import Angles, Embedding, Location, StoredFace

FLOAT = np.dtype("<f4")

_GEOMETRY_NUMBERS = 8
"""The column ``points`` begins with the portrait's frame (left, top, scale), the face's box in it and whether the face
was complete; the points follow."""

_LOCATION = tuple(field.name for field in fields(Location))
_ANGLES = tuple(field.name for field in fields(Angles))


@dataclass(frozen=True, slots=True, eq=False)
class RememberedFace:
    """A face as found under its token; ``embedding`` is None when it is of another model or was never made.

    ``recalled``: only its token was sent, no picture shows it anew.
    """

    face: StoredFace
    embedding: Embedding | None
    recalled: bool = False


def face_columns(face: StoredFace, portrait: bytes | None) -> dict[str, Any]:
    """The columns that ``faces`` and ``face_tokens`` share; ``portrait`` is the crop as the column holds it."""
    return {
        "token": face.token,
        "location": {name: getattr(face.location, name) for name in _LOCATION},
        "angles": {name: getattr(face.angles, name) for name in _ANGLES},
        "confidence": face.confidence,
        "points": np.fromiter(chain(_geometry(face), *face.points), dtype=FLOAT).tobytes(),
        "portrait": portrait,
    }


def _geometry(face: StoredFace) -> tuple[float, ...]:
    return (*face.frame, *face.box, float(face.complete))


def stored_face(row: sa.Row[Any], portrait: bytes | None) -> StoredFace:
    """The inverse of :func:`face_columns`; ``portrait`` is the crop as a JPEG."""
    numbers = np.frombuffer(row.points, dtype=FLOAT)
    left, top, scale, x, y, width, height, complete = numbers[:_GEOMETRY_NUMBERS].tolist()
    return StoredFace(
        token=row.token,
        location=Location(**row.location),
        angles=Angles(**row.angles),
        confidence=row.confidence,
        portrait=portrait,
        points=tuple((x, y) for x, y in numbers[_GEOMETRY_NUMBERS:].reshape(-1, 2).tolist()),
        frame=(left, top, scale),
        box=(x, y, width, height),
        complete=bool(complete),
    )


def embedding_bytes(embedding: Embedding) -> bytes:
    return np.ascontiguousarray(embedding, dtype=FLOAT).tobytes()


def embedding_of(column: bytes | None) -> Embedding | None:
    """An embedding as it was stored, or None."""
    if column is None:
        return None
    return np.frombuffer(column, dtype=FLOAT).astype(np.float32, copy=False)
