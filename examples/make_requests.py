"""Writes the request collections beside it, for the usual HTTP tools, from the OpenAPI document of this version.

``requests/aipface.postman_collection.json`` is read by Postman, Insomnia, Bruno, Hoppscotch and others,
``requests/aipface.http`` by the REST clients of editors. docs/requests.md says how to use them.

    python -m examples.make_requests
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

from service.api.application import build_api
from service.api.ports import UseCases

FOLDER = Path(__file__).with_name("requests")
SCHEMA = "https://schema.getpostman.com/json/collection/v2.1.0/collection.json"
JSON, FORM, MULTIPART = "application/json", "application/x-www-form-urlencoded", "multipart/form-data"
TOKEN = "/oauth/2.0/token"  # noqa: S105 (a path)
TITLES = {
    "oauth": "1 Access token",
    "v3": "2 V3",
    "v4": "3 V4",
    "v2": "4 V2",
    "v1": "5 V1: videos, landmarks",
    "scene": "6 Scenes",
    "linkface": "7 Linkface",
    "envelope": "8 Capture envelopes",
    "feedback": "8 Feedback",
    "editing": "9 Refused",
    "health": "9 Health",
}

VARIABLES = {
    "baseUrl": "http://127.0.0.1:8000",
    "api_key": "",
    "secret_key": "",
    "access_token": "",
    "picture": "",
    "video": "",
    "group_id": "group1",
    "user_id": "user1",
}
"""What a reader fills in; ``picture`` and ``video`` are base64, ``access_token`` comes with the first request."""

_WORDS = {
    "https://example.org/picture.jpg": "{{picture}}",
    "/9j/4AAQSkZJRgABAQAAAQABAAD": "{{picture}}",
    "AAAAIGZ0eXBpc29tAAACAGlzb21pc28y": "{{video}}",
    "the API key": "{{api_key}}",
    "the secret key": "{{secret_key}}",
}
"""Placeholders of the document's examples and the variables that take their places."""

_IDS = {"group_id": "{{group_id}}", "group_id_list": "{{group_id}}", "user_id": "{{user_id}}", "uid": "{{user_id}}"}
_KEEP_TOKEN = "pm.collectionVariables.set('access_token', pm.response.json().access_token)"  # noqa: S105 (a script)


@dataclass(frozen=True)
class Example:
    """One request that can be sent when the variables are filled in."""

    folder: str
    name: str
    method: str
    path: str
    query: Mapping[str, str]
    kind: str
    body: Any
    answer: Any

    @property
    def address(self) -> str:
        """With variables in double braces, which are left as they are."""
        query = urlencode(self.query, safe="{}@")
        return f"{{{{baseUrl}}}}{self.path}" + (f"?{query}" if query else "")


def examples() -> Iterator[Example]:
    """Every call of the OpenAPI document."""
    document = build_api(cast(UseCases, None)).openapi()  # no request is made: nothing stands behind it
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            parameters = described.get("parameters", ())
            query = {item["name"]: str(_filled(item["example"])) for item in parameters if "example" in item}
            if any(item["name"] == "access_token" for item in parameters):
                query = {"access_token": "{{access_token}}", **query}
            kind, content = next(iter(described.get("requestBody", {}).get("content", {}).items()), ("", {}))
            answer = described["responses"]["200"].get("content", {}).get(JSON, {}).get("example")
            yield Example(
                TITLES[described["tags"][0]],
                described["summary"].rstrip("."),
                method.upper(),
                path,
                query if path != TOKEN or method == "get" else {},
                FORM if path == TOKEN and method == "post" else kind,
                query if path == TOKEN and method == "post" else _body(kind, content),
                answer,
            )


def _body(kind: str, content: Mapping[str, Any]) -> Any:
    if kind != MULTIPART:
        return _filled(content.get("example"))
    names = content["schema"]["properties"].items()
    known = {"api_id": "{{api_key}}", "api_secret": "{{secret_key}}"}
    return {name: known.get(name, "") for name, each in names if name in known or each.get("format") == "binary"}


