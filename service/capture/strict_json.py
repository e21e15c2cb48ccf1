"""JSON without ambiguities: refuses everything that other parsers may read differently."""

from __future__ import annotations

import json
from typing import NoReturn

LONGEST_INTEGER = 20
"""Digits; reading much longer ones takes time that grows with their square."""


def loads(data: bytes) -> object:
    """Decode UTF-8 JSON without names given twice, ``NaN``, infinities and endless integers. Raises ``ValueError``."""
    try:
        content: object = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_refuse, parse_int=_integer)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return content


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found


def _integer(digits: str) -> int:
    if len(digits) > LONGEST_INTEGER:
        raise ValueError("an integer is too long")
    return int(digits)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
