"""The whole chain of networks of one pack: pictures in; faces, crops and embeddings out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from models.manifest import PackManifest
from service.inference.batching import BatchedSession, BatchLimits, CountedSession
from service.inference.detector import Detector, Scrfd, YuNet, certainty
from service.inference.embedder import Embedder
from service.inference.finder import FaceFinder
from service.inference.geometry import (
    CROP_SIDE,
    apply,
    compose,
    crop_square,
    eye_line_roll,
    five_points,
    inverse,
    location_of,
    rotation_about,
    visible_area,
    warp,
)
from service.inference.landmarks import Landmarks
from service.inference.orientation import LevelFace, Leveller
from service.inference.portrait import portrait
from service.inference.pose import HeadPose
from service.inference.runtimes import in_use
from service.inference.session import FULL, Precisions, Runtime, Session, load_session
from service.metrics import measured
from service.values import Embeddings, Face, Image, Points

# Candidates below this confidence are not looked at. It is low, since every doubtful one is looked at twice.
_CANDIDATE_CONFIDENCE = 0.35


class Engine:
    """The networks of one pack, loaded. Every method is synchronous and may be called from many threads at once."""

    def __init__(
        self,
        pack: PackManifest,
        files: Mapping[str, Path],
        runtime: Runtime,
        batch: BatchLimits | None = None,
    ) -> None:
        """Load every network that detection, alignment and embedding need.

        ``files`` says where the weights of the pack lie, by short name; ``runtime`` as in
        :func:`service.inference.session.load_session`. With ``batch`` the faces of several callers are embedded
        together.
        """
        names = {pack.detector.file, *(part.file for part in pack.embedder.parts)}
        names |= set() if pack.landmarks is None else {pack.landmarks.file}
        lower = {part.file: Precisions(pack.embedder.bfloat16, part.ranges) for part in pack.embedder.parts}
        sessions = {name: load_session(files[name], runtime, lower.get(name, FULL)) for name in sorted(names)}
        detector = _detector(pack, sessions[pack.detector.file])
        landmarks = None if pack.landmarks is None else Landmarks(sessions[pack.landmarks.file], pack.landmarks)
        self.model_id = pack.model_id
        self.dimension = pack.embedder.dimension
        self.providers = in_use(sessions.values())
        self._aligns_by_outline = pack.embedder.alignment == "outline"
        self._sure = detector.sure
        self._finder = FaceFinder(detector, Leveller(detector, landmarks))
        self._embedder = Embedder({name: _batched(each, batch) for name, each in sessions.items()}, pack.embedder)
        self._pose = HeadPose.load()

    @measured("detect")
    def detect(self, image: Image, limit: int) -> list[Face]:
        """At most ``limit`` faces of ``image``, largest first. What is said of a face does not depend on ``limit``.

        A face is as large as the part of its ``location`` that lies inside the picture: a bystander cut off by the
        border is seldom whom a picture is about. Of equals the one further left comes first, then further up.

        Without a landmark network in the pack ``outline`` has no rows, and box and angles come from the five points.
        """
        return self._largest_first(self._finder.find(image, limit), image)[:limit]

    @measured("detect")
    def glance(self, image: Image) -> list[Face]:
        """Upright faces of at least a thirtieth of ``image``'s longer side, largest first; bounded work per picture."""
        return self._largest_first(self._finder.glance(image), image)

    def prominent(self, image: Image, limit: int) -> tuple[list[Face], bool]:
        """Faces that a single small look shows beyond doubt, largest first, each as ``detect`` gives it.

        Also whether the ``limit`` first of them are what ``detect`` would answer.
        """
        found, settled = self._finder.prominent(image, limit)
        return self._largest_first(found, image), settled

    def align(self, image: Image, points: Points) -> Image:
        """The 112x112 BGR crop in which the five ``points`` lie on the ArcFace template; black outside the picture."""
        return warp(image, crop_square(points), (CROP_SIDE, CROP_SIDE))

    @measured("embed")
    def embed(self, crops: Sequence[Image]) -> Embeddings:
        """``(n, dimension)`` float32 of unit length for aligned crops."""
        return self._embedder.embed(crops)

    def portrait(self, image: Image, face: Face) -> tuple[Image, Points]:
        """See :func:`service.inference.portrait.portrait`."""
        return portrait(image, face)

    def warm_up(self) -> None:
        """Run everything once, so that the first request finds memory allocated and kernels chosen."""
        self.detect(np.zeros((320, 320, 3), np.uint8), 1)
        self.embed([np.zeros((CROP_SIDE, CROP_SIDE, 3), np.uint8)])

    def _largest_first(self, found: Sequence[LevelFace], image: Image) -> list[Face]:
        faces = [self._face(face) for face in found]
        if len(faces) < 2:
            return faces
        return sorted(faces, key=lambda face: (-visible_area(face.location, image), face.box))

    def _face(self, found: LevelFace) -> Face:
        has_outline = len(found.outline) > 0
        points = five_points(found.outline) if has_outline and self._aligns_by_outline else found.points
        angles = self._pose.angles(found.outline if has_outline else found.points)
        span = found.outline if has_outline else _frame_of_box(found)
        likely = certainty(found.confidence, self._sure)
        return Face(found.picture_box, likely, points, found.outline, location_of(span, angles.roll), angles)


def _batched(session: Session, limits: BatchLimits | None) -> Session:
    counted = CountedSession(session)
    return counted if limits is None or limits.rows == 1 else BatchedSession(counted, limits)


def _detector(pack: PackManifest, session: Session) -> Detector:
    decoder = YuNet if pack.detector.kind == "yunet" else Scrfd
    return decoder(session, pack.detector, _CANDIDATE_CONFIDENCE)


def _frame_of_box(found: LevelFace) -> Points:
    """The four corners of the detector's box, turned about its centre to stand as the face does."""
    x, y, width, height = found.box
    corners = np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], np.float32)
    turn = rotation_about((x + width / 2, y + height / 2), eye_line_roll(apply(found.levelling, found.points)))
    return apply(compose(inverse(found.levelling), turn), corners)
