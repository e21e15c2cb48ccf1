"""Who asked may be gone when a thread's turn comes: any thread of the request can find out."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import anyio
import anyio.to_thread
import pytest
from starlette.requests import Request
from starlette.types import Message

from service.api.calls import hung_up
from service.api.extensions import DISCONNECTED


@pytest.mark.parametrize("gone", [False, True])
def test_a_server_that_tells_only_on_the_event_loop_is_asked_from_any_thread(gone: bool) -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"} if gone else {"type": "http.request"}

    async def asked() -> bool:
        left = hung_up(Request({"type": "http", "headers": []}, receive))

        def in_a_thread_of_its_own() -> bool:
            with ThreadPoolExecutor(1) as pool:
                return pool.submit(left).result()

        return await anyio.to_thread.run_sync(in_a_thread_of_its_own)

    assert anyio.run(asked) is gone


def test_our_server_tells_by_itself() -> None:
    async def asked() -> bool:
        return hung_up(Request({"type": "http", "headers": [], "extensions": {DISCONNECTED: lambda: True}}))()

    assert anyio.run(asked)
