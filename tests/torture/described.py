"""Our OpenAPI document for a fuzzer: with every parameter that the vendor's documents list, and values that work."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from tests.fixtures.pictures import Pictures
from tests.seeds import data
from tests.seeds.data import Parameter
from tests.torture.inputs import small_pictures

GROUP, USER = "described", "walker"
TOKEN = "access_token"

_LOOSE: tuple[dict[str, Any], ...] = ({"type": "string"}, {"type": "integer"}, {"type": ["array", "object", "null"]})
"""What a parameter may be besides the values that the documents know."""


def words(pictures: Pictures, face_token: str) -> Mapping[str, object]:
    """What the words of the transcribed documents stand for; those that are missing stand for themselves."""
    picture = base64.b64encode(small_pictures(pictures)[0]).decode()
    return {
        "$face": picture,
        "$other_face": picture,
        "$two_faces": f"{picture},{picture}",
        "$group": GROUP,
        "$empty": "empty",
        "$new": "new",
        "$token": face_token,
        "$feedback": [{"log_id": 1}],
        "$long": "x" * 257,
    }


def described(document: dict[str, Any], known: Mapping[str, object]) -> dict[str, Any]:
    """The document, its bodies with the parameters of the vendor's documents; the token is the test's to give."""
    by_path = {call.path: call for call in data.calls()}
    for path, operations in document["paths"].items():
        call = by_path.get(path)
        for operation in operations.values():
            operation["parameters"] = [each for each in operation.get("parameters", ()) if each["name"] != TOKEN]
            if call is None:
                continue
            properties = {each.name: _schema(each, known) for each in call.parameters}
            for content in operation.get("requestBody", {}).get("content", {}).values():
                content.pop("example", None)
                schema = content["schema"]
                schema = schema["items"] if schema["type"] == "array" else schema
                schema["properties"] = {**schema.get("properties", {}), **properties}
    return document


def _schema(parameter: Parameter, known: Mapping[str, object]) -> dict[str, Any]:
    values: list[object] = []
    for value in (parameter.valid, *parameter.also, parameter.invalid):
        meant = known.get(value, value) if isinstance(value, str) else value
        if meant not in values:
            values.append(meant)
    return {"anyOf": [{"enum": values}, {"enum": values[:1]}, *_LOOSE]}
