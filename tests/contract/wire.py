"""A caller that speaks plain HTTP, so that tests see what goes over the wire and nothing is smoothed over."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import httpx

from service.api.v3 import person, routes
from service.api.v4 import routes as v4
from service.values import AppCredentials

PATHS = {call.name: call.path for call in (*routes.CALLS, *person.CALLS, *v4.CALLS)}

BESIDE = {"dec_image", "risk_level", "risk_tag", "risk_warn_code"}
"""What V4 may answer beside a result."""

Body: TypeAlias = Mapping[str, object] | Sequence[Mapping[str, object]]
Answer: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Wire:
    """One app's caller. Groups named in tests need not be unique: the app is the test's own."""

    http: httpx.Client
    credentials: AppCredentials
    token: str

    def call(self, name: str, body: Body | None = None) -> Answer:
        """A call of V3 or V4 by its Python name, as the Python SDK sends it. Checks what holds for every answer."""
        return self.post(PATHS[name], json.dumps({} if body is None else body, ensure_ascii=False).encode())

    def post(self, path: str, content: bytes, *, query: str | None = None, **headers: str) -> Answer:
        """Any call with any body; ``query`` replaces the one with the token."""
        return checked(self.response(path, content, query=query, **headers))

    def response(self, path: str, content: bytes, *, query: str | None = None, **headers: str) -> httpx.Response:
        """As ``post``, unchecked."""
        query = f"access_token={self.token}&aipSdk=python&aipVersion=4.15.13" if query is None else query
        sent = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(f"{path}?{query}" if query else path, content=content, headers=sent)

    def result(self, name: str, body: Body | None = None) -> Any:
        """The result of a call that must succeed."""
        answer = self.call(name, body)
        assert answer["error_code"] == 0, answer
        return answer["result"]

    def code(self, name: str, body: Body | None = None) -> int:
        """The code of a call that must fail."""
        answer = self.call(name, body)
        assert answer["error_code"] != 0, answer
        return int(answer["error_code"])


def checked(response: httpx.Response) -> Answer:
    """Decode an answer; what every answer must be is checked."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    answer: Answer = json.loads(response.content)
    if 0 < answer["error_code"] <= 111:
        assert list(answer) == ["error_code", "error_msg"]
        return answer
    envelope, beside = list(answer)[:6], list(answer)[6:]
    assert envelope == ["error_code", "error_msg", "log_id", "timestamp", "cached", "result"]
    assert not beside or (answer["error_code"] == 0 and set(beside) <= BESIDE)
    assert 0 < answer["log_id"] < 2**63
    assert response.headers["x-log-id"] == str(answer["log_id"])
    assert type(answer["timestamp"]) is int
    assert answer["cached"] == 0
    if answer["error_code"] == 0:
        assert answer["error_msg"] == "SUCCESS"
    else:
        assert answer["result"] is None
    return answer
