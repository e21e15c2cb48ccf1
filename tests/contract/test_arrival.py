"""Who sends a large body is looked at before it is read, and what finds no room is told so."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from starlette.types import ASGIApp, Message

from service.api import calls
from service.api.application import build_api
from service.api.extensions import UNREAD_BODY
from service.api.linkface import routes as linkface
from service.app import Service
from tests.contract.wire import PATHS, Wire

CHUNK = b" " * 120_000
CHUNKS = 10
ANNOUNCED = {"content-length": str(CHUNKS * len(CHUNK))}
USUAL = {"content-length": "150000"}
"""Too little to be looked at early while there is room."""

IN_CHUNKS = {"transfer-encoding": "chunked"}
FORGED = "24.{mac}.2592000.9999999999.282335-{app_id}"


class Sender:
    """One request with a body in chunks, handed to the application itself."""

    def __init__(self, path: str, query: str = "", headers: Mapping[str, str] = ANNOUNCED) -> None:
        self.come = 0
        self.unwanted: list[int] = []
        """How many chunks had come when the rest was not wanted any more."""
        self.answer = b""
        self.all_but_one = anyio.Event()
        self.last = anyio.Event()
        """Set it to let the last chunk come."""
        extensions: dict[str, Callable[[], object]] = {UNREAD_BODY: lambda: self.unwanted.append(self.come)}
        self._scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
            "extensions": extensions,
        }

    async def send_to(self, api: ASGIApp) -> None:
        await api(self._scope, self._receive, self._send)

    async def _receive(self) -> Message:
        await anyio.lowlevel.checkpoint()
        self.come += 1
        if self.come == CHUNKS:
            self.all_but_one.set()
            await self.last.wait()
        return {"type": "http.request", "body": CHUNK, "more_body": self.come < CHUNKS}

    async def _send(self, message: Message) -> None:
        await anyio.lowlevel.checkpoint()
        self.answer += message.get("body", b"")


@pytest.mark.parametrize("headers", [ANNOUNCED, IN_CHUNKS], ids=str)
def test_a_large_body_is_read_only_for_a_token_that_works(
    service: Service, wire: Wire, headers: dict[str, str]
) -> None:
    api = build_api(service)

    async def sent(token: str) -> tuple[int, list[int]]:
        sender = Sender(PATHS["detect"], f"access_token={token}", headers)
        sender.last.set()
        await sender.send_to(api)
        return json.loads(sender.answer)["error_code"], sender.unwanted

    app = service.apps.by_app_id(wire.credentials.app_id)
    assert app is not None
    assert anyio.run(sent, FORGED.format(mac="0" * 32, app_id=app.app_id)) == (110, [0])
    assert anyio.run(sent, "no-token") == (100, [0])
    assert anyio.run(sent, service.tokens.issue(app, now=0).access_token) == (111, [0])
    assert anyio.run(sent, wire.token) == (222001, [])  # only blanks came: no parameters


def test_a_usual_body_is_read_first_while_there_is_room(service: Service) -> None:
    sender = Sender(PATHS["detect"], "access_token=no-token", USUAL)
    sender.last.set()
    anyio.run(sender.send_to, build_api(service))
    assert (json.loads(sender.answer)["error_code"], sender.unwanted) == (100, [])


def test_no_body_waits_until_a_thread_is_free_to_look_at_its_token(service: Service, wire: Wire) -> None:
    """Its time would run out: it is read at once, and the token looked at afterwards."""
    working, go_on = threading.Event(), threading.Event()
    verify = service.tokens.verify

    def held_up(*asked: Any) -> object:
        working.set()
        assert go_on.wait(30)
        return verify(*asked)

    async def asked() -> None:
        api = build_api(service, threads=1)
        first = Sender(PATHS["detect"], f"access_token={wire.token}", {"content-length": str(len(CHUNK))})
        first.come = CHUNKS - 1
        first.last.set()
        behind = Sender(PATHS["detect"], f"access_token={FORGED.format(mac='0' * 32, app_id='1')}")
        behind.last.set()
        async with anyio.create_task_group() as tasks:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(service.tokens, "verify", held_up)
                tasks.start_soon(first.send_to, api)
                await anyio.to_thread.run_sync(working.wait, 30)
            tasks.start_soon(behind.send_to, api)
            with anyio.fail_after(30):
                await behind.all_but_one.wait()
            go_on.set()
        assert json.loads(behind.answer)["error_code"] in {100, 110}

    anyio.run(asked)


@pytest.mark.parametrize(
    ("path", "busy"),
    [(PATHS["detect"], {"error_code": 18}), (linkface.PATH, {"status": "RATE_LIMIT_EXCEEDED"})],
    ids=["detect", "linkface"],
)
def test_bodies_that_stop_coming_take_no_more_than_the_room(
    service: Service, wire: Wire, path: str, busy: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strangers' ones have room for five of the largest here; who is known finds some beside them."""
    monkeypatch.setattr(calls, "MOST_HELD_BYTES", 10 * CHUNKS * len(CHUNK))

    async def asked() -> None:
        api = build_api(service, max_body_bytes=CHUNKS * len(CHUNK))

        async def refused() -> bool:
            late = Sender(path)
            late.last.set()
            await late.send_to(api)
            answer: dict[str, object] = json.loads(late.answer)
            return busy.items() <= answer.items()

        slow = [Sender(path) for _ in range(5)]
        known = Sender(PATHS["detect"], f"access_token={wire.token}", USUAL)
        async with anyio.create_task_group() as tasks:
            for sender in slow:
                tasks.start_soon(sender.send_to, api)
                await sender.all_but_one.wait()
            assert await refused()
            known.last.set()
            await known.send_to(api)
            assert json.loads(known.answer)["error_code"] == 222001
            for sender in slow:
                sender.last.set()
        assert not await refused()

    anyio.run(asked)
