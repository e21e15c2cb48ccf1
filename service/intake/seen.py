"""A face as one request sees it: found in a picture just now, or remembered under a token."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import cv2
import numpy as np

from service.errors import FaceTokenNotFound
from service.inference.geometry import enlarged
from service.inference.quality import completeness, formless
from service.intake.controls import Controls
from service.intake.report import FaceReport, Look, Reporter
from service.once import once
from service.values import Angles, Embedding, Embeddings, Face, FaceField, Image, Location, Points, StoredFace

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

    def prominent(self, image: Image, limit: int) -> tuple[list[Face], bool]:
        """Find the faces that a small look shows; tell whether they are what ``detect`` would answer."""
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


class SeenFace:
    """One face of one request; its embedding and its portrait are made when first asked for.

    Attributes: ``token`` (32 hex digits), ``location``, ``angles``, ``confidence`` (0..1), ``points`` ``(5 + 68, 2)``
    in pixels of the original picture, five alignment points first, ``report`` (what was asked about the face, with
    landmarks in pixels of the original picture too; empty until ``examine``).
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
        self.report = FaceReport()
        self._origin = origin
        self._by_others: dict[str, Embedding] = {}

    def examine(self, reporter: Reporter, fields: frozenset[FaceField], controls: Controls) -> None:
        """Read what was asked for and check the controls; ``report`` tells the outcome."""
        if not fields and not controls.any:
            return
        report = reporter.report(self._origin.look(), fields, controls)
        if report.landmarks is not None:
            left, top, scale = self._origin.frame
            moved = report.landmarks / np.float32(scale) + np.array([left, top], np.float32)
            report = replace(report, landmarks=moved)
        self.report = report

    @once
    def embedding(self) -> Embedding:
        """``(dimension,)`` float32 of unit length. Runs the embedder unless the token store had the embedding."""
        return self._origin.embedding()

    @once
    def stored(self) -> StoredFace:
        """What the token store and the library keep of this face."""
        return self.make_stored()

    def make_stored(self) -> StoredFace:
        """As ``stored``, but computed anew, so that a second thread may call it while others use the face."""
        return self._origin.stored(self.token)

    @property
    def known_embedding(self) -> Embedding | None:
        """The embedding if it has been made already, else ``None``."""
        return self.__dict__.get("embedding")

    @property
    def recalled(self) -> bool:
        """Whether the request named the face by its token instead of sending a picture."""
        return isinstance(self._origin, RememberedFace)

    @property
    def model_id(self) -> str:
        """Names the weights that ``embedding`` comes from."""
        return self._origin.model_id

    def embedding_by(self, engine: FaceEngine) -> Embedding:
        """What another model makes of the same face; made once."""
        if engine.model_id == self.model_id:
            return self.embedding
        if engine.model_id not in self._by_others:
            self._by_others[engine.model_id] = self._origin.embedding_by(engine)
        return self._by_others[engine.model_id]

    def embedded_by(self, model_id: str) -> bool:
        """Whether ``embedding_by`` has nothing to compute for this model."""
        return self.known_embedding is not None if model_id == self.model_id else model_id in self._by_others


