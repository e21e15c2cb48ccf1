"""The request collections are those of this version, can be imported, and need nothing that a reader cannot fill in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, cast

import pytest

from examples import make_requests
from service.api.application import build_api
from service.api.ports import UseCases

Item = dict[str, Any]


@pytest.fixture(scope="module")
def collection() -> Item:
    content: Item = json.loads((make_requests.FOLDER / "aipface.postman_collection.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def text() -> str:
    return (make_requests.FOLDER / "aipface.http").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def operations() -> set[tuple[str, str]]:
    paths = build_api(cast(UseCases, None)).openapi()["paths"]
    return {(method.upper(), path) for path, methods in paths.items() for method in methods}


def items(collection: Item) -> Iterator[Item]:
    for folder in collection["item"]:
        yield from folder["item"]


@pytest.mark.parametrize("name", make_requests.FILES)
def test_they_are_current(name: str) -> None:
    """Mend it with: python -m examples.make_requests."""
    assert (make_requests.FOLDER / name).read_text(encoding="utf-8") == make_requests.FILES[name]()


def test_they_have_every_call(collection: Item, text: str, operations: set[tuple[str, str]]) -> None:
    requests = [item["request"] for item in items(collection)]
    assert {(each["method"], "/" + "/".join(each["url"]["path"])) for each in requests} == operations
    sent = re.findall(r"^(GET|POST) \{\{baseUrl\}\}([^?\s]+)", text, re.MULTILINE)
    assert set(sent) == operations


def test_the_collection_has_the_form_that_tools_import(collection: Item) -> None:
    assert set(collection) == {"info", "item", "variable"}
    assert collection["info"]["schema"] == make_requests.SCHEMA
    for item in items(collection):
        request = item["request"]
        assert request["url"]["raw"].startswith("{{baseUrl}}/")
        assert request.get("body", {"mode": "raw"})["mode"] in {"raw", "urlencoded", "formdata"}
        if request.get("body", {}).get("mode") == "raw":
            json.loads(request["body"]["raw"])
        for saved in item["response"]:
            json.loads(saved["body"])


def test_every_variable_is_declared(collection: Item, text: str) -> None:
    known = set(make_requests.VARIABLES)
    assert {each["key"] for each in collection["variable"]} == known
    assert set(re.findall(r"\{\{(\w+)\}\}", json.dumps(collection))) <= known
    assert set(re.findall(r"^@(\w+) =", text, re.MULTILINE)) == known
    assert set(re.findall(r"\{\{(\w+)\}\}", text)) <= known


def test_no_example_asks_for_what_nobody_has(collection: Item, text: str) -> None:
    for content in (json.dumps([item["request"] for item in items(collection)]), text):
        assert "example.org/picture" not in content
        assert "/9j/4AAQ" not in content


def test_saved_answers_are_successes(collection: Item) -> None:
    """Those of the calls that are refused always apart."""
    saved = [(item["name"], json.loads(item["response"][0]["body"])) for item in items(collection) if item["response"]]
    refused = [name for name, answer in saved if answer.get("error_code", 0) != 0]
    assert len(saved) > 45
    assert all("not offered" in name for name in refused)
