"""From a video to what its face does and to the pictures worth a closer look."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from service import deadline
from service.errors import FaceNotFound, ServiceUnavailable, SeveralFaces
from service.images.inline import decode_base64
from service.images.video import Frame, Video, VideoLimits
from service.inference.analyst import Analyst
from service.inference.attributes import lid_opening
from service.intake.intake import Admission
from service.intake.track import Track
from service.values import Embeddings, Face, Image, Points

PARAMETER = "video_base64"
"""The name under which a text that is not base64 is reported."""

MOST_PICTURES = 8
"""Pictures taken out of a video: the API's documents say 1 to 8."""

BUCKET_SECONDS = 0.5
"""Seconds: of each stretch of this length only the best frame is kept while the video runs."""

CUTS_LOOKED_AT = 4
"""How many frames after the greatest changes of the face are compared, since another person may have been cut in there.

Changes are measured on the aligned face, normalised to zero mean and unit contrast, so that flashes beside it or light
on all of it do not count. Another person changes it by 0.93 standard deviations or more, a shaken head by 0.43 at most.
A shadow over half of the face changes it as much as another person does, which is why frames of each action are
compared, too.
"""

FEWEST_MOMENTS = 6
"""Frames with a face without which nothing can be said."""

MOST_FACELESS = 12
"""Sampled frames without a face (one second) at the beginning after which the video is refused."""

SECOND_FACE = 0.5
"""A second face at least this large, as a share of the largest face's side, is no bystander far behind."""

MOMENTS_WITH_SEVERAL = 3
"""A single moment with two faces may be the detector's fault."""

_THUMBNAIL = 24

Moments = Callable[[Track], Sequence[Sequence[int]]]
"""Tells groups of moments of a track. One face of each group is embedded and compared in addition."""


