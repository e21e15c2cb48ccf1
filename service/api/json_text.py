"""JSON of any size without keeping the interpreter to ourselves.

A parser does not let other threads run, the event loop's among them; ten megabytes take it 13 ms. Nearly all of such a
body is one string of base64. So long plain strings are taken out first, piece by piece, and only the rest is parsed.
"""

from __future__ import annotations

import secrets

import numpy as np
import orjson

LARGE = 2**20
"""Bytes up to which a body is simply parsed: 1.4 ms."""

_LONG = 2**16
"""Bytes from which on a string is taken out."""

_PIECE = 2**18
_STRINGS_LOOKED_AT = 64

_FIRST_PRINTABLE, _LAST_PRINTABLE = 0x20, 0x7E


def loads(text: bytes | bytearray) -> object:
    """What ``text`` says; raises ``orjson.JSONDecodeError`` where it is no JSON."""
    if len(text) < LARGE:
        return orjson.loads(text)
    marker = secrets.token_hex(16)
    rest, strings = _taken_out(text, marker)
    if not strings:
        return orjson.loads(text)
    return _put_back(orjson.loads(rest), marker, strings)


def _taken_out(text: bytes | bytearray, marker: str) -> tuple[bytes, list[str]]:
    """``text`` with a number behind ``marker`` in place of every long plain string, and those strings."""
    rest: list[bytes | bytearray] = []
    strings: list[str] = []
    done = place = 0
    for _ in range(_STRINGS_LOOKED_AT):
        opened = text.find(b'"', place)
        closed = text.find(b'"', opened + 1) if opened >= 0 else -1
        if closed < 0:
            break
        if closed - opened > _LONG:
            string = _plain(text, opened + 1, closed)
            if string is None:
                break
            rest += [text[done : opened + 1], f"{marker}{len(strings)}".encode()]
            strings.append(string)
            done = closed
        elif text.find(b"\\", opened, closed) >= 0:  # may be an escaped quote: from here on nothing is certain
            break
        place = closed + 1
    return b"".join([*rest, text[done:]]) if strings else b"", strings


def _plain(text: bytes | bytearray, begin: int, end: int) -> str | None:
    """The string between two places, unless it holds escapes, what JSON forbids, or more than ASCII."""
    pieces = []
    for at in range(begin, end, _PIECE):
        piece = text[at : min(end, at + _PIECE)]
        letters = np.frombuffer(piece, np.uint8)
        if letters.min() < _FIRST_PRINTABLE or letters.max() > _LAST_PRINTABLE or b"\\" in piece:
            return None
        pieces.append(piece.decode("ascii"))
    return "".join(pieces)


def _put_back(content: object, marker: str, strings: list[str]) -> object:
    if isinstance(content, str) and content.startswith(marker):
        return strings[int(content.removeprefix(marker))]
    if isinstance(content, list):
        return [_put_back(each, marker, strings) for each in content]
    if isinstance(content, dict):
        return {
            _put_back(key, marker, strings) if key.startswith(marker) else key: _put_back(value, marker, strings)
            for key, value in content.items()
        }
    return content
