"""The OpenAPI document with an answer of every call, as this server gave it (``answers.json``).

Recorded by ``tests/contract/test_documented_answers.py``, which also compares them with what is answered today.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

ANSWERS = Path(__file__).with_name("answers.json")
JSON = "application/json"


def with_answers(generate: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    """``generate`` makes the document; the result makes it with an example in the first answer of each operation."""

    def document() -> dict[str, Any]:
        made = generate()
        for operation, answer in json.loads(ANSWERS.read_text(encoding="utf-8")).items():
            method, path = operation.split()
            if path in made["paths"]:
                content = made["paths"][path][method.lower()]["responses"]["200"].setdefault("content", {})
                content.setdefault(JSON, {})["example"] = answer
        return made

    return document
