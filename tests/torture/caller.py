"""A client that expects the worst: it reports what came back, or that nothing did, and never raises."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx

from tests.fixtures.server import Credentials

V3 = "/rest/2.0/face/v3"
BROKEN = -1
"""In place of a code: the connection was refused, or broke before the answer."""


@dataclass
class Caller:
    """One app's client; threads may share it, each closes its connections by ``connected``.

    ``base_url`` may change while it is used.
    """

    base_url: str
    credentials: Credentials
    timeout: float = 300.0
    """Seconds: longer than the server grants a request and the machine stands still."""
    token: str = ""
    statuses: set[int] = field(default_factory=set)
    """Every HTTP status seen."""
    broken: Counter[str] = field(default_factory=Counter)
    """How connections broke."""
    _clients: threading.local = field(default_factory=threading.local)

    @contextmanager
    def connected(self) -> Iterator[Caller]:
        """Close the calling thread's connections at the end of the block."""
        try:
            yield self
        finally:
            self.client().close()
            del self._clients.client

    def log_in(self) -> Caller:
        """Fetch a token; it works for every replica and after every restart."""
        wanted = {
            "grant_type": "client_credentials",
            "client_id": self.credentials.api_key,
            "client_secret": self.credentials.secret_key,
        }
        answer = httpx.get(f"{self.base_url}/oauth/2.0/token", params=wanted, timeout=self.timeout, trust_env=False)
        self.token = answer.json()["access_token"]
        return self

    def call(self, name: str, content: object) -> tuple[int, dict[str, object]]:
        """Code and result of a V3 call; ``BROKEN`` where there was no answer."""
        try:
            response = self.client().post(
                f"{self.base_url}{V3}/{name}", params={"access_token": self.token}, content=json.dumps(content)
            )
        except httpx.TransportError as error:
            self.broken[repr(error)] += 1
            return BROKEN, {}
        self.statuses.add(response.status_code)
        answer = response.json()
        return int(answer["error_code"]), answer.get("result") or {}

    def ready(self) -> bool:
        """What ``/readyz`` says; ``False`` when nobody answers."""
        try:
            return self.client().get(f"{self.base_url}/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def checks(self) -> dict[str, str]:
        """The details of ``/readyz`` by name."""
        checks = self.client().get(f"{self.base_url}/readyz").json()["checks"]
        return {check["name"]: check["detail"] for check in checks}

    def client(self) -> httpx.Client:
        """The calling thread's own client."""
        if not hasattr(self._clients, "client"):
            self._clients.client = httpx.Client(timeout=self.timeout, trust_env=False)
        client: httpx.Client = self._clients.client
        return client
