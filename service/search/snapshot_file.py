"""One snapshot as a file: a ZIP archive without compression of plain arrays, and ``head.json`` that says what they are.

ZIP brings what a snapshot needs: a directory at the end, without which a torn file is no archive, a CRC-32 of every
member (as fast as memory is read, and it finds every accident; who could forge one could forge the file), sizes beyond
4 GiB, and tools that show it. Nothing in it is code, and nothing is believed before it has been checked.

Removed faces are not in it: their rows in segments are zeroed, embeddings and codes.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import faiss
import numpy as np
from numpy.typing import NDArray

from service.search import fine
from service.search.codec import Codec, CodecState
from service.search.codes import Codes
from service.search.pooled import CommonList
from service.search.precision import halves
from service.search.protocol import Keys
from service.search.segment import BLOCK, Segment
from service.search.snapshot_head import FORMAT, CodecHead, Head, ListHead, SegmentHead
from service.search.tiered import IndexState, TieredIndex
from service.values import ChangeMark

_HEAD = "head.json"
_MOST_HEAD = 2**26
_CHUNK = 2**23
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    NotImplementedError,  # what zipfile says of flags and versions that it does not know
    OSError,
    OverflowError,
    RuntimeError,  # FAISS's own, and zipfile's of an encrypted member
    ValueError,
)

NewIndex = Callable[[int], TieredIndex]
Pause = Callable[[], None]
"""Called between pieces of work: lets others have the processor, or raises to end it."""


class BrokenSnapshot(Exception):
    """A file is no snapshot of ours, or not a whole one; the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The library of one app as of one moment."""

    model_id: str
    dimension: int
    app_pk: int
    mark: ChangeMark
    groups: Mapping[int, IndexState]


# --- writing ---


def write(file: IO[bytes], contents: Contents, pause: Pause) -> Head:
    """Write a snapshot; it is not on the disk yet then. Raises ``OSError``, and what ``pause`` raises."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        writer = _Writer(archive, pause)
        loose = writer.loose(contents.groups)
        codecs: dict[int, tuple[int, CodecHead]] = {}
        segments: list[SegmentHead] = []
        faces = loose
        for group_pk, state in contents.groups.items():
            for segment, removed in state.segments:
                codec = None if segment.codec is None else writer.codec(segment.codec, codecs)
                segments.append(writer.segment(len(segments), group_pk, segment, removed, codec))
                faces += len(removed) - int(removed.sum())
        head = Head(
            format=FORMAT,
            faiss=faiss.__version__,
            byte_order=sys.byteorder,
            model_id=contents.model_id,
            dimension=contents.dimension,
            app_pk=contents.app_pk,
            mark=list(contents.mark),
            faces=faces,
            loose=loose,
            codecs=[codec for _, codec in codecs.values()],
            segments=segments,
            lists=[
                ListHead(group_pk=group_pk, faces=state.common.faces, length=state.common.length)
                for group_pk, state in contents.groups.items()
                if state.common is not None
            ],
        )
        archive.writestr(_HEAD, head.model_dump_json())
    return head


class _Writer:
    """Puts arrays into an archive, piece by piece."""

    def __init__(self, archive: zipfile.ZipFile, pause: Pause) -> None:
        self._archive = archive
        self._pause = pause

    def loose(self, groups: Mapping[int, IndexState]) -> int:
        """The faces that are in no segment, group after group; returns how many."""
        keys: list[tuple[Keys, Keys, Keys]] = []

        def embeddings() -> Iterator[NDArray[np.float16]]:
            for group_pk, state in groups.items():
                for held in state.loose:
                    faces = held()
                    keys.append((np.full(len(faces.face_pks), group_pk), faces.face_pks, faces.user_pks))
                    yield halves(faces.embeddings)

        self._arrays("loose/embeddings", embeddings())
        for place, name in enumerate(("group_pks", "face_pks", "user_pks")):
            self._arrays(f"loose/{name}", (each[place] for each in keys))
        return sum(len(each[0]) for each in keys)

    def codec(self, codec: Codec, known: dict[int, tuple[int, CodecHead]]) -> int:
        """Write a codec once; returns its place."""
        if id(codec) not in known:
            state, place = codec.state(), len(known)
            for name, array in (("encode", state.encode), ("ask", state.ask), ("finely", state.finely)):
                self._arrays(f"codecs/{place}/{name}", [array])
            self._arrays(f"codecs/{place}/trained", [state.trained])
            head = CodecHead(
                population=state.population,
                axes=state.encode.shape[1],
                fine_axes=state.finely.shape[1],
                trained=state.trained.nbytes,
            )
            known[id(codec)] = place, head
        return known[id(codec)][0]

    def segment(
        self, place: int, group_pk: int, segment: Segment, removed: NDArray[np.bool_], codec: int | None
    ) -> SegmentHead:
        folder = f"segments/{place}"
        self._arrays(f"{folder}/face_pks", [segment.face_pks])
        self._arrays(f"{folder}/user_pks", [segment.user_pks])
        self._arrays(f"{folder}/removed", [removed])
        self._arrays(f"{folder}/embeddings", _without(segment.embeddings, removed))
        if segment.fine is not None:
            self._arrays(f"{folder}/fine", _without(segment.fine, removed))
        codes = segment.codes(np.flatnonzero(removed))
        if codes is not None:
            self._arrays(f"{folder}/codes", [codes])
        return SegmentHead(
            group_pk=group_pk,
            rows=len(removed),
            codec=codec,
            codes=0 if codes is None else codes.nbytes,
            short_list=segment.short_list,
        )

    def _arrays(self, name: str, arrays: Iterable[NDArray[Any]]) -> None:
        with self._archive.open(name, "w", force_zip64=True) as member:
            for array in arrays:
                if array.nbytes:
                    data = np.ascontiguousarray(array).data.cast("B")
                    for start in range(0, len(data), _CHUNK):
                        member.write(data[start : start + _CHUNK])
                        self._pause()


