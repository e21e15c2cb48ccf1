"""What the OpenAPI document says about a call's parameters, read off a body that works.

Only the names and types of the example stand there: what each parameter means, and the rest of them, is told by the
vendor's documents. Nothing is checked against it; ``parse`` of the call decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"

Example = Mapping[str, object] | Sequence[Mapping[str, object]]

_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (list, "array"),
    (tuple, "array"),
    (dict, "object"),
)
"""Types of JSON by those of Python; a bool is an int too and must come first."""


def operation(method: str, token: str, example: Example, *, forms: bool = False) -> dict[str, Any]:
    """What is added to the operation of a call: its ``token`` in the query, and its parameters where they are read.

    A ``GET`` has them in the query; else they stand in a JSON body or, where the body is one object, in a form.
    ``forms`` names the form first.
    """
    parameters = [_in_query(token)]
    if method == "GET":
        asked = example.items() if isinstance(example, Mapping) else ()
        return {"parameters": [*parameters, *({**_in_query(name), "example": value} for name, value in asked)]}
    kinds = [JSON]
    if isinstance(example, Mapping):
        kinds.insert(0 if forms else 1, FORM)
    content = {"schema": _schema(example), "example": example}
    return {"parameters": parameters, "requestBody": {"content": dict.fromkeys(kinds, content)}}


def answers(**described: str) -> dict[int | str, dict[str, Any]]:
    """Documented statuses of an operation that answers JSON, as ``answers(_200="...", _401="...")``."""
    return {int(status[1:]): {"description": text, "content": {JSON: {}}} for status, text in described.items()}


def _in_query(name: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": {"type": "string"}}


def _schema(example: Example) -> dict[str, Any]:
    if isinstance(example, Mapping):
        return {"type": "object", "properties": {name: _property(value) for name, value in example.items()}}
    return {"type": "array", "items": _schema(example[0]) if example else {"type": "object"}}


def _property(value: object) -> dict[str, Any]:
    kind = next((name for known, name in _TYPES if isinstance(value, known)), None)
    return {"examples": [value]} if kind is None else {"type": kind, "examples": [value]}