class FoundFace:
    """Where a face of this request's picture comes from.

    ``image``: the picture as sent, or a sketch of it whose sides are ``factor`` times shorter. ``prepared``: what the
    recogniser looks at, which differs from ``image`` only for photographs that are altered first (WATERMARK, INFRARED).
    ``face`` is in pixels of ``image``.
    """

    def __init__(
        self, engine: FaceEngine, image: Image, face: Face, prepared: Image | None = None, factor: int = 1
    ) -> None:
        self._engine = engine
        self._image = image
        self._prepared = image if prepared is None else prepared
        self._face = face
        self._factor = factor
        self.frame = (0.0, 0.0, 1 / factor)

    @property
    def model_id(self) -> str:
        """Of the engine that found the face."""
        return self._engine.model_id

    def embedding(self) -> Embedding:
        """Align and embed from the picture."""
        return self.embedding_by(self._engine)

    def embedding_by(self, engine: FaceEngine) -> Embedding:
        """The same by any engine, from the points that this one found."""
        return embedded(engine, engine.align(self._prepared, self._face.points))

    def look(self) -> Look:
        """The picture itself."""
        return Look(self._image, self._face)

    def stored(self, token: str) -> StoredFace:
        """The portrait with the face's geometry in it."""
        cut, points = self._engine.portrait(self._prepared, self._face)
        face = self._face if self._factor == 1 else enlarged(self._face, self._factor)
        left, top, scale = frame = frame_between(all_points(face), points)
        x, y, width, height = face.box
        return StoredFace(
            token=token,
            location=face.location,
            angles=face.angles,
            confidence=face.confidence,
            portrait=encode_jpeg(cut),
            points=tuple(map(tuple, points.tolist())),
            frame=frame,
            box=((x - left) * scale, (y - top) * scale, width * scale, height * scale),
            complete=bool(completeness(self._image, self._face)),
        )


class RememberedFace:
    """Where a face that was named by its token comes from."""

    def __init__(self, engine: FaceEngine, stored: StoredFace, embedding: Embedding | None) -> None:
        self._engine = engine
        self._stored = stored
        self._embedding = embedding
        self.frame = stored.frame

    @property
    def model_id(self) -> str:
        """Of the engine that is in use."""
        return self._engine.model_id

    def embedding(self) -> Embedding:
        """The embedding that was kept, else one made from the portrait."""
        return self.embedding_by(self._engine) if self._embedding is None else self._embedding

    def embedding_by(self, engine: FaceEngine) -> Embedding:
        """Made from the portrait."""
        face = self.look()
        return embedded(engine, engine.align(face.image, face.face.points))

    def look(self) -> Look:
        """The portrait.

        Raises ``FaceTokenNotFound`` where none was kept: an enrolled face whose crop the operator chose not to keep
        cannot serve as a picture.
        """
        if self._stored.portrait is None:
            raise FaceTokenNotFound(self._stored.token)
        points = np.asarray(self._stored.points, dtype=np.float32).reshape(-1, 2)
        face = Face(
            box=self._stored.box,
            confidence=self._stored.confidence,
            points=points[:ALIGNMENT_POINTS],
            outline=points[ALIGNMENT_POINTS:],
            location=self._stored.location,
            angles=self._stored.angles,
        )
        return Look(decode_jpeg(self._stored.portrait), face, complete=self._stored.complete)

    def stored(self, token: str) -> StoredFace:
        """As it was kept."""
        del token
        return self._stored


def found(
    engine: FaceEngine, image: Image, face: Face, token: str, prepared: Image | None = None, factor: int = 1
) -> SeenFace:
    """Wrap a face that was found in ``image``, this request's picture or a sketch ``factor`` times smaller.

    For ``prepared`` see ``FoundFace``.
    """
    whole = face if factor == 1 else enlarged(face, factor)
    return SeenFace(
        token,
        location=whole.location,
        angles=whole.angles,
        confidence=whole.confidence,
        points=all_points(whole),
        origin=FoundFace(engine, image, face, prepared, factor),
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


def embedded(engine: FaceEngine, crop: Image) -> Embedding:
    """``(dimension,)`` float32 of unit length for an aligned crop; a direction of its own for a formless one.

    Networks find that all formless faces are much alike; what is told of one must be that it resembles nobody. The
    signs of its numbers, which are all as large, are drawn by the crop's bytes: the same crop keeps its direction in
    every process and release, which what NumPy draws by a seed does not promise. One of two faces is enough to be drawn
    for, so what was enrolled before, or by another way, is safe from such a probe.
    """
    row: Embedding = engine.embed([crop])[0]
    if not formless(crop):
        return row
    bits = hashlib.shake_256(crop.tobytes()).digest(math.ceil(len(row) / 8))
    signs = 2.0 * np.unpackbits(np.frombuffer(bits, np.uint8), count=len(row)) - 1
    return np.asarray(signs / math.sqrt(len(row)), dtype=np.float32)


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
