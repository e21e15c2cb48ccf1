"""Pictures in a ZIP archive, laid out like a folder. Nothing is unpacked to the disk."""

from __future__ import annotations

import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from service.bulk.pictures import Layout, Picture, Refusal, SourceError, is_picture, limited, printable, refusing

_UTF8_FLAG = 0x800
_ENCRYPTED_FLAG = 0x1
_UNIX = 3
_GUESSES = ("utf-8", "gb18030")
"""Encodings of names that do not say theirs: other systems' tools, and Chinese Windows."""

DAMAGE = (OSError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError)
"""What reading an archive or a member raises that is damaged, encrypted or packed as Python does not know."""


class ArchiveSource:
    """Every member with a picture's ending, in order of names. A member is never unpacked beyond the limit."""

    remote = False

    def __init__(self, path: Path, layout: Layout, limit: int) -> None:
        """``limit``: largest member in bytes, unpacked. Raises ``SourceError``."""
        try:
            self._zip = zipfile.ZipFile(path)
        except DAMAGE as error:
            raise SourceError(f"{path} cannot be read as a ZIP archive: {error}") from None
        self._layout = layout
        self._limit = limit
        named = [(name_of(info), info) for info in self._zip.infolist() if not info.is_dir()]
        self._members = sorted(
            ((name, info) for name, info in named if is_picture(name) and not _is_aside(name)),
            key=lambda member: (member[0], member[1].header_offset),
        )

    def count(self) -> int:
        return len(self._members)

    def pictures(self) -> Iterator[Picture]:
        for name, info in self._members:
            parts = PurePosixPath(name).parts
            read = partial(self._read, info)
            if name.startswith("/") or ".." in parts or "\\" in name or ":" in name or "\0" in name:
                read = partial(refusing("outside", "the name leads out of the archive"))
                yield Picture(printable(name), "", "", read)
            else:
                yield self._layout.picture(parts, printable(name), read)

    def _read(self, info: zipfile.ZipInfo) -> bytes:
        if info.create_system == _UNIX and stat.S_ISLNK(info.external_attr >> 16):
            raise Refusal("outside", "is a link")
        if info.flag_bits & _ENCRYPTED_FLAG:
            raise Refusal("unreadable", "is encrypted")
        if info.file_size > self._limit:
            raise Refusal("picture_too_large", f"more than {self._limit} bytes")
        try:
            with self._zip.open(info) as member:
                return limited(member.read(self._limit + 1), self._limit)
        except DAMAGE as error:
            raise Refusal("unreadable", f"the archive is damaged here: {type(error).__name__}") from None


def _is_aside(name: str) -> bool:
    """Whether a member lies in a hidden folder, or among what macOS adds."""
    folders = PurePosixPath(name).parts[:-1]
    return folders[:1] == ("__MACOSX",) or any(part.startswith(".") and part != ".." for part in folders)


def name_of(info: zipfile.ZipInfo) -> str:
    """The member's name; bytes without a declared encoding are taken for UTF-8, else GB 18030, else code page 437."""
    name = info.orig_filename if "\0" in info.orig_filename else info.filename
    # Python takes the name from Info-ZIP's field for Unicode since 3.12, whatever the member's own bytes are.
    if info.flag_bits & _UTF8_FLAG or name != info.orig_filename:
        return name
    raw = name.encode("cp437")
    for encoding in _GUESSES:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return name