def _without(rows: NDArray[Any], removed: NDArray[np.bool_]) -> Iterator[NDArray[Any]]:
    """Embeddings or fine codes, those of removed faces zeroed."""
    for start in range(0, len(removed), BLOCK):
        block, gone = rows[start : start + BLOCK], removed[start : start + BLOCK]
        yield np.where(gone[:, np.newaxis], rows.dtype.type(0), block) if gone.any() else block


# --- reading ---


class SnapshotFile:
    """An open snapshot whose head has been checked; the arrays are checked as they are read."""

    def __init__(self, archive: zipfile.ZipFile, head: Head) -> None:
        self._archive = archive
        self.head = head
        self.mark = ChangeMark(*head.mark)

    def groups(self, new_index: NewIndex) -> dict[int, TieredIndex]:
        """Every group's index as it was. Raises :class:`BrokenSnapshot`."""
        with _as_broken():
            groups = self._sealed(new_index)
            self._loose(groups, new_index)
            found = sum(len(index) for index in groups.values())
            if found != self.head.faces:
                raise BrokenSnapshot(f"it holds {found} faces and not {self.head.faces}")
            return groups

    def _sealed(self, new_index: NewIndex) -> dict[int, TieredIndex]:
        codecs = [self._codec(f"codecs/{place}", head) for place, head in enumerate(self.head.codecs)]
        segments: dict[int, list[Segment]] = {}
        for place, head in enumerate(self.head.segments):
            segments.setdefault(head.group_pk, []).append(self._segment(f"segments/{place}", head, codecs))
        common = {head.group_pk: CommonList(head.faces, head.length) for head in self.head.lists}
        groups = {}
        for group_pk, found in segments.items():
            groups[group_pk] = new_index(0)
            groups[group_pk].adopt(found, common.get(group_pk))
        return groups

    def _codec(self, folder: str, head: CodecHead) -> Codec:
        encode = np.empty((self.head.dimension, head.axes), dtype=np.float32)
        ask = np.empty((head.axes, self.head.dimension), dtype=np.float32)
        finely = np.empty((self.head.dimension, head.fine_axes), dtype=np.float32)
        trained = np.empty(head.trained, dtype=np.uint8)
        for name, array in (("encode", encode), ("ask", ask), ("finely", finely), ("trained", trained)):
            self._fill(f"{folder}/{name}", array)
        return Codec.restored(CodecState(head.population, encode, ask, finely, trained))

    def _segment(self, folder: str, head: SegmentHead, codecs: list[Codec]) -> Segment:
        segment = Segment.unfilled(head.rows, self.head.dimension)
        self._fill(f"{folder}/face_pks", segment.face_pks)
        self._fill(f"{folder}/user_pks", segment.user_pks)
        removed = np.empty(head.rows, dtype=np.bool_)
        self._fill(f"{folder}/removed", removed)
        self._fill(f"{folder}/embeddings", segment.embeddings)
        if head.codec is None:
            segment.put_back(removed)
            return segment
        codec, codes = codecs[head.codec], np.empty(head.codes, dtype=np.uint8)
        self._fill(f"{folder}/codes", codes)
        room = fine.room_for(codec, head.rows)
        if room is not None:
            self._fill(f"{folder}/fine", room)
        segment.put_back(removed, Codes.restored(codec, codes, room), head.short_list)
        return segment

    def _loose(self, groups: dict[int, TieredIndex], new_index: NewIndex) -> None:
        group_pks, face_pks, user_pks = (np.empty(self.head.loose, dtype=np.int64) for _ in range(3))
        for name, array in (("group_pks", group_pks), ("face_pks", face_pks), ("user_pks", user_pks)):
            self._fill(f"loose/{name}", array)
        bounds = [0, *(np.flatnonzero(np.diff(group_pks)) + 1).tolist(), self.head.loose]
        with self._archive.open("loose/embeddings") as member:
            for first, end in itertools.pairwise(bounds):
                for start in range(first, end, BLOCK):
                    rows = slice(start, min(start + BLOCK, end))
                    embeddings = np.empty((rows.stop - start, self.head.dimension), dtype=np.float16)
                    _read(member, embeddings)
                    group_pk = int(group_pks[start])
                    if group_pk not in groups:
                        groups[group_pk] = new_index(end - first)
                    # Every index rounds to half precision anyway, and takes it as well as single precision.
                    groups[group_pk].add_many(face_pks[rows], user_pks[rows], cast("Any", embeddings))
            _read_end(member)

    def _fill(self, name: str, array: NDArray[Any]) -> None:
        with self._archive.open(name) as member:
            _read(member, array)
            _read_end(member)


