"""Pictures and videos sent as base64 text, with the liberties that clients take."""

from __future__ import annotations

import binascii
import re

import pybase64

from service.errors import ParameterMalformed, ParameterTooLong
from service.values import LongText

_PARAMETER = "image"

# "data:image/jpeg;base64,", "data:video/webm;codecs=vp8,opus;base64," and the like; a comma is no letter of base64, so
# nothing valid is lost.
_DATA_URL = re.compile(r"\s*data:.{0,200}?base64\s*,", re.IGNORECASE)

_PART = 2**20
"""Letters decoded at once, a multiple of four: 0.1 ms."""

_URL_SAFE = str.maketrans({"-": "+", "_": "/", " ": "+"})


def decode_base64(text: str | LongText, limit: int, parameter: str = _PARAMETER) -> bytes:
    """The bytes that ``text`` stands for.

    Taken: a ``data:`` URL prefix, line breaks, the URL-safe alphabet, blanks where a form decoder ate ``+``, missing or
    superfluous padding. Raises :class:`ParameterTooLong` for more than ``limit`` decoded bytes, and
    :class:`ParameterMalformed` for nothing and for anything else, both naming ``parameter``.
    """
    if len(text) * 3 // 4 <= limit and (plain := _decoded(text)):
        return plain
    text = str(text)
    prefix = _DATA_URL.match(text)
    letters = _letters(text[prefix.end() :] if prefix else text).translate(_URL_SAFE)
    if not letters:
        raise ParameterMalformed(parameter, "holds no picture")
    if len(letters) * 3 // 4 > limit:
        raise ParameterTooLong(parameter, f"is larger than {limit} bytes")
    decoded = _decoded(letters + "=" * (-len(letters) % 4))
    if decoded is None:
        raise ParameterMalformed(parameter, "is not base64")
    return decoded


def _decoded(text: str | LongText) -> bytes | None:
    """What standard base64 with its padding stands for, without liberties; ``None`` for anything else.

    By parts: the decoder does not let other threads run, and the event loop must not wait for megabytes.
    """
    if len(text) % 4:
        return None
    parts: list[bytes] = []
    for at in range(0, len(text), _PART):
        if parts and len(parts[-1]) < _PART // 4 * 3:  # padding before the end
            return None
        try:
            parts.append(pybase64.b64decode(text[at : at + _PART], validate=True))
        except (binascii.Error, ValueError):
            return None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _letters(text: str) -> str:
    """``text`` without layout and padding. Blanks that may stand for a lost ``+`` are kept.

    No picture format begins with a ``+``, so blanks in front are layout; so are blanks in front of *every* line, and
    blanks at the end, except where they complete the last group of four.
    """
    lines = text.strip("\r\n\t\f\v").lstrip().splitlines()
    if len(lines) > 1 and all(line[:1] in (" ", "\t") for line in lines[1:] if line.strip()):
        lines = [line.strip() for line in lines]
    joined = "".join(line.strip("\t") for line in lines)
    bare = joined.rstrip(" ")
    if bare.endswith("=") or len(joined) % 4:
        joined = bare
    return joined.rstrip("=")
