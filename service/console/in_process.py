"""Calls to the API within this process: checked, counted and logged like any client's requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx
from starlette.types import ASGIApp

from service.access.tokens import Tokens
from service.values import App

_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API answered; ``milliseconds`` from the request to it."""

    content: dict[str, Any]
    milliseconds: float


class InProcessApi:
    """Sends requests to the API of this process, without a network in between."""

    def __init__(self, api: ASGIApp, tokens: Tokens) -> None:
        self._transport = httpx.ASGITransport(app=api)
        self._tokens = tokens

    async def call(self, app: App, path: str, content: bytes) -> Answer:
        """Make a call, its body as JSON, in the name of an app. An error of the API is an answer too."""
        token = self._tokens.issue(app).access_token
        async with httpx.AsyncClient(transport=self._transport, base_url="http://console") as client:
            response = await client.post(path, params={"access_token": token}, content=content, headers=_JSON)
        return Answer(response.json(), response.elapsed.total_seconds() * 1000)