class VideoEngine(Protocol):
    """The part of the inference engine that watching takes; see ``service.inference.engine.Engine``."""

    def glance(self, image: Image) -> list[Face]:
        """Upright faces, largest first, at little cost."""
        ...

    def align(self, image: Image, points: Points) -> Image:
        """The ``(112, 112, 3)`` crop that the embedder takes."""
        ...

    def embed(self, crops: Sequence[Image]) -> Embeddings:
        """``(n, dimension)`` float32, rows of unit length."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Still:
    """A frame that was kept, and how good a picture of its face it is: the more the better."""

    seconds: float
    image: Image
    face: Face
    merit: float


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """``stills``: at most ``MOST_PICTURES``, in the order of time, the best one at ``best``.

    ``embeddings``: ``(n, dimension)``, those of the stills first, then those of the frames after the greatest changes,
    then that of the best picture of each group of moments that was asked for.
    """

    track: Track
    stills: tuple[Still, ...]
    best: int
    embeddings: Embeddings


@dataclass(frozen=True, slots=True, eq=False)
class _Sight:
    """What one frame shows: its faces, and of the largest its row of the track, ``(112, 112, 3)`` crop and merit."""

    faces: Sequence[Face]
    row: tuple[float, ...]
    crop: Image
    merit: float


class Watch:
    """Looks at videos frame by frame, inside one permit, with few frames in memory at a time."""

    def __init__(self, engine: VideoEngine, analyst: Analyst | None, admission: Admission, limits: VideoLimits) -> None:
        self._engine = engine
        self._analyst = analyst
        self._admission = admission
        self._limits = limits

    def open(self, text: str) -> Video:
        """The video that a base64 text stands for; nothing is decoded yet but the text.

        Raises ``ParameterTooLong`` and ``ParameterMalformed``, and ``VideoUnreadable`` for no known container.
        """
        return Video(decode_base64(text, self._limits.size, PARAMETER), self._limits)

    def __call__(self, video: Video, compared: Moments = lambda _track: ()) -> Observation:
        """Watch to the end. Raises a ``VideoError``, ``FaceNotFound``, ``SeveralFaces``, ``Overloaded``.

        ``compared`` tells of which moments faces are embedded besides; each group of them costs one embedding.
        ``ServiceUnavailable`` with a pack that brings no networks for faces' meshes.
        """
        if self._analyst is None:
            raise ServiceUnavailable("this pack brings nothing to watch a face with")
        with self._admission.permit():
            notes = _Notes()
            for frame in video.frames():
                deadline.check()
                notes.take(frame, self._seen(self._analyst, frame))
            stills, cuts = notes.chosen()
            track = Track.of(notes.rows)
            crops = [self._engine.align(still.image, still.face.points) for still in (*stills, *cuts)]
            crops += [notes.best_crop(moments) for moments in compared(track)]
            best = max(range(len(stills)), key=lambda index: stills[index].merit)
            return Observation(track, tuple(stills), best, self._engine.embed(crops))

    def _seen(self, analyst: Analyst, frame: Frame) -> _Sight | None:
        faces = self._engine.glance(frame.image)
        if not faces:
            return None
        reader = analyst.reader(frame.image, faces[0])
        angles, status = reader.angles, reader.eye_status
        eyes = min(status.left_eye, status.right_eye)
        lids = sum(map(lid_opening, reader.eyes)) / 2
        x, y, width, height = reader.mesh.box
        centre = (x + width / 2, y + height / 2)
        crop = self._engine.align(frame.image, faces[0].points)
        row = (angles.yaw, angles.pitch, lids, eyes, reader.mouth_opening, *centre, max(width, height))
        return _Sight(faces, (frame.seconds, *row), crop, _merit(crop, angles.yaw, angles.pitch, eyes))


class _Notes:
    """What is remembered while a video runs: a few frames, and of every one the crop of its face (37 kB)."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, ...]] = []
        self._crops: list[tuple[float, Image]] = []
        self._best: dict[int, Still] = {}
        self._cuts: list[tuple[float, Still]] = []
        self._before: NDArray[np.float32] | None = None
        self._faceless = 0
        self._crowded = 0

    def take(self, frame: Frame, seen: _Sight | None) -> None:
        if seen is None:
            self._faceless += 1
            if self._faceless >= MOST_FACELESS and not self.rows:
                raise FaceNotFound("nobody in the first second")
            return
        self.rows.append(seen.row)
        self._crops.append((seen.merit, seen.crop))
        self._count(seen.faces)
        self._keep(Still(frame.seconds, frame.image, seen.faces[0], seen.merit), _thumbnail(seen.crop))

    def best_crop(self, moments: Sequence[int]) -> Image:
        """Of these moments the face that makes the best picture: the least turned, the sharpest."""
        return max((self._crops[moment] for moment in moments), key=lambda kept: kept[0])[1]

    def chosen(self) -> tuple[list[Still], list[Still]]:
        """The best frames, spread over the video, and those after the greatest changes, each in the order of time."""
        if len(self.rows) < FEWEST_MOMENTS:
            raise FaceNotFound("hardly any frame shows a face")
        kept = [self._best[bucket] for bucket in sorted(self._best)]
        bounds = np.linspace(0, len(kept), min(MOST_PICTURES, len(kept)) + 1).round().astype(int)
        stills = [max(kept[start:end], key=lambda still: still.merit) for start, end in pairwise(bounds)]
        taken = {still.seconds for still in stills}
        cuts = sorted((still for _, still in self._cuts), key=lambda still: still.seconds)
        return stills, [still for still in cuts if still.seconds not in taken]

    def _count(self, faces: Sequence[Face]) -> None:
        if len(faces) > 1 and _side(faces[1]) >= SECOND_FACE * _side(faces[0]):
            self._crowded += 1
            if self._crowded >= MOMENTS_WITH_SEVERAL:
                raise SeveralFaces

    def _keep(self, still: Still, face: NDArray[np.float32]) -> None:
        bucket = int(still.seconds / BUCKET_SECONDS)
        if bucket not in self._best or still.merit > self._best[bucket].merit:
            self._best[bucket] = still
        if self._before is not None:
            change = float(np.abs(face - self._before).mean())
            self._cuts = sorted([*self._cuts, (change, still)], key=lambda cut: -cut[0])[:CUTS_LOOKED_AT]
        self._before = face


def _side(face: Face) -> float:
    return max(face.box[2:])


def _thumbnail(crop: Image) -> NDArray[np.float32]:
    """``(24, 24)``: a face in shades of gray, with a mean of 0 and a standard deviation of 1."""
    gray = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    small = cv2.resize(gray, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA).astype(np.float32)
    return np.asarray((small - small.mean()) / max(float(small.std()), 1.0), dtype=np.float32)


def _merit(crop: Image, yaw: float, pitch: float, eyes: float) -> float:
    """Sharpness (logarithm of the Laplacian's variance), less what a turned head and closed eyes cost."""
    gray = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    sharpness = float(np.log1p(cv2.Laplacian(gray, cv2.CV_64F).var()))
    return sharpness - (abs(yaw) + abs(pitch)) / 15 - (1 - eyes)
