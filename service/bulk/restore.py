"""Taking an export into an app: embeddings as they are where the model is the same, else made anew from the crops."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, cast

from pydantic import ValidationError

from service.bulk.archive import DAMAGE
from service.bulk.export_format import (
    FORMAT,
    LARGEST_CROP,
    LARGEST_LINE,
    LARGEST_MANIFEST,
    LIBRARY,
    MANIFEST,
    VERSION,
    FaceLine,
    Line,
    Manifest,
    sha256,
)
from service.bulk.folder import read_below
from service.bulk.outcomes import Outcome, Result
from service.bulk.pictures import Refusal, SourceError, limited, printable
from service.bulk.writing import BATCH_FACES, ReadyFace, ReadyUser, Writer
from service.errors import FaceTokenNotFound, PictureUnreadable
from service.images.decode import decode_picture
from service.intake import seen
from service.intake.seen import FaceEngine
from service.storage.engine import Database

LARGEST_CROP_PIXELS = 2**20
_LINES_AT_ONCE = 256
"""Groups and users of one transaction: each of them may be a few statements, and other writers of the app wait."""


class Export:
    """An export on the disk, folder or archive. Raises ``SourceError`` for one that cannot be read as a whole."""

    def __init__(self, path: Path) -> None:
        self._root = path.resolve()
        self._zip = None if path.is_dir() else zipfile.ZipFile(path)
        try:
            self.manifest = _manifest(self._part(MANIFEST, LARGEST_MANIFEST))
        except Refusal as refusal:
            raise SourceError(f"{path}: {refusal}") from None

    @staticmethod
    def lies_at(path: Path) -> bool:
        """Whether there is an export, rather than pictures.

        Raises ``SourceError`` for half of one, and for one within a folder, as archives are often made of what was
        unpacked: its crops would be taken for pictures of one person.
        """
        if path.is_dir():
            inner = [found.parent.name for found in path.glob(f"*/{LIBRARY}")]
            there = {name for name in (MANIFEST, LIBRARY) if os.path.isfile(path / name)}  # noqa: PTH113 (raises nothing)
        else:
            try:
                with zipfile.ZipFile(path) as archive:
                    names = archive.namelist()
            except DAMAGE:
                return False
            there = {MANIFEST, LIBRARY} & set(names)
            inner = [folder for folder, _, name in (each.partition("/") for each in names) if name == LIBRARY]
        if inner and not there:
            raise SourceError(
                f"{path} has an export in its folder {printable(inner[0])}: name that, or pack its inside"
            )
        if there == {LIBRARY}:
            raise SourceError(f"{path} is an unfinished export: it has a {LIBRARY} and no {MANIFEST}")
        return len(there) == 2

    def verify(self) -> None:
        """Read the library once and compare it with the manifest's digest. Raises ``SourceError``."""
        digest = hashlib.sha256()
        with self._library() as file:
            while block := file.read(2**20):
                digest.update(block)
        if digest.hexdigest() != self.manifest.library_sha256:
            raise SourceError(f"{LIBRARY} is not what the manifest describes; the export is damaged")

    def lines(self) -> Iterator[Line]:
        """Raises ``SourceError`` at a line that is none of this format."""
        with self._library() as file:
            number = 0
            while text := file.readline(LARGEST_LINE + 1):
                number += 1
                try:
                    yield Line.model_validate_json(text[:LARGEST_LINE])
                except ValidationError as error:
                    kind = error.errors(include_input=False, include_url=False)[0]
                    raise SourceError(f"line {number} of {LIBRARY}: {kind['loc']}: {kind['msg']}") from None

    def crop(self, line: FaceLine) -> bytes | None:
        """The face's crop, checked. Raises ``Refusal``."""
        if line.crop is None:
            return None
        data = self._part(line.crop, LARGEST_CROP)
        if sha256(data) != line.crop_sha256:
            raise Refusal("damaged_crop", "the crop is not what the export describes")
        try:
            decode_picture(data, LARGEST_CROP_PIXELS)
        except PictureUnreadable as error:
            raise Refusal("damaged_crop", str(error)) from None
        return data

    def _part(self, name: str, limit: int) -> bytes:
        if self._zip is None:
            return read_below(self._root, Path(name), limit)
        try:
            with self._zip.open(name) as part:
                return limited(part.read(limit + 1), limit)
        except (KeyError, *DAMAGE) as error:
            raise Refusal("unreadable", f"{name} is missing or damaged: {type(error).__name__}") from None

    @contextlib.contextmanager
    def _library(self) -> Iterator[BinaryIO]:
        try:
            opened = (self._root / LIBRARY).open("rb") if self._zip is None else self._zip.open(LIBRARY)
            with opened as file:
                yield cast(BinaryIO, file)
        except DAMAGE as error:
            raise SourceError(f"{LIBRARY} cannot be read: {error}") from None