@contextlib.contextmanager
def opened(path: Path, app_pk: int, model_id: str, dimension: int) -> Iterator[SnapshotFile]:
    """A snapshot that was written for this app and model by such a program as this one.

    Raises :class:`BrokenSnapshot` for everything else, and ``FileNotFoundError``.
    """
    with contextlib.ExitStack() as stack:
        with _as_broken():
            file = stack.enter_context(_own_file(path))
            archive = stack.enter_context(zipfile.ZipFile(file))
            members = {member.filename: member for member in archive.infolist()}
            if members[_HEAD].file_size > _MOST_HEAD:
                raise BrokenSnapshot("its head is too large")
            head = Head.model_validate_json(archive.read(_HEAD))
            _check(head, app_pk, model_id, dimension)
            sizes = _sizes(head)
            for name, size in sizes.items():
                found = members[name]
                if found.compress_type != zipfile.ZIP_STORED or found.file_size != size:
                    raise BrokenSnapshot(f"{name} has another size or form")
            if sum(sizes.values()) > os.fstat(file.fileno()).st_size:
                raise BrokenSnapshot("it is shorter than its parts")
        yield SnapshotFile(archive, head)


@contextlib.contextmanager
def _own_file(path: Path) -> Iterator[IO[bytes]]:
    """A plain file that belongs to us and that nobody else could read or change."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise BrokenSnapshot("it is no plain file")
        if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
            raise BrokenSnapshot("others can read or change it")
        yield file


@contextlib.contextmanager
def _as_broken() -> Iterator[None]:
    """Whatever reading garbage leads to, as one exception; that a file is not there passes as it is."""
    try:
        yield
    except FileNotFoundError:
        raise
    except _DAMAGE as error:
        text = str(error).strip().partition("\n")[0] or type(error).__name__
        raise BrokenSnapshot(f"it is damaged ({text})") from error


def _check(head: Head, app_pk: int, model_id: str, dimension: int) -> None:
    for name, found, wanted in (
        ("model", head.model_id, model_id),
        ("dimension", head.dimension, dimension),
        ("app", head.app_pk, app_pk),
        ("FAISS", head.faiss, faiss.__version__),
        ("byte order", head.byte_order, sys.byteorder),
    ):
        if found != wanted:
            raise BrokenSnapshot(f"it is of another {name}: {found} and not {wanted}")
    if any(segment.codec is not None and segment.codec >= len(head.codecs) for segment in head.segments):
        raise BrokenSnapshot("a codec is missing")


def _sizes(head: Head) -> dict[str, int]:
    """Bytes of every member but the head."""
    sizes = {f"loose/{name}": 8 * head.loose for name in ("group_pks", "face_pks", "user_pks")}
    sizes["loose/embeddings"] = 2 * head.dimension * head.loose
    for place, codec in enumerate(head.codecs):
        sizes |= {f"codecs/{place}/{name}": 4 * head.dimension * codec.axes for name in ("encode", "ask")}
        sizes[f"codecs/{place}/finely"] = 4 * head.dimension * codec.fine_axes
        sizes[f"codecs/{place}/trained"] = codec.trained
    for place, segment in enumerate(head.segments):
        folder = f"segments/{place}"
        sizes |= {f"{folder}/face_pks": 8 * segment.rows, f"{folder}/user_pks": 8 * segment.rows}
        sizes |= {f"{folder}/removed": segment.rows, f"{folder}/embeddings": 2 * head.dimension * segment.rows}
        if segment.codec is not None:
            sizes[f"{folder}/codes"] = segment.codes
            axes = head.codecs[segment.codec].fine_axes
            if fine.are_worth(axes, head.dimension):
                sizes[f"{folder}/fine"] = axes * segment.rows
    return sizes


def _read(member: IO[bytes], array: NDArray[Any]) -> None:
    """Fill an array; raises ``EOFError`` when there is less."""
    if not array.nbytes:
        return
    data = array.data.cast("B")
    place = 0
    while place < len(data):
        piece = member.read(min(_CHUNK, len(data) - place))
        if not piece:
            raise EOFError("it ends early")
        data[place : place + len(piece)] = piece
        place += len(piece)


def _read_end(member: IO[bytes]) -> None:
    """Nothing may follow; reading on is also what has the sum checked."""
    if member.read(1):
        raise BrokenSnapshot("a part is longer than it should be")
