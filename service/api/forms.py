"""URL-encoded forms (WHATWG URL, ``application/x-www-form-urlencoded``), read without holding up other threads.

The results are those of ``urllib.parse.parse_qsl``. That function splits the text at every escape and joins the pieces
again while no other thread of the process can run: a second for ten megabytes of ``%41``.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_WINDOW = 2**18
"""Bytes processed at a time; other threads may run in between."""

_PERCENT = ord("%")
_NO_DIGIT = 255
_DIGITS = np.full(256, _NO_DIGIT, np.uint8)
"""What a hexadecimal digit stands for, by its code."""
for _digit in "0123456789abcdefABCDEF":
    _DIGITS[ord(_digit)] = int(_digit, 16)


def pairs(content: bytes, most: int) -> list[tuple[str, str]]:
    """Names and values in their order, blank values too, all in UTF-8; at most ``most`` of them.

    Raises ``ValueError`` for more, and ``UnicodeDecodeError``, which is one.
    """
    if not content.isascii():
        content.decode()  # an escape may not complete what stands beside it
    if content.count(b"&") >= most:
        raise ValueError("too many fields")
    return [_pair(piece) for piece in content.split(b"&") if piece]


def _pair(piece: bytes) -> tuple[str, str]:
    name, _, value = piece.partition(b"=")
    return _unescaped(name), _unescaped(value)


def _unescaped(text: bytes) -> str:
    if len(text) <= _WINDOW:
        return _window(text).decode()
    return b"".join(map(_window, _windows(text))).decode()


def _windows(text: bytes) -> Iterator[bytes]:
    """``text`` in pieces; what is or could be an escape is not cut."""
    start = 0
    while start < len(text):
        end = start + _WINDOW
        if end < len(text) and (escape := text.rfind(b"%", end - 2, end)) >= 0:
            end = escape
        yield text[start:end]
        start = end


def _window(text: bytes) -> bytes:
    text = text.replace(b"+", b" ")
    return _without_escapes(text) if b"%" in text else text


def _without_escapes(text: bytes) -> bytes:
    """With the byte in its place that each ``%`` and two digits stand for; any other ``%`` is one."""
    codes: NDArray[np.uint8] = np.frombuffer(bytearray(text + b"  "), np.uint8)
    places = np.flatnonzero(codes == _PERCENT)
    high, low = _DIGITS[codes[places + 1]], _DIGITS[codes[places + 2]]
    escapes = (high != _NO_DIGIT) & (low != _NO_DIGIT)
    places = places[escapes]
    codes[places] = high[escapes] * 16 + low[escapes]
    kept = np.ones(len(codes), np.bool_)
    kept[places + 1] = kept[places + 2] = False
    return codes[kept].tobytes()[:-2]
