"""Enrolling many pictures: looked at side by side, written in batches, every step safe to repeat."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from service.bulk.journal import Journal
from service.bulk.outcomes import Outcome, Result, reason_of
from service.bulk.pictures import Picture, Refusal, Source
from service.bulk.writing import BATCH_FACES, ReadyFace, ReadyUser, Writer
from service.errors import FaceNotFound, FaceRejected, PictureError, PictureUnreadable, ServiceUnavailable
from service.intake.acceptance import check_quality
from service.intake.intake import Intake
from service.intake.seen import SeenFace
from service.storage.engine import Database
from service.values import App, Control, FaceField

BATCH_SECONDS = 5.0
"""A batch that is not full after this time is written all the same, so that an interruption loses little and progress
is visible."""

FETCHERS = 16
"""Pictures that are downloaded while others are computed."""

AHEAD = 4
"""Pictures under way for each thread; bounds memory, and evens out that some take longer than others."""

_UNSETTLED = reason_of(PictureUnreadable())
"""A reason that may not hold under other settings. It is no longer written into journals, but those of earlier releases
contain it."""


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What a look at a picture gave: a face to write, or only a result.

    ``key`` is set where the journal should know of it; ``user_info`` where a table tells one of whom it is a face,
    ``default_info`` where a user who is made for the face gets one anyway.
    """

    result: Result
    key: bytes | None = None
    face: ReadyFace | None = None
    user_info: str | None = None
    default_info: str | None = None


class Enrolment:
    """Enrols the largest face of every picture of a source, as ``faceset/user/add`` would, many at a time."""

    def __init__(
        self,
        *,
        app: App,
        intake: Intake,
        database: Database,
        journal: Journal,
        threads: int,
        keep_crops: bool,
        quality: Control = Control.NONE,
        figures: bool = True,
    ) -> None:
        """``threads``: pictures computed at once; ``figures``: whether quality is measured even if nothing asks."""
        self._app = app
        self._intake = intake
        self._database = database
        self._journal = journal
        self._writer = Writer(database, app.pk, intake.model_id)
        self._threads = threads
        self._keep_crops = keep_crops
        self._quality = quality
        self._fields = frozenset({FaceField.QUALITY}) if figures or quality is not Control.NONE else frozenset()
        self._permits = threading.BoundedSemaphore(threads)

    @property
    def touched(self) -> frozenset[int]:
        """Numbers of the users that were given faces."""
        return frozenset(self._writer.touched)

    def run(self, source: Source) -> Iterator[Result]:
        """Results in the order of the source, those of a batch when it is committed.

        A bad picture is a result like any other. Raises ``ServiceUnavailable`` when the database fails; what was
        committed by then stays, and a later run goes on from there. The same when the iterator is closed early.
        """
        batch: list[_Seen] = []
        faces, begun = 0, time.monotonic()
        for seen in self._looked_at(source):
            batch.append(seen)
            faces += seen.face is not None
            if faces >= BATCH_FACES or time.monotonic() - begun >= BATCH_SECONDS:
                yield from self._written(batch)
                batch, faces, begun = [], 0, time.monotonic()
        yield from self._written(batch)

    def _looked_at(self, source: Source) -> Iterator[_Seen]:
        workers = self._threads + (FETCHERS if source.remote else 0)
        pool = ThreadPoolExecutor(workers, thread_name_prefix="import")
        under_way: deque[Future[_Seen]] = deque()
        try:
            for picture in source.pictures():
                under_way.append(pool.submit(self._look, picture))
                if len(under_way) >= AHEAD * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _look(self, picture: Picture) -> _Seen:
        result = Result(picture.place, picture.group_id, picture.user_id, Outcome.REFUSED)
        try:
            data = picture.read()
        except Refusal as refusal:
            return _Seen(replace(result, reason=refusal.reason, detail=str(refusal)))
        key = self._journal.key(data)
        token, reason = self._journal.seen(key)
        if reason is not None and reason != _UNSETTLED:
            return _Seen(replace(result, reason=reason, detail="as an earlier run found"))
        if token is not None and self._is_enrolled(picture, token):
            return _Seen(replace(result, outcome=Outcome.PRESENT, token=token), user_info=picture.user_info)
        with self._permits:
            return self._computed(picture, data, key, result)

    def _computed(self, picture: Picture, data: bytes, key: bytes, result: Result) -> _Seen:
        try:
            face = self._intake.face_of_file(self._app, data, fields=self._fields)
        except FaceNotFound as error:
            return _Seen(replace(result, reason=reason_of(error), detail=str(error)), key)
        except PictureError as error:  # not for the journal: a setting may allow it the next time
            return _Seen(replace(result, reason=reason_of(error), detail=str(error)))
        result = _described(result, face)
        try:
            if self._quality is not Control.NONE:
                if result.quality is None:
                    raise ServiceUnavailable("this pack brings nothing to measure quality with")
                check_quality(self._quality, result.quality, face.location, face.angles)
        except FaceRejected as rejection:
            return _Seen(replace(result, reason=reason_of(rejection), detail=str(rejection)), key)
        stored = face.stored if self._keep_crops else replace(face.stored, portrait=None)
        enrolled = replace(result, outcome=Outcome.ENROLLED, token=face.token)
        ready = ReadyFace(enrolled, picture.user_info, stored, face.embedding)
        return _Seen(enrolled, key, ready, picture.user_info, picture.default_info)

    def _is_enrolled(self, picture: Picture, token: str) -> bool:
        with self._database.read(self._app.pk) as reader:
            return reader.faces.is_enrolled(self._app.pk, picture.group_id, picture.user_id, token)

    def _written(self, batch: Sequence[_Seen]) -> list[Result]:
        """Commit the batch's faces and infos, then note in the journal what was seen; results in the batch's order."""
        told = [(_whose(seen.result), seen.user_info) for seen in batch]
        infos = {user: info for user, info in told if info is not None}  # the last row of a user counts
        faces = [
            replace(seen.face, user_info=infos.get(_whose(seen.result))) for seen in batch if seen.face is not None
        ]
        users = [ReadyUser(*_whose(seen.result), seen.default_info) for seen in batch if seen.default_info is not None]
        results = iter(self._writer.write(faces, [*users, *self._outdated(infos)]))
        self._journal.add(
            (seen.key, seen.result.token, None) if seen.face is not None else (seen.key, None, seen.result.reason)
            for seen in batch
            if seen.key is not None
        )
        return [seen.result if seen.face is None else next(results) for seen in batch]

    def _outdated(self, infos: Mapping[tuple[str, str], str]) -> list[ReadyUser]:
        """Users who are there with another user_info. ``infos``: by group and user."""
        outdated: list[ReadyUser] = []
        for group_id in {group_id for group_id, _ in infos}:
            told = {user_id: info for (group, user_id), info in infos.items() if group == group_id}
            with self._database.read(self._app.pk) as reader:
                known = reader.users.infos(self._app.pk, group_id, list(told))
            changed = [user_id for user_id, info in known.items() if info != told[user_id]]
            outdated += (ReadyUser(group_id, user_id, told[user_id], renewed=True) for user_id in changed)
        return outdated


def _whose(result: Result) -> tuple[str, str]:
    return result.group_id, result.user_id


def _described(result: Result, face: SeenFace) -> Result:
    return replace(
        result,
        location=face.location,
        angles=face.angles,
        confidence=face.confidence,
        quality=face.report.quality,
    )
