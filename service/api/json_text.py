"""Parses JSON of any size without blocking the other threads.

A JSON parser holds the interpreter's lock, so that not even the event loop runs: 13 ms for ten megabytes. But nearly
all of such a body is one string of base64. So long plain strings are cut out first and only the rest is parsed.
Pictures stay in the buffer that they arrived in: even making a ``str`` of ten megabytes takes 5 ms or more, most of it
for memory touched for the first time.
"""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np
import orjson

from service.values import LongText

LARGE = 2**20
"""Bytes up to which a body is simply parsed: 1.4 ms."""

PICTURE = "image"
"""The name of the parameter whose text is not made a ``str``."""

_LONG = 2**16
"""Bytes: strings of at least this length are cut out."""

_PIECE = 2**18
_STRINGS_LOOKED_AT = 64

_FIRST_PRINTABLE, _LAST_PRINTABLE = 0x20, 0x7E


def loads(text: bytes) -> object:
    """What ``text`` says; raises ``orjson.JSONDecodeError`` where it is no JSON.

    A long ``PICTURE`` of the object, or of the objects in the list, that ``text`` is may be a ``LongText``.
    """
    if len(text) < LARGE:
        return orjson.loads(text)
    marker = secrets.token_hex(16)
    rest, strings = _taken_out(text, marker)
    if not strings:
        return orjson.loads(text)
    content = orjson.loads(rest)
    objects = content if isinstance(content, list) else [content]
    pictures = [_picture_taken_from(each, marker, strings) for each in objects]
    content = _put_back(content, marker, strings)
    for each, picture in zip(content if isinstance(content, list) else [content], pictures, strict=True):
        if picture is not None:
            each[PICTURE] = picture
    return content


def _taken_out(text: bytes, marker: str) -> tuple[bytes, list[LongText]]:
    """``text`` with a number behind ``marker`` in place of every long plain string, and those strings."""
    rest: list[bytes] = []
    strings: list[LongText] = []
    done = place = 0
    for _ in range(_STRINGS_LOOKED_AT):
        opened = text.find(b'"', place)
        closed = text.find(b'"', opened + 1) if opened >= 0 else -1
        if closed < 0:
            break
        if closed - opened > _LONG:
            if not _plain(text, opened + 1, closed):
                break
            rest += [text[done : opened + 1], f"{marker}{len(strings)}".encode()]
            strings.append(LongText(memoryview(text)[opened + 1 : closed]))
            done = closed
        elif text.find(b"\\", opened, closed) >= 0:  # may be an escaped quote: from here on nothing is certain
            break
        place = closed + 1
    return b"".join([*rest, text[done:]]) if strings else b"", strings


def _plain(text: bytes, begin: int, end: int) -> bool:
    """Whether the string between two places holds no escapes, nothing that JSON forbids, and only ASCII."""
    letters = np.frombuffer(text, np.uint8)
    for at in range(begin, end, _PIECE):
        until = min(end, at + _PIECE)
        piece = letters[at:until]
        if piece.min() < _FIRST_PRINTABLE or piece.max() > _LAST_PRINTABLE or text.find(b"\\", at, until) >= 0:
            return False
    return True


def _picture_taken_from(content: object, marker: str, strings: list[LongText]) -> LongText | None:
    """The long picture of an object, which has none any more then."""
    if not isinstance(content, dict):
        return None
    value = content.get(PICTURE)
    if not (isinstance(value, str) and value.startswith(marker)):
        return None
    content[PICTURE] = None
    return strings[int(value.removeprefix(marker))]


def _put_back(content: object, marker: str, strings: list[LongText]) -> Any:
    if isinstance(content, str) and content.startswith(marker):
        return str(strings[int(content.removeprefix(marker))])
    if isinstance(content, list):
        return [_put_back(each, marker, strings) for each in content]
    if isinstance(content, dict):
        return {
            _put_back(key, marker, strings) if key.startswith(marker) else key: _put_back(value, marker, strings)
            for key, value in content.items()
        }
    return content
