"""Pictures named by a table: a CSV file with the columns group_id, user_id, picture and, if wanted, user_info.

A column app_id may say whose rows they are, as in the lists that ``aipface reembed`` writes of all apps.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from pathlib import Path

from service.bulk.folder import read_below
from service.bulk.pictures import Layout, Picture, Refusal, SourceError, printable, refusing
from service.errors import ParameterError, PictureError
from service.library.names import MAX_USER_INFO_BYTES

_PICTURE_COLUMNS = ("picture", "image", "path", "url")
_ENCODINGS = ("utf-8-sig", "gb18030")
"""What spreadsheet programs write: UTF-8 with or without its mark, and Chinese Windows."""
_DELIMITERS = ",;\t"


class TableSource:
    """One picture a row, in the order of the rows; ``picture`` is a path below a folder, or an http(s) address."""

    def __init__(
        self,
        path: Path,
        folder: Path,
        layout: Layout,
        limit: int,
        download: Callable[[str], bytes] | None = None,
        *,
        app_id: str | None = None,
    ) -> None:
        """``folder``: where relative paths begin, and which none may leave. Raises ``SourceError``.

        ``app_id``: the app that is filled; pictures of rows that name another are refused.
        """
        self._path = path
        self._app_id = app_id
        self._root = folder.resolve()
        self._layout = layout
        self._limit = limit
        self._download = download
        self._picture_column = self._checked_header()

    @property
    def remote(self) -> bool:
        return any("://" in (row.get(self._picture_column) or "") for row in self._rows())

    def count(self) -> int:
        return sum(1 for _ in self._rows())

    def pictures(self) -> Iterator[Picture]:
        for number, row in enumerate(self._rows(), start=2):
            cells = {name: (row.get(name) or "").strip() for name in ("group_id", "user_id", self._picture_column)}
            named = cells[self._picture_column]
            place = printable(named) or f"row {number}"
            read, info = self._reader(named), row.get("user_info") or ""
            owner = (row.get("app_id") or "").strip()
            if owner and self._app_id not in (None, owner):  # else people of one app would be found in another
                read = refusing("another_app", f"the row is of app {printable(owner)}")
            elif len(info.encode()) > MAX_USER_INFO_BYTES:
                read = refusing("bad_user_info", f"user_info is longer than {MAX_USER_INFO_BYTES} bytes")
            elif "\0" in info:  # which no text of the database may hold
                read = refusing("bad_user_info", "user_info has a zero byte")
            group = cells["group_id"] or self._layout.group or ""
            told = info if info.strip() else None  # else one filled cell of a person's rows would not do
            yield self._layout.named(group, cells["user_id"], place, read, told, remote="://" in named)

    def _reader(self, named: str) -> Callable[[], bytes]:
        if not named:
            return refusing("no_picture", "the row names no picture")
        if "://" in named:
            return partial(self._fetched, named)
        return partial(read_below, self._root, Path(named.replace("\\", "/")), self._limit)

    def _fetched(self, address: str) -> bytes:
        if self._download is None:
            raise Refusal("unreadable", "addresses cannot be fetched here")
        try:
            return self._download(address)
        except (PictureError, ParameterError) as error:
            raise Refusal("download_failed", str(error)) from None

    def _checked_header(self) -> str:
        try:
            header = next(csv.reader(io.StringIO(self._text, newline=""), delimiter=self._delimiter), [])
        except csv.Error as error:
            raise SourceError(f"{self._path} is no CSV table at line 1: {error}") from None
        names = {name.strip() for name in header}
        wanted = {"user_id"} if self._layout.group else {"user_id", "group_id"}
        column = next((name for name in _PICTURE_COLUMNS if name in names), None)
        if column is None or not names >= wanted:
            raise SourceError(f"{self._path} needs the columns group_id, user_id and picture in its first line")
        return column

    def _rows(self) -> Iterator[dict[str, str | None]]:
        reader = csv.reader(io.StringIO(self._text, newline=""), delimiter=self._delimiter)
        try:
            header = [name.strip() for name in next(reader)]
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    yield dict(zip(header, cells, strict=False))
        except csv.Error as error:
            raise SourceError(f"{self._path} is no CSV table at line {reader.line_num}: {error}") from None

    @cached_property
    def _delimiter(self) -> str:
        first = self._text.partition("\n")[0]
        return max(_DELIMITERS, key=first.count)

    @cached_property
    def _text(self) -> str:
        try:
            data = self._path.read_bytes()
        except OSError as error:
            raise SourceError(f"{self._path} cannot be read: {error.strerror}") from None
        for encoding in _ENCODINGS:
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                continue
        raise SourceError(f"{self._path} is neither UTF-8 nor GB 18030")
