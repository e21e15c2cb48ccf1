"""A caller as V2's clients are: true forms, text for numbers, answers without an envelope."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

import httpx

from service.api.v2.routes import CALLS
from tests.contract.wire import Answer, Wire

PATHS = {call.name: call.path for call in CALLS}

Form = Mapping[str, str]


@dataclass(frozen=True)
class Forms:
    """One app's caller."""

    wire: Wire

    def call(self, name: str, form: Form | None = None) -> Answer:
        """A V2 call by its name in the old SDKs. Checks what holds for every answer."""
        return self.checked(self.response(PATHS[name], urlencode(form or {}).encode()))

    def response(self, path: str, content: bytes) -> httpx.Response:
        """Any body to any path."""
        return self.wire.response(path, content, Content_Type="application/x-www-form-urlencoded")

    def result(self, name: str, form: Form | None = None) -> Answer:
        """The answer of a call that must succeed, less its log id."""
        answer = self.call(name, form)
        assert "error_code" not in answer, answer
        return {key: value for key, value in answer.items() if key != "log_id"}

    def failure(self, name: str, form: Form | None = None) -> tuple[int, str]:
        """Code and text of a call that must fail."""
        answer = self.call(name, form)
        assert "error_code" in answer, answer
        return answer["error_code"], answer["error_msg"]

    @staticmethod
    def checked(response: httpx.Response) -> Answer:
        """Decode an answer; what every answer must be is checked."""
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/json"
        answer: Answer = json.loads(response.content)
        if 0 < answer.get("error_code", 0) <= 111:
            assert list(answer) == ["error_code", "error_msg"]
            return answer
        if "error_code" in answer:
            assert list(answer) == ["error_code", "log_id", "error_msg"]
        else:
            assert "error_msg" not in answer
        assert 0 < answer["log_id"] < 2**63
        assert response.headers["x-log-id"] == str(answer["log_id"])
        return answer
