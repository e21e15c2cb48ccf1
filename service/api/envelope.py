"""What all answers have in common: their stamp, their numbers, compact JSON."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass

import orjson

COORDINATE_DIGITS = 2
"""Coordinates, angles and probabilities of the cloud's answers have two decimals."""

SCORE_DIGITS = 8
"""Scores have more, so that ranks survive."""

_LOG_ID_BITS = 63  # Java clients read a signed 64-bit integer


@dataclass(frozen=True, slots=True)
class Stamp:
    """Identifies one request: ``log_id`` is positive, unique and fits a signed 64-bit integer."""

    log_id: int
    timestamp: int

    @classmethod
    def now(cls) -> Stamp:
        """A fresh one."""
        return cls(log_id=secrets.randbits(_LOG_ID_BITS) or 1, timestamp=int(time.time()))


def rounded(value: float, digits: int = COORDINATE_DIGITS) -> float:
    """Round, and write a whole number as one (``1``, not ``1.0``), as the cloud does."""
    result = round(float(value), digits)
    return int(result) if result.is_integer() else result


def dump(content: object) -> bytes:
    """Compact JSON in UTF-8, keys in the order given."""
    return orjson.dumps(content)
