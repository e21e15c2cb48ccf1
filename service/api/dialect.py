"""The envelope around every answer of V3 and V4, but for the gateway's errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from service.api.codes import CodeTable
from service.api.envelope import Stamp, dump
from service.errors import ServiceError

SUCCESS = "SUCCESS"


@dataclass(frozen=True, slots=True)
class ResultWithExtras:
    """A result with further keys that stand next to ``result`` in the answer, at its end."""

    result: object
    extras: Mapping[str, object]


class Enveloped:
    """Writes answers with ``error_code``, ``error_msg``, ``log_id``, ``timestamp``, ``cached`` and ``result``."""

    def __init__(self, codes: CodeTable) -> None:
        self._codes = codes

    def success(self, result: object, stamp: Stamp) -> bytes:
        """``result``: ``None`` for calls that return nothing, ``ResultWithExtras`` for further keys next to it."""
        if isinstance(result, ResultWithExtras):
            return _envelope(0, SUCCESS, stamp, result.result, **result.extras)
        return _envelope(0, SUCCESS, stamp, result)

    def failure(self, error: ServiceError, stamp: Stamp) -> bytes:
        """Code and text of the error, ``result`` null; for the gateway's errors code and text alone."""
        code = self._codes.of(error)
        if code.of_gateway:
            return dump({"error_code": code.number, "error_msg": code.text})
        return _envelope(code.number, code.text, stamp, None)

    def code(self, error: ServiceError) -> int:
        """Its number."""
        return self._codes.of(error).number


def _envelope(code: int, text: str, stamp: Stamp, result: object, **extras: object) -> bytes:
    return dump(
        {
            "error_code": code,
            "error_msg": text,
            "log_id": stamp.log_id,
            "timestamp": stamp.timestamp,
            "cached": 0,
            "result": result,
            **extras,
        }
    )
