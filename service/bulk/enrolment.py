"""Enrolling many pictures: looked at side by side, written in batches, every step safe to repeat."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from service.bulk.journal import Journal
from service.bulk.outcomes import Outcome, Result, reason_of
from service.bulk.pictures import Picture, Refusal, Source
from service.errors import FaceNotFound, FaceRejected, GroupNotFound, PictureError, ServiceUnavailable
from service.intake.acceptance import check_quality
from service.intake.intake import Intake
from service.intake.seen import SeenFace
from service.library.groups import made_in_scene
from service.library.users import MAX_FACES_PER_USER
from service.storage.engine import Database, UnitOfWork
from service.storage.faces import NewFace
from service.values import App, Control, Embedding, FaceField, StoredFace

BATCH_FACES = 128
"""Faces of one transaction: what an interruption loses at most, and for how long other writers of the app may wait."""

FETCHERS = 16
"""Pictures that are downloaded while others are computed."""

AHEAD = 4
"""Pictures under way for each thread; bounds memory, and evens out that some take longer than others."""


@dataclass(frozen=True, slots=True, eq=False)
class _Ready:
    """A face that can be written."""

    result: Result
    user_info: str | None
    key: bytes
    face: StoredFace
    embedding: Embedding


@dataclass(frozen=True, slots=True, eq=False)
class _Settled:
    """A picture that needs no writing. ``key`` is set where the journal should know the refusal."""

    result: Result
    key: bytes | None = None


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
        self._threads = threads
        self._keep_crops = keep_crops
        self._quality = quality
        self._fields = frozenset({FaceField.QUALITY}) if figures or quality is not Control.NONE else frozenset()
        self._permits = threading.BoundedSemaphore(threads)
        self.touched: set[int] = set()
        """Numbers of the users that were given faces."""

    def run(self, source: Source) -> Iterator[Result]:
        """Results in the order of the source, those of a batch when it is committed.

        A bad picture is a result like any other. Raises ``ServiceUnavailable`` when the database fails; what was
        committed by then stays, and a later run goes on from there. The same when the iterator is closed early.
        """
        batch: list[_Ready | _Settled] = []
        faces = 0
        for seen in self._looked_at(source):
            batch.append(seen)
            faces += isinstance(seen, _Ready)
            if faces >= BATCH_FACES or len(batch) >= 4 * BATCH_FACES:
                yield from self._written(batch)
                batch, faces = [], 0
        yield from self._written(batch)

    def _looked_at(self, source: Source) -> Iterator[_Ready | _Settled]:
        workers = self._threads + (FETCHERS if source.remote else 0)
        pool = ThreadPoolExecutor(workers, thread_name_prefix="import")
        under_way: deque[Future[_Ready | _Settled]] = deque()
        try:
            for picture in source.pictures():
                under_way.append(pool.submit(self._look, picture))
                if len(under_way) >= AHEAD * workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _look(self, picture: Picture) -> _Ready | _Settled:
        result = Result(picture.place, picture.group_id, picture.user_id, Outcome.REFUSED)
        try:
            data = picture.read()
        except Refusal as refusal:
            return _Settled(replace(result, reason=refusal.reason, detail=str(refusal)))
        key = self._journal.key(data)
        token, reason = self._journal.seen(key)
        if reason is not None:
            return _Settled(replace(result, reason=reason, detail="as an earlier run found"))
        if token is not None and self._is_enrolled(picture, token):
            return _Settled(replace(result, outcome=Outcome.PRESENT, token=token))
        with self._permits:
            return self._computed(picture, data, key, result)

    def _computed(self, picture: Picture, data: bytes, key: bytes, result: Result) -> _Ready | _Settled:
        try:
            face = self._intake.faces_of_file(self._app, data, fields=self._fields)[0]
        except (PictureError, FaceNotFound) as error:
            return _Settled(replace(result, reason=reason_of(error), detail=str(error)), key)
        result = _described(result, face)
        try:
            if self._quality is not Control.NONE:
                if result.quality is None:
                    raise ServiceUnavailable("this pack brings nothing to measure quality with")
                check_quality(self._quality, result.quality, face.location, face.angles)
        except FaceRejected as rejection:
            return _Settled(replace(result, reason=reason_of(rejection), detail=str(rejection)), key)
        stored = face.stored if self._keep_crops else replace(face.stored, portrait=None)
        enrolled = replace(result, outcome=Outcome.ENROLLED, token=face.token)
        return _Ready(enrolled, picture.user_info, key, stored, face.embedding)

    def _is_enrolled(self, picture: Picture, token: str) -> bool:
        with self._database.read() as reader:
            return reader.faces.is_enrolled(self._app.pk, picture.group_id, picture.user_id, token)

    def _written(self, batch: Sequence[_Ready | _Settled]) -> list[Result]:
        """Commit the batch's faces, then note in the journal what was seen; the results in the batch's order."""
        ready = [seen for seen in batch if isinstance(seen, _Ready)]
        written: dict[int, Result] = {}
        if ready:
            with self._database.write(self._app.pk) as work:
                for group_id, members in _by_group(ready):
                    written |= self._write_group(work, group_id, members)
        self._journal.add(
            (seen.key, seen.face.token, None) if isinstance(seen, _Ready) else (seen.key, None, seen.result.reason)
            for seen in batch
            if seen.key is not None
        )
        return [written.get(id(seen), seen.result) for seen in batch]

    def _write_group(self, work: UnitOfWork, group_id: str, members: Sequence[_Ready]) -> dict[int, Result]:
        try:
            group = made_in_scene(work, group_id, None)
        except GroupNotFound:
            refused = {"outcome": Outcome.REFUSED, "reason": "group_of_a_scene"}
            return {id(seen): replace(seen.result, **refused) for seen in members}  # type: ignore[arg-type]
        infos: dict[str, str | None] = {}
        for seen in members:
            infos[seen.result.user_id] = (
                seen.user_info if seen.user_info is not None else infos.get(seen.result.user_id)
            )
        users = work.users.get_or_create_many(group, infos)
        tokens = work.faces.tokens_of_users(list(users.values()))
        results: dict[int, Result] = {}
        new: list[NewFace] = []
        for seen in members:
            user = users[seen.result.user_id]
            known = tokens.setdefault(user, set())
            if seen.face.token in known:
                results[id(seen)] = replace(seen.result, outcome=Outcome.PRESENT)
            elif len(known) >= MAX_FACES_PER_USER:
                results[id(seen)] = replace(
                    seen.result,
                    outcome=Outcome.REFUSED,
                    reason="too_many_faces",
                    detail=f"the user has {MAX_FACES_PER_USER}",
                )
            else:
                known.add(seen.face.token)
                new.append(NewFace(user, seen.face, self._intake.model_id, seen.embedding))
        work.faces.insert_many(group, new)
        self.touched.update(face.user_pk for face in new)
        return results


def _described(result: Result, face: SeenFace) -> Result:
    return replace(
        result,
        location=face.location,
        angles=face.angles,
        confidence=face.confidence,
        quality=face.report.quality,
    )


def _by_group(ready: Iterable[_Ready]) -> Iterable[tuple[str, list[_Ready]]]:
    groups: dict[str, list[_Ready]] = {}
    for seen in ready:
        groups.setdefault(seen.result.group_id, []).append(seen)
    return groups.items()
