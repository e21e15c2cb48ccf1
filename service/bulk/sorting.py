"""Pictures of people whose names nobody knows: embedded side by side, then sorted into people. Nothing is enrolled."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np

from service.bulk.clustering import people_of
from service.bulk.folder import FolderSource
from service.bulk.outcomes import Outcome, Result, reason_of
from service.bulk.pictures import Picture, Refusal
from service.calibration.scores import ScoreTable
from service.errors import FaceNotFound, PictureError
from service.intake.intake import Intake
from service.intake.seen import SeenFace, decode_jpeg, encode_jpeg
from service.values import App, Embedding

AHEAD = 4
"""Pictures under way for each thread."""

THUMBNAIL_SIDE = 96
"""Pixels; some 3 KB a picture, kept until the sheets are drawn."""


@dataclass(frozen=True, slots=True, eq=False)
class SortedPicture:
    """A picture and its person, numbered from 0 for the one with most pictures.

    ``place``: what the row of a table says for it. ``thumbnail``: JPEG.
    ``confidence``: how much the face is like the other faces of its person, 0..100; NaN where there are none.
    """

    place: str
    person: int
    confidence: float
    thumbnail: bytes


class Sorting:
    """Looks at the largest face of every picture of a source, and sorts them when all have been looked at."""

    def __init__(self, app: App, intake: Intake, scores: ScoreTable, *, threads: int) -> None:
        self._app = app
        self._intake = intake
        self._scores = scores
        self._threads = threads
        self._seen: list[tuple[str, Embedding, bytes]] = []

    def look(self, source: FolderSource) -> Iterator[Result]:
        """A result a picture, in the order of the source; a bad picture is one like any other."""
        under_way: deque[Future[Result]] = deque()
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="sort")
        try:
            for picture in source.pictures():
                under_way.append(pool.submit(self._look, picture))
                if len(under_way) >= AHEAD * self._threads:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def people(self) -> list[SortedPicture]:
        """Every picture that has a face: person by person, of each the surest first."""
        if not self._seen:
            return []
        seen = sorted(self._seen, key=lambda each: each[0])  # threads finish in any order
        embeddings = np.stack([embedding for _, embedding, _ in seen])
        found = people_of(embeddings, self._scores, threads=self._threads)
        pictures = [
            SortedPicture(place, int(person), float(confidence), thumbnail)
            for (place, _, thumbnail), person, confidence in zip(seen, found.labels, found.confidence, strict=True)
        ]
        return sorted(pictures, key=lambda each: (each.person, -np.nan_to_num(each.confidence), each.place))

    def _look(self, picture: Picture) -> Result:
        result = Result(picture.place, "", "", Outcome.REFUSED)
        try:
            cell = _cell(picture.path)
            face = self._intake.face_of_file(self._app, picture.read())
            embedding = face.embedding
        except Refusal as refusal:
            return replace(result, reason=refusal.reason, detail=str(refusal))
        except (PictureError, FaceNotFound) as error:
            return replace(result, reason=reason_of(error), detail=str(error))
        self._seen.append((cell, embedding, _thumbnail(face)))
        place, angles = face.location, face.angles
        return replace(result, outcome=Outcome.PRESENT, location=place, angles=angles, confidence=face.confidence)


def _cell(path: str) -> str:
    """What the row of a table says for a picture of a folder. Raises ``Refusal`` for what none can say."""
    if "\\" in path or any("\ud800" <= letter <= "\udfff" for letter in path):
        raise Refusal("bad_name", "no table can name it, for a backslash or bytes that are no UTF-8: rename it")
    return path if path == path.strip() else f"./{path}"  # spaces around a cell are no part of it


def _thumbnail(face: SeenFace) -> bytes:
    """The face with a little around it."""
    stored = face.stored
    if stored.portrait is None:  # a face that was found has one
        return b""
    image = decode_jpeg(stored.portrait)
    x, y, width, height = stored.box
    side = 1.3 * max(width, height)
    left, top = (max(0, round(middle - side / 2)) for middle in (x + width / 2, y + height / 2))
    cut = image[top : top + round(side), left : left + round(side)]
    small = cv2.resize(cut, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return encode_jpeg(np.asarray(small, np.uint8))
