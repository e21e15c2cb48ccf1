"""JSON that means one thing only: what others may read differently is refused."""

from __future__ import annotations

import json
from typing import NoReturn


def loads(data: bytes) -> object:
    """Decode UTF-8 JSON without names given twice, without ``NaN`` and infinities. Raises ``ValueError``."""
    try:
        content: object = json.loads(data.decode(), object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return content


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is given twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
