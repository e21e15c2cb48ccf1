"""A server that stops has no more time for some requests: they are answered, and nothing keeps it from its end."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
import uvicorn

from examples.linkface_liveness_data import encode
from service import state
from service.api.application import build_api
from service.api.linkface import routes as linkface
from service.app import Service
from tests.contract.wire import PATHS, Wire
from tests.fixtures.lived import patience
from tests.fixtures.pictures import Pictures

Ask = Callable[[httpx.Client], httpx.Response]


@contextmanager
def stopped_amid(service: Service, ask: Ask, begun: Callable[[], bool]) -> Iterator[Callable[[], httpx.Response]]:
    """A server has been told to stop, with a second of grace, while it was being asked; gives what it answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
        config = uvicorn.Config(build_api(service), log_config=None, ws="none", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx.Client(base_url=base, timeout=60, trust_env=False) as client:
            asked = pool.submit(ask, client)
            assert any(begun() for _ in patience(60))
            server.should_exit = True
            thread.join()
            yield lambda: asked.result(60)


@pytest.mark.parametrize("call", ["detect", "linkface"])
def test_a_call_that_takes_too_long_is_answered(
    service: Service, wire: Wire, pictures: Pictures, caplog: pytest.LogCaptureFixture, call: str
) -> None:
    """Its turn does not come, as behind pictures of hosts that never answer."""

    def ask(client: httpx.Client) -> httpx.Response:
        picture = pictures.bytes("obama.jpg")
        if call == "linkface":
            keys = {"api_id": wire.credentials.api_key, "api_secret": wire.credentials.secret_key}
            files = {"selfie_file": picture, "liveness_data_file": encode([picture])}
            return client.post(linkface.PATH, data=keys, files=files)
        body = {"image": base64.b64encode(picture).decode(), "image_type": "BASE64"}
        return client.post(PATHS["detect"], params={"access_token": wire.token}, json=body)

    full = service.admission.permit(), service.admission.permit()
    with full[0], full[1], stopped_amid(service, ask, lambda: service.admission.waiting == 1) as answered:
        response = answered()
    told = response.json()
    expected = {
        "detect": (200, {"error_code": 2, **told}),
        "linkface": (403, {"status": "RATE_LIMIT_EXCEEDED", **told}),
    }
    assert (response.status_code, told) == expected[call]
    assert response.headers["connection"] == "close"
    assert [record for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize(("path", "look"), [("/readyz", "readiness"), ("/metrics", "look")])
def test_who_asks_how_it_is_keeps_it_from_nothing(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, path: str, look: str
) -> None:
    """The database may stand still, and not answer before the server has ended."""
    asked, ended = threading.Event(), threading.Event()
    in_time: list[bool] = []

    def looking(_service: object) -> None:
        asked.set()
        in_time.append(ended.wait(20))

    monkeypatch.setattr(state, look, looking)
    with stopped_amid(service, lambda client: client.get(path), asked.is_set) as answered:
        ended.set()
        response = answered()
    assert any(in_time for _ in patience(60))
    assert in_time == [True]
    assert response.status_code == 503
    assert "the server stops" in response.text
    assert [record for record in caplog.records if record.exc_info] == []
