"""What an export consists of: the lines of its library, its manifest, and how they are checked.

``manifest.json`` names format, version, counts, and the SHA-256 of ``library.jsonl``; it is written last, so that an
export without one is known to be unfinished. ``library.jsonl`` has one JSON object a line: ``{"group": ...}``, then
``{"user": ...}``, then ``{"face": ...}``. A face's crop lies in a file of its own, which its line names with the
SHA-256. Embeddings and points are little-endian float32 in base64.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from service.library.names import MAX_IDENTIFIER_LENGTH
from service.storage.library import StoredUserFace
from service.values import Angles, Embedding, Location, StoredFace

FORMAT = "aipface-export"
VERSION = 1
MANIFEST, LIBRARY = "manifest.json", "library.jsonl"
LARGEST_MANIFEST = 2**16
LARGEST_LINE = 2**18
LARGEST_CROP = 2**22
CROPS_A_FOLDER = 1000

_UNIT_TOLERANCE = 1e-3
_POINTS = (5, 73)
"""Alignment points alone, or with the 68 of the outline."""

Identifier = Annotated[str, Field(pattern=rf"^[A-Za-z0-9_]{{1,{MAX_IDENTIFIER_LENGTH}}}$")]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class GroupLine(_Line):
    group_id: Identifier
    scene: str | None = Field(default=None, max_length=128)


class UserLine(_Line):
    group_id: Identifier
    user_id: Identifier
    user_info: str  # of any length: imports of earlier releases made longer ones than the API takes


class FaceLine(_Line):
    """One face of a user.

    ``location``: left, top, width, height, rotation; ``angles``: yaw, pitch, roll; the rest as in
    ``service.values.StoredFace``.
    """

    group_id: Identifier
    user_id: Identifier
    face_token: str = Field(pattern="^[0-9a-f]{32}$")
    model_id: str = Field(max_length=128)
    embedding: str
    location: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat, int]
    angles: tuple[FiniteFloat, FiniteFloat, FiniteFloat]
    face_probability: float = Field(ge=0, le=1)
    points: str
    frame: tuple[FiniteFloat, FiniteFloat, Annotated[float, Field(gt=0, le=1e6)]]
    box: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]
    complete: bool
    crop: str | None = Field(default=None, pattern=r"^crops/[0-9]{6}/[0-9]{9}\.jpg$")
    crop_sha256: Sha256 | None = None

    @classmethod
    def of(cls, row: StoredUserFace, crop: str | None) -> FaceLine:
        """``crop``: the name that the crop's file has in the export."""
        face = row.face
        place = face.location
        return cls(
            group_id=row.group_id,
            user_id=row.user_id,
            face_token=face.token,
            model_id=row.model_id,
            embedding=_floats_out(row.embedding),
            location=(place.left, place.top, place.width, place.height, place.rotation),
            angles=(face.angles.yaw, face.angles.pitch, face.angles.roll),
            face_probability=face.confidence,
            points=_floats_out(face.points),
            frame=face.frame,
            box=face.box,
            complete=face.complete,
            crop=crop,
            crop_sha256=None if face.portrait is None else sha256(face.portrait),
        )

    def face(self, portrait: bytes | None) -> StoredFace:
        """Raises ``ValueError`` for points that are none."""
        points = _floats_in(self.points).reshape(-1, 2)
        if len(points) not in _POINTS:
            raise ValueError(f"{len(points)} points")
        return StoredFace(
            token=self.face_token,
            location=Location(*self.location),
            angles=Angles(*self.angles),
            confidence=self.face_probability,
            portrait=portrait,
            points=tuple((float(across), float(down)) for across, down in points),
            frame=self.frame,
            box=self.box,
            complete=self.complete,
        )

    def vector(self, dimension: int) -> Embedding:
        """The embedding. Raises ``ValueError`` when it is none of this dimension and of unit length."""
        vector = _floats_in(self.embedding)
        if vector.shape != (dimension,) or abs(float(np.linalg.norm(vector)) - 1) > _UNIT_TOLERANCE:
            raise ValueError("the embedding has another dimension, or not unit length")
        return vector


class Line(_Line):
    """A line of the library; exactly one of the three is there."""

    group: GroupLine | None = None
    user: UserLine | None = None
    face: FaceLine | None = None


class Manifest(_Line):
    """What the export says of itself."""

    format: Literal["aipface-export"]
    version: int = Field(ge=1)
    created: str
    software: str
    groups: int = Field(ge=0)
    users: int = Field(ge=0)
    faces: int = Field(ge=0)
    model_ids: list[str]
    library_sha256: Sha256


def crop_name(number: int) -> str:
    """Where the crop of the ``number``-th face lies."""
    return f"crops/{number // CROPS_A_FOLDER:06d}/{number:09d}.jpg"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _floats_out(numbers: object) -> str:
    return base64.b64encode(np.asarray(numbers, dtype="<f4").tobytes()).decode("ascii")


def _floats_in(text: str) -> Embedding:
    """Raises ``ValueError`` for text that holds no finite numbers, or an odd number of bytes."""
    try:
        numbers = np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").astype(np.float32)
    except binascii.Error:
        raise ValueError("is not base64") from None
    if not np.isfinite(numbers).all():
        raise ValueError("is not finite")
    return numbers
