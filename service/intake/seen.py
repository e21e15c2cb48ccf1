"""A face as one request sees it: found in a picture just now, or remembered under a token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import cv2
import numpy as np

from service.errors import FaceTokenNotFound
from service.values import Angles, Control, Embedding, Embeddings, Face, Image, Location, Points, StoredFace

PORTRAIT_JPEG_QUALITY = 95
"""An embedding taken from a portrait of this quality differs by less than 0.01 in cosine from the picture's own."""

ALIGNMENT_POINTS = 5


class FaceEngine(Protocol):
    """The part of the inference engine that a seen face needs; see ``service.inference.engine.Engine``."""

    @property
    def model_id(self) -> str:
        """Names the weights; stored with every embedding."""
        ...

    def detect(self, image: Image, limit: int) -> list[Face]:
        """Find at most ``limit`` faces, largest first."""
        ...

    def align(self, image: Image, points: Points) -> Image:
        """Cut the ``(112, 112, 3)`` BGR crop that the embedder takes, from five points ``(5, 2)``."""
        ...

    def embed(self, crops: Sequence[Image]) -> Embeddings:
        """Embed aligned crops: ``(n, dimension)`` float32, rows of unit length."""
        ...

    def portrait(self, image: Image, face: Face) -> tuple[Image, Points]:
        """Cut the face with its surroundings; the points are the 5 + 68 ones in pixels of that cut."""
        ...


@dataclass(frozen=True, slots=True)
class Controls:
    """How strict a call is about the quality and the liveness of a face."""

    quality: Control = Control.NONE
    liveness: Control = Control.NONE


class SeenFace:
    """One face of one request; its embedding and its portrait are made when first asked for.

    Attributes: ``token`` (32 hex digits), ``location``, ``angles``, ``confidence`` (0..1), ``points`` ``(5 + 68, 2)``
    in pixels of the original picture, five alignment points first.
    """

    def __init__(
        self,
        token: str,
        *,
        location: Location,
        angles: Angles,
        confidence: float,
        points: Points,
        origin: FoundFace | RememberedFace,
    ) -> None:
        self.token = token
        self.location = location
        self.angles = angles
        self.confidence = confidence
        self.points = points
        self._origin = origin

    @cached_property
    def embedding(self) -> Embedding:
        """``(dimension,)`` float32 of unit length. Runs the embedder unless the token store had the embedding."""
        return self._origin.embedding()

    @cached_property
    def stored(self) -> StoredFace:
        """What the token store and the library keep of this face."""
        portrait, points, frame = self._origin.portrait()
        return StoredFace(
            token=self.token,
            location=self.location,
            angles=self.angles,
            confidence=self.confidence,
            portrait=portrait,
            points=tuple((float(x), float(y)) for x, y in points),
            frame=frame,
        )

    @property
    def known_embedding(self) -> Embedding | None:
        """The embedding if it has been made already, else ``None``."""
        return self.__dict__.get("embedding")


class FoundFace:
    """Where a face of this request's picture comes from."""

    def __init__(self, engine: FaceEngine, image: Image, face: Face) -> None:
        self._engine = engine
        self._image = image
        self._face = face

    def embedding(self) -> Embedding:
        """Align and embed from the full picture."""
        crop = self._engine.align(self._image, self._face.points)
        return _only_row(self._engine.embed([crop]))

    def portrait(self) -> tuple[bytes, Points, tuple[float, float, float]]:
        """JPEG, points in its pixels, and the frame that leads back to the picture."""
        cut, points = self._engine.portrait(self._image, self._face)
        return encode_jpeg(cut), points, frame_between(all_points(self._face), points)


class RememberedFace:
    """Where a face that was named by its token comes from."""

    def __init__(self, engine: FaceEngine, stored: StoredFace, embedding: Embedding | None) -> None:
        self._engine = engine
        self._stored = stored
        self._embedding = embedding

    def embedding(self) -> Embedding:
        """The embedding that was kept, else one made from the portrait.

        Raises ``FaceTokenNotFound`` where neither was kept: an enrolled face of another model whose crop the
        operator chose not to keep cannot serve as a picture.
        """
        if self._embedding is not None:
            return self._embedding
        if self._stored.portrait is None:
            raise FaceTokenNotFound(self._stored.token)
        image = decode_jpeg(self._stored.portrait)
        points = np.asarray(self._stored.points[:ALIGNMENT_POINTS], dtype=np.float32)
        return _only_row(self._engine.embed([self._engine.align(image, points)]))

    def portrait(self) -> tuple[bytes | None, Points, tuple[float, float, float]]:
        """As it was kept."""
        return self._stored.portrait, np.asarray(self._stored.points, dtype=np.float32), self._stored.frame


def found(engine: FaceEngine, image: Image, face: Face, token: str) -> SeenFace:
    """Wrap a face that the detector found in this request's picture."""
    return SeenFace(
        token,
        location=face.location,
        angles=face.angles,
        confidence=face.confidence,
        points=all_points(face),
        origin=FoundFace(engine, image, face),
    )


def remembered(engine: FaceEngine, stored: StoredFace, embedding: Embedding | None) -> SeenFace:
    """Wrap a face that a token stands for."""
    left, top, scale = stored.frame
    points = np.asarray(stored.points, dtype=np.float32).reshape(-1, 2) / np.float32(scale)
    return SeenFace(
        stored.token,
        location=stored.location,
        angles=stored.angles,
        confidence=stored.confidence,
        points=points + np.array([left, top], dtype=np.float32),
        origin=RememberedFace(engine, stored, embedding),
    )


def _only_row(embeddings: Embeddings) -> Embedding:
    row: Embedding = embeddings[0]
    return row


def all_points(face: Face) -> Points:
    """Five alignment points followed by the outline, ``(5 + n, 2)`` float32."""
    return np.concatenate([face.points, face.outline]).astype(np.float32)


def frame_between(original: Points, portrait: Points) -> tuple[float, float, float]:
    """Solve ``portrait = (original - (left, top)) * scale`` for (left, top, scale), from points in both frames."""
    spread = float(np.ptp(original, axis=0).max())
    scale = float(np.ptp(portrait, axis=0).max()) / spread if spread > 0 else 1.0
    left, top = original[0] - portrait[0] / scale
    return float(left), float(top), scale


def encode_jpeg(image: Image) -> bytes:
    """Encode a BGR picture as JPEG."""
    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, PORTRAIT_JPEG_QUALITY])
    if not done:  # pragma: no cover - a picture that was just cut always encodes
        raise RuntimeError("JPEG encoding failed")
    return data.tobytes()


def decode_jpeg(data: bytes) -> Image:
    """Decode a portrait that ``encode_jpeg`` made, to BGR."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise FaceTokenNotFound("the stored portrait is damaged")
    return np.asarray(image, dtype=np.uint8)
