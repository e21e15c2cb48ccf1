"""Writing an app's library to a folder or a ZIP archive, as a stream."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO, Protocol

import service
from service.bulk.export_format import (
    FORMAT,
    LIBRARY,
    MANIFEST,
    VERSION,
    FaceLine,
    GroupLine,
    Line,
    Manifest,
    UserLine,
    crop_name,
)
from service.bulk.pictures import SourceError
from service.storage.engine import Database
from service.storage.library import LibraryRow, StoredGroup, StoredUser, read_library


class Target(Protocol):
    """Where the parts of an export go."""

    def add(self, name: str, content: bytes) -> None:
        """A small part."""

    def add_file(self, name: str, path: Path) -> None:
        """A part that lies in a file, which may be moved away."""


def export_library(database: Database, app_pk: int, path: Path, advance: Callable[[], None]) -> Manifest:
    """Write everything of an app to ``path``, a folder or, if it ends in .zip, an archive; nothing may be there yet.

    What is written can be read by its owner alone. It appears under its name when it is complete; ``advance`` is
    called after each face. Raises ``SourceError`` where it cannot be written, and ``DatabaseUnavailable``.
    """
    if path.exists():
        raise SourceError(f"{path} is there already; an export goes to a name of its own")
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.absolute().parent) as work:
            return _export(database, app_pk, path, Path(work), advance)
    except OSError as error:
        raise SourceError(f"{path} cannot be written: {error.strerror}") from None


def _export(database: Database, app_pk: int, path: Path, work: Path, advance: Callable[[], None]) -> Manifest:
    lines = work / LIBRARY
    draft = work / "draft"
    with _target(draft, archive=path.suffix.lower() == ".zip") as target:
        with _private(lines) as file, contextlib.closing(read_library(database, app_pk)) as rows:
            digest, counts, models = hashlib.sha256(), Counter[str](), set[str]()
            for row in rows:
                line = _line(row, counts, target)
                if line.face is not None:
                    models.add(line.face.model_id)
                    advance()
                text = line.model_dump_json(exclude_none=True).encode() + b"\n"
                digest.update(text)
                file.write(text)
        manifest = Manifest(
            format=FORMAT,
            version=VERSION,
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            software=service.__version__,
            groups=counts["groups"],
            users=counts["users"],
            faces=counts["faces"],
            model_ids=sorted(models),
            library_sha256=digest.hexdigest(),
        )
        target.add_file(LIBRARY, lines)
        target.add(MANIFEST, manifest.model_dump_json(indent=1).encode() + b"\n")
    draft.rename(path)
    return manifest


def _line(row: LibraryRow, counts: Counter[str], target: Target) -> Line:
    if isinstance(row, StoredGroup):
        counts["groups"] += 1
        return Line(group=GroupLine(group_id=row.group_id, scene=row.scene))
    if isinstance(row, StoredUser):
        counts["users"] += 1
        return Line(user=UserLine(group_id=row.group_id, user_id=row.user_id, user_info=row.user_info))
    name = None
    if row.face.portrait is not None:
        name = crop_name(counts["faces"])
        target.add(name, row.face.portrait)
    counts["faces"] += 1
    return Line(face=FaceLine.of(row, name))


@contextlib.contextmanager
def _target(path: Path, *, archive: bool) -> Iterator[Target]:
    if not archive:
        path.mkdir(mode=0o700)
        yield _Folder(path)
        return
    with _private(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        yield _Archive(made)


@contextlib.contextmanager
def _private(path: Path) -> Iterator[BinaryIO]:
    """A new file that its owner alone can read."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


class _Folder:
    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, name: str, content: bytes) -> None:
        place = self._path / name
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)

    def add_file(self, name: str, path: Path) -> None:
        shutil.move(path, self._path / name)


class _Archive:
    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._zip = archive

    def add(self, name: str, content: bytes) -> None:
        stored = name.endswith(".jpg")  # which no compression makes smaller
        self._zip.writestr(name, content, zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED)

    def add_file(self, name: str, path: Path) -> None:
        self._zip.write(path, name)
