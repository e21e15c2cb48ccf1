"""Pictures in a folder: ``group/user/picture.jpg`` or ``group/user.jpg``."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from service.bulk.pictures import Layout, Picture, Refusal, SourceError, is_picture, limited, printable, refusing


class FolderSource:
    """Every file with a picture's ending below a folder, in order of names; hidden files and folders are left out."""

    remote = False

    def __init__(self, folder: Path, layout: Layout, limit: int) -> None:
        """``limit``: largest file in bytes. Raises ``SourceError`` for what is no folder."""
        if not folder.is_dir():
            raise SourceError(f"{folder} is no folder")
        self._root = folder.resolve()
        self._layout = layout
        self._limit = limit
        self._closed: dict[str, str] = {}
        """Why a folder could not be looked through, by its path: rows of the report, for who is in it is not known."""

    def count(self) -> int:
        return len(self._paths)

    def pictures(self) -> Iterator[Picture]:
        for path in self._paths:
            relative = Path(path)
            place = printable(relative.as_posix())
            read: Callable[[], bytes] = partial(read_below, self._root, relative, self._limit)
            if path in self._closed:
                told = f"the folder cannot be looked through: {self._closed[path]}"
                yield Picture(place, "", "", refusing("unreadable", told))
                continue
            if os.path.isdir(self._root / relative):  # noqa: PTH112 (pathlib's raises where nobody may enter)
                read = refusing("linked_folder", "links to folders are not followed")
            yield replace(self._layout.picture(relative.parts, place, read), path=path)

    @cached_property
    def _paths(self) -> list[str]:
        """Paths below the root. Links to folders are kept as they are, to be told in the report, and closed folders."""
        found = []
        for folder, folders, files in os.walk(self._root, onerror=self._note):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            linked = [name for name in folders if os.path.islink(Path(folder) / name)]  # noqa: PTH114 (as above)
            names = [name for name in files if is_picture(name)] + linked
            found += [os.path.relpath(Path(folder) / name, self._root) for name in names]
        return sorted([*found, *self._closed])

    def _note(self, error: OSError) -> None:
        """Called for a folder that cannot be read. Raises ``SourceError`` for the root."""
        path = os.path.relpath(error.filename, self._root)
        if path == os.curdir:
            raise SourceError(f"{self._root} cannot be looked through: {error.strerror}")
        self._closed[path] = str(error.strerror)


def read_below(root: Path, relative: Path, limit: int) -> bytes:
    """The file at ``root / relative``, at most ``limit`` bytes, never one that lies outside ``root``.

    Raises ``Refusal`` for that, for what is no plain file (a pipe would be waited for), and for files out of reach.
    """
    if relative.is_absolute() or ".." in relative.parts:
        raise Refusal("outside", "the path leads out of the folder of the pictures")
    try:
        path = (root / relative).resolve(strict=True)
        if not path.is_relative_to(root):
            raise Refusal("outside", "the link leads out of the folder of the pictures")
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            told = os.fstat(descriptor)
            if not stat.S_ISREG(told.st_mode):
                raise Refusal("no_file", "is no plain file")
            # Room for what is told to be there: room for the limit, 64 MB, takes longer to make than most to read.
            data = file.read(min(limit, told.st_size) + 1)
            if len(data) > told.st_size:  # it grew, or its file system tells no sizes
                data += file.read(limit + 1 - len(data))
            return limited(data, limit)
    except (OSError, ValueError, RuntimeError) as error:
        raise Refusal("unreadable", getattr(error, "strerror", None) or "the name cannot be used") from None