def _filled(example: Any) -> Any:
    """An example with variables for pictures, keys and ids."""
    if isinstance(example, Mapping):
        named = {name: _IDS.get(name, _filled(value)) for name, value in example.items()}
        return {**named, "image_type": "BASE64"} if named.get("image_type") == "URL" else named
    if isinstance(example, list):
        return [_filled(each) for each in example]
    if isinstance(example, str):
        return ",".join(_WORDS.get(word, word) for word in example.split(","))
    return example


def postman() -> str:
    """The collection in Postman's format 2.1, a folder for each generation of the API, with recorded answers."""
    folders: dict[str, list[dict[str, Any]]] = {}
    for example in examples():
        folders.setdefault(example.folder, []).append(_item(example))
    content = {
        "info": {
            "name": "aipface-server",
            "description": "Fill in api_key and secret_key, get a token, and put a picture's base64 into picture.",
            "schema": SCHEMA,
        },
        "item": [{"name": name, "item": items} for name, items in sorted(folders.items())],
        "variable": [{"key": name, "value": value} for name, value in VARIABLES.items()],
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _item(example: Example) -> dict[str, Any]:
    request: dict[str, Any] = {
        "method": example.method,
        "header": [{"key": "Content-Type", "value": example.kind}] if example.kind in {JSON, FORM} else [],
        "url": {
            "raw": example.address,
            "host": ["{{baseUrl}}"],
            "path": example.path.strip("/").split("/"),
            "query": [{"key": name, "value": value} for name, value in example.query.items()],
        },
    }
    if example.kind:
        request["body"] = _postman_body(example)
    item: dict[str, Any] = {"name": example.name, "request": request, "response": []}
    if example.path == TOKEN:
        item["event"] = [{"listen": "test", "script": {"type": "text/javascript", "exec": [_KEEP_TOKEN]}}]
    elif example.answer is not None:
        text = json.dumps(example.answer, ensure_ascii=False)
        saved = {"name": "as recorded", "code": 200, "status": "OK", "_postman_previewlanguage": "json", "body": text}
        item["response"] = [{**saved, "header": [{"key": "Content-Type", "value": JSON}]}]
    return item


def _postman_body(example: Example) -> dict[str, Any]:
    if example.kind == JSON:
        return {"mode": "raw", "raw": _json(example.body), "options": {"raw": {"language": "json"}}}
    if example.kind == FORM:
        return {"mode": "urlencoded", "urlencoded": [{"key": key, "value": text} for key, text in example.body.items()]}
    fields = [
        {"key": key, "type": "file", "src": []} if not text else {"key": key, "type": "text", "value": text}
        for key, text in example.body.items()
    ]
    return {"mode": "formdata", "formdata": fields}


def http_file() -> str:
    """The requests as text, as the REST clients of editors read it; files of a multipart form lie beside it."""
    lines = ["# Written by examples/make_requests.py. Fill in the keys, send the first request, and go on.", ""]
    lines += [f"@{name} = {value}".rstrip() for name, value in VARIABLES.items() if name != "access_token"]
    lines += ["@access_token = {{token.response.body.access_token}}", ""]
    for example in sorted(examples(), key=lambda each: each.folder):
        lines += [f"### {example.folder[2:]}: {example.name}"]
        lines += ["# @name token"] if (example.path, example.method) == (TOKEN, "GET") else []
        lines += [f"{example.method} {example.address}", *_http_body(example), ""]
    return "\n".join(lines)


def _http_body(example: Example) -> list[str]:
    if example.kind == JSON:
        return [f"Content-Type: {JSON}", "", _json(example.body)]
    if example.kind == FORM:
        return [f"Content-Type: {FORM}", "", urlencode(example.body, safe="{}@,")]
    if example.kind == MULTIPART:
        lines = [f"Content-Type: {MULTIPART}; boundary=part", ""]
        for name, text in example.body.items():
            what = f'name="{name}"' if text else f'name="{name}"; filename="{name}"'
            lines += ["--part", f"Content-Disposition: form-data; {what}", "", text or f"< ./{name}"]
        return [*lines, "--part--"]
    return []


def _json(body: Any) -> str:
    return json.dumps(body, ensure_ascii=False, indent=2)


FILES = {"aipface.postman_collection.json": postman, "aipface.http": http_file}


def main() -> None:
    """Write both files."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in FILES.items():
        (FOLDER / name).write_text(content(), encoding="utf-8")


if __name__ == "__main__":
    main()
