"""Rows of faces as a binary COPY sends them, taken apart by the hundred.

The form is PostgreSQL's (https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"): a header of 19
bytes, rows of big-endian fields each after its length, and a trailer of one int16 -1. A row here has face, user and
group number, the token (NULL for a face in plain) and the embedding. Rows that are alike in the lengths of the last
two have one layout and stand side by side as a rule, so that they are read as an array.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import DatabaseUnavailable

_SIGNATURE = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER = b"\xff\xff"
_FIELDS = 5
_KEYS = ("face", "user", "group")
_KEY_BYTES = 8
_NULL = -1

_TOKEN_AT = 2 + len(_KEYS) * (4 + _KEY_BYTES)
"""Where a row's token has its length."""

_FIRST_LOOK = 16
"""Rows that are tried at first after one that was unlike those before; twice as many each time that all are alike."""
_MOST_AT_ONCE = 65_536

Keys = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Consecutive rows of one layout. ``values`` ``(n,)`` are the columns as bytes of one width (numpy's void)."""

    face_pks: Keys
    user_pks: Keys
    group_pks: Keys
    tokens: list[bytes] | None
    """``None`` for faces in plain."""
    values: NDArray[np.void]


class FaceRows:
    """Takes what COPY sends, and gives whole rows."""

    def __init__(self) -> None:
        self._pending: list[bytes] = []
        self._begun = False
        self._look = _FIRST_LOOK
        self.size = 0
        """Bytes that wait to be taken apart."""

    def add(self, data: bytes) -> None:
        """More of the copy. Raises :class:`DatabaseUnavailable` when it does not begin as documented."""
        if not self._begun:
            if not data.startswith(_SIGNATURE):
                raise DatabaseUnavailable("the database's COPY does not have the documented form")
            data, self._begun = data[len(_SIGNATURE) :], True
        self._pending.append(data)
        self.size += len(data)

    def take(self) -> Iterator[Run]:
        """Every whole row that has come; the rest stays for later."""
        text = b"".join(self._pending)
        at = 0
        while (layout := _layout_at(text, at)) is not None:
            rows = np.frombuffer(text, layout, min(self._look, (len(text) - at) // layout.itemsize), at)
            if not len(rows):
                break
            alike = _alike(rows)
            if alike < len(rows):
                rows, self._look = rows[:alike], _FIRST_LOOK
            else:
                self._look = min(2 * self._look, _MOST_AT_ONCE)
            at += len(rows) * layout.itemsize
            yield _run(rows)
        self._pending = [text[at:]]
        self.size = len(text) - at

    def end(self) -> None:
        """Raises :class:`DatabaseUnavailable` unless the copy is whole and everything of it was taken."""
        if b"".join(self._pending) != _TRAILER:
            raise DatabaseUnavailable("the database's COPY ended early")


def _layout_at(text: bytes, at: int) -> np.dtype[np.void] | None:
    """How the row at a place is laid out; ``None`` where less than a row's head is left, and at the trailer."""
    token = _length(text, at + _TOKEN_AT)
    if token is None or text[at : at + 2] != _FIELDS.to_bytes(2, "big"):
        return None
    width = _length(text, at + _TOKEN_AT + 4 + max(token, 0))
    return None if width is None or width < 0 else _layout(token, width)


def _length(text: bytes, at: int) -> int | None:
    field = text[at : at + 4]
    return int.from_bytes(field, "big", signed=True) if len(field) == 4 else None


@lru_cache(maxsize=256)
def _layout(token_bytes: int, value_bytes: int) -> np.dtype[np.void]:
    fields: list[tuple[str, Any]] = [("fields", ">i2")]
    for name in _KEYS:
        fields += [(f"{name}_bytes", ">i4"), (name, ">i8")]
    fields.append(("token_bytes", ">i4"))
    if token_bytes > 0:
        fields.append(("token", np.dtype((np.void, token_bytes))))
    return np.dtype([*fields, ("value_bytes", ">i4"), ("value", np.dtype((np.void, value_bytes)))])


def _alike(rows: NDArray[np.void]) -> int:
    """How many of the rows, from the first, really have the layout that they are read by."""
    first = rows[0]
    same = (rows["fields"] == _FIELDS) & (rows["token_bytes"] == first["token_bytes"])
    same &= rows["value_bytes"] == first["value_bytes"]
    for name in _KEYS:
        same &= rows[f"{name}_bytes"] == _KEY_BYTES
    if not same[0]:
        raise DatabaseUnavailable("the database's COPY does not have the documented form")
    return len(rows) if same.all() else int(same.argmin())


def _run(rows: NDArray[np.void]) -> Run:
    face_pks, user_pks, group_pks = (rows[name].astype(np.int64) for name in _KEYS)
    tokens: list[bytes] | None = None
    if int(rows[0]["token_bytes"]) != _NULL:
        tokens = rows["token"].tolist() if "token" in (rows.dtype.names or ()) else [b""] * len(rows)
    return Run(face_pks, user_pks, group_pks, tokens, rows["value"])
