"""Who hangs up while waiting for a turn is not worked for."""

from __future__ import annotations

import socket
import time

import httpx
import pytest

from service.app import Service
from service.inference.engine import Engine
from tests.contract.wire import PATHS, Wire
from tests.fixtures.pictures import Pictures


def test_request_of_a_client_that_left_is_dropped(
    service: Service, http: httpx.Client, wire: Wire, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[int] = []
    detect = Engine.detect

    def counted(engine: Engine, image: object, limit: int) -> object:
        looked.append(limit)
        return detect(engine, image, limit)  # type: ignore[arg-type]

    monkeypatch.setattr(Engine, "detect", counted)
    body = httpx.Request("POST", "http://x", json={"image": pictures.base64("obama.jpg"), "image_type": "BASE64"})
    head = (
        f"POST {PATHS['detect']}?access_token={wire.token} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body.content)}\r\n\r\n"
    )
    url = http.base_url
    with service.admission.permit(), service.admission.permit():
        with socket.create_connection((url.host, url.port or 80)) as connection:
            connection.sendall(head.encode() + body.content)
            wait_for(service, 1)
        time.sleep(0.2)  # for the server to see the end
    wait_for(service, 0)
    wire.result("detect", {"image": pictures.base64("obama.jpg"), "image_type": "BASE64"})
    assert looked == [1]  # that of the second request


def wait_for(service: Service, waiting: int) -> None:
    deadline = time.monotonic() + 10
    while service.admission.waiting != waiting:
        assert time.monotonic() < deadline
        time.sleep(0.01)