class Restore:
    """Takes exports into one app. A face that its user has already stays as it is, so that a second run is harmless."""

    def __init__(self, database: Database, app_pk: int, engine: FaceEngine, *, threads: int, keep_crops: bool) -> None:
        self._engine = engine
        self._writer = Writer(database, app_pk, engine.model_id)
        self._threads = threads
        self._keep_crops = keep_crops
        self._told: set[str] = set()
        """Groups of another scene that have a row of the report."""

    @property
    def touched(self) -> frozenset[int]:
        """Numbers of the users that were given faces."""
        return frozenset(self._writer.touched)

    def run(self, export: Export, dimension: int) -> Iterator[Result]:
        """One result a face, in the order of the export, when the batch is committed.

        And one, without a place, for a group that is refused as a whole: users without faces have none of their own.
        ``dimension``: of the engine's embeddings. Raises ``SourceError``, before anything is written where the digest
        can tell, and ``ServiceUnavailable``.
        """
        export.verify()
        users: list[ReadyUser] = []
        faces: list[FaceLine] = []
        scenes: dict[str, str | None] = {}
        with ThreadPoolExecutor(self._threads, thread_name_prefix="restore") as pool:
            for line in export.lines():
                if line.group is not None:
                    scenes[line.group.group_id] = line.group.scene
                    users.append(ReadyUser(line.group.group_id, scene=line.group.scene))
                elif line.user is not None:
                    scene = scenes.get(line.user.group_id)
                    users.append(ReadyUser(line.user.group_id, line.user.user_id, line.user.user_info, scene))
                elif line.face is not None:
                    faces.append(line.face)
                if len(faces) >= BATCH_FACES or len(users) >= _LINES_AT_ONCE:
                    yield from self._written(export, dimension, users, faces, scenes, pool)
                    users, faces = [], []
            yield from self._written(export, dimension, users, faces, scenes, pool)

    def _written(
        self,
        export: Export,
        dimension: int,
        users: Sequence[ReadyUser],
        faces: Sequence[FaceLine],
        scenes: dict[str, str | None],
        pool: ThreadPoolExecutor,
    ) -> list[Result]:
        made = list(pool.map(lambda line: self._made(export, dimension, line, scenes.get(line.group_id)), faces))
        results = iter(self._writer.write([face for face in made if isinstance(face, ReadyFace)], users))
        return [*self._foreign(), *(next(results) if isinstance(face, ReadyFace) else face for face in made)]

    def _foreign(self) -> list[Result]:
        """A row for each group that turned out to belong to another scene here."""
        new = sorted(self._writer.foreign - self._told)
        self._told.update(new)
        return [Result("", group, "", Outcome.REFUSED, "group_of_another_scene", "with all its users") for group in new]

    def _made(self, export: Export, dimension: int, line: FaceLine, scene: str | None) -> ReadyFace | Result:
        place = line.crop or line.face_token
        result = Result(place, line.group_id, line.user_id, Outcome.ENROLLED, token=line.face_token)
        try:
            stored = line.face(export.crop(line))
            if line.model_id == self._engine.model_id:
                embedding = line.vector(dimension)
            else:
                embedding = seen.remembered(self._engine, stored, None).embedding
        except Refusal as refusal:
            return replace(result, outcome=Outcome.REFUSED, reason=refusal.reason, detail=str(refusal))
        except FaceTokenNotFound:
            detail = f"embedded by {line.model_id}, and no crop was kept to embed it anew: a picture is needed"
            return replace(result, outcome=Outcome.REFUSED, reason="needs_picture", detail=detail)
        except ValueError as error:
            return replace(result, outcome=Outcome.REFUSED, reason="damaged_line", detail=str(error))
        result = replace(result, location=stored.location, angles=stored.angles, confidence=stored.confidence)
        if not self._keep_crops:
            stored = replace(stored, portrait=None)
        return ReadyFace(result, None, stored, embedding, scene)


def _manifest(data: bytes) -> Manifest:
    try:
        content = json.loads(data)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise SourceError(f"{MANIFEST} describes no {FORMAT}")
        if content.get("version") != VERSION:
            raise SourceError(f"the export has version {content.get('version')}; this program reads {VERSION}")
        return Manifest.model_validate(content)
    except ValueError as error:
        raise SourceError(f"{MANIFEST} cannot be read: {' '.join(str(error).split())}") from None
