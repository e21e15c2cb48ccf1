"""What the tests of videos share: the two calls, and moves for each digit of a code of actions."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.contract.wire import Wire
from tests.fixtures import videos
from tests.fixtures.videos import Moment

SESSION, VERIFY = "/rest/2.0/face/v1/faceliveness/sessioncode", "/rest/2.0/face/v1/faceliveness/verify"
SIDE = 280
"""Pixels of a video's frames."""

MOVES: Mapping[str, Callable[[float], Moment]] = {
    "0": lambda start: videos.blinks(start + 0.1, length=0.3),
    "4": lambda start: videos.raises_head(start, 0.8),
    "5": lambda start: videos.lowers_head(start, 0.8),
    "7": lambda start: videos.shakes_head(start, 1.0),
}


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def post(wire: Wire, path: str, body: Mapping[str, object]) -> dict[str, Any]:
    """The answer in the old envelope; what every one must be is checked."""
    response = wire.response(path, json.dumps(body).encode())
    assert response.status_code == 200
    answer: dict[str, Any] = json.loads(response.content)
    assert list(answer)[:6] == ["err_no", "err_msg", "result", "timestamp", "cached", "serverlogid"]
    assert (answer["error_code"], answer["error_msg"]) == (answer["err_no"], answer["err_msg"])
    assert answer["serverlogid"] == str(answer["log_id"]) == response.headers["x-log-id"]
    assert (answer["result"] is None) == (answer["err_no"] != 0)
    return answer


def opened(wire: Wire, **body: object) -> dict[str, str]:
    answer = post(wire, SESSION, body)
    assert answer["err_msg"] == "SUCCESS", answer
    assert list(answer["result"]) == ["session_id", "code"]
    session: dict[str, str] = answer["result"]
    return session


def failure(wire: Wire, path: str, **body: object) -> tuple[int, str]:
    answer = post(wire, path, body)
    return answer["err_no"], answer["err_msg"]
