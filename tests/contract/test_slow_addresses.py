"""Hosts that accept a connection and say nothing: they hold half of the room, and the other half serves."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from service.app import Service
from service.metrics import REGISTRY
from tests.contract.wire import Wire
from tests.fixtures.pictures import Pictures
from tests.fixtures.waiting import wait_for

TOO_MANY = 7


@contextmanager
def tarpit() -> Iterator[tuple[int, list[socket.socket]]]:
    """Its port, and whom it keeps waiting; all are let go when the block ends."""
    held: list[socket.socket] = []
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100))

        def accept() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        def let_go() -> None:
            for connection in held:
                connection.close()

        thread = threading.Thread(target=accept)
        thread.start()
        stack.callback(let_go)
        stack.callback(thread.join)
        stack.callback(listener.shutdown, socket.SHUT_RDWR)
        yield listener.getsockname()[1], held


def refused() -> float:
    return REGISTRY.get_sample_value("aipface_admission_refused_total", {"where": "download"}) or 0.0


def test_slow_hosts_hold_half_of_the_room(service: Service, wire: Wire, pictures: Pictures) -> None:
    room = (service.admission.permits + service.admission.queue_limit) // 2
    before = refused()
    with ThreadPoolExecutor(room + TOO_MANY) as pool:
        with tarpit() as (port, held):
            slow = {"image": f"http://localhost:{port}/", "image_type": "URL"}
            codes = [pool.submit(wire.code, "detect", slow) for _ in range(room + TOO_MANY)]
            wait_for(lambda: sum(code.done() for code in codes) == TOO_MANY and len(held) == room)
            assert {code.result() for code in codes if code.done()} == {18}
            assert refused() == before + TOO_MANY
            sent = {"image": pictures.base64("obama.jpg"), "image_type": "BASE64"}
            assert wire.result("detect", sent)["face_num"] == 1
        assert sorted(code.result() for code in codes) == [18] * TOO_MANY + [222204] * room
    assert wire.code("detect", slow) == 222204  # there is room again
