"""A request as code: for curl, for the official Python client, for the official Node client."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

PICTURES = ("picture.jpg", "other.jpg")
"""Stand for the pictures of a request, in this order."""

_MARK = "<picture {}>"
_PYTHON = """import base64
from aip import AipFace

BASE = {base}
AipFace._AipBase__accessTokenUrl = f"{{BASE}}/oauth/2.0/token"
for name, value in vars(AipFace).items():  # the client has no setting for its host
    if name.startswith("_AipFace__") and isinstance(value, str) and value.startswith("https://aip.baidubce.com"):
        setattr(AipFace, name, value.replace("https://aip.baidubce.com", BASE))

def picture(path):
    return base64.b64encode(open(path, "rb").read()).decode()

client = AipFace({app_id}, {api_key}, SECRET_KEY)
print(client.{method}({arguments}))
"""
_NODE = """const fs = require('fs');
const {{face: AipFace, HttpClient}} = require('baidu-aip-sdk');

HttpClient.setRequestInterceptor(options => {{
    options.url = options.url.replace('https://aip.baidubce.com', {base});
    return options;
}});
const picture = path => fs.readFileSync(path).toString('base64');

const client = new AipFace({app_id}, {api_key}, SECRET_KEY);
client.{method}({arguments}).then(answer => console.log(JSON.stringify(answer)));
"""
_CURL = """BASE={base}
TOKEN=$(curl -s "$BASE/oauth/2.0/token" -d grant_type=client_credentials \\
  -d client_id={api_key} -d "client_secret=$SECRET_KEY" | sed 's/.*"access_token":"\\([^"]*\\).*/\\1/')
curl -s "$BASE{path}?access_token=$TOKEN" -H 'Content-Type: application/json' --data @- <<JSON
{body}
JSON
"""


def mark(number: int) -> str:
    """Stands in a request for its picture of this number, from 0."""
    return _MARK.format(number)


def curl(base: str, api_key: str, path: str, body: object) -> str:
    """Lines for a shell in which ``SECRET_KEY`` is set."""
    text = json.dumps(body, ensure_ascii=False, indent=1)
    text = re.sub(r"([\\$`])", r"\\\1", text)
    for number, name in enumerate(PICTURES):
        text = text.replace(mark(number), f"$(base64 -w0 {name})")
    return _CURL.format(base=_shell(base), api_key=api_key, path=path, body=text)


def python(base: str, app_id: str, api_key: str, method: str, arguments: Sequence[object]) -> str:
    """A program for the client ``baidu-aip``; ``SECRET_KEY`` is left to the reader."""
    shown = ", ".join(_with_pictures(repr(argument), '"') for argument in arguments)
    return _PYTHON.format(base=repr(base), app_id=repr(app_id), api_key=repr(api_key), method=method, arguments=shown)


def node(base: str, app_id: str, api_key: str, method: str, arguments: Sequence[object]) -> str:
    """A program for the client ``baidu-aip-sdk``."""
    shown = ", ".join(_with_pictures(json.dumps(argument, ensure_ascii=False), '"') for argument in arguments)
    quoted = {name: json.dumps(text) for name, text in (("base", base), ("app_id", app_id), ("api_key", api_key))}
    return _NODE.format(**quoted, method=method, arguments=shown)


def all_samples(
    base: str, app_id: str, api_key: str, path: str, body: object, method: str, arguments: Sequence[object]
) -> Mapping[str, Any]:
    """Every sample by its language."""
    return {
        "curl": curl(base, api_key, path, body),
        "python": python(base, app_id, api_key, method, arguments),
        "node": node(base, app_id, api_key, method, arguments),
    }


def _with_pictures(code: str, quote: str) -> str:
    """``code`` with calls of ``picture`` in place of the marks, whichever quotes stand around them."""
    for number, name in enumerate(PICTURES):
        for around in "'\"":
            code = code.replace(f"{around}{mark(number)}{around}", f"picture({quote}{name}{quote})")
    return code


def _shell(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
