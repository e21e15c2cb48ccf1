"""Stopping and restarting under load, the polite way: nothing that was accepted is lost."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.fixtures.lived import Watch, patience
from tests.fixtures.pictures import Pictures
from tests.fixtures.server import Credentials, Home, Server
from tests.torture.caller import BROKEN, Caller
from tests.torture.figures import Figures

CLIENTS = 8
POLL_SECONDS = 0.2
READY_SECONDS, STOP_SECONDS = 180.0, 300.0
DELAY = "3"
"""Seconds that a replica goes on answering after it says that it stops; a balancer asks much more often."""

GRACE = "120"
"""Seconds for what is being looked at, on a machine that has other work."""

RUNNING = re.compile(r"^aipface_requests_running (\d+)", re.MULTILINE)


@dataclass
class Balancer:
    """A client of several replicas that asks those which say to be ready, and never asks twice."""

    credentials: Credentials
    replicas: dict[str, Server] = field(default_factory=dict)
    ready: list[str] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    restart: Watch = field(default_factory=Watch)
    """Since the last restart began."""
    _stopping: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Watch and ask in threads of their own throughout the block."""
        threads = [threading.Thread(target=work) for work in (self._watch, self._ask, self._ask)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in threads:
                thread.join()

    def _watch(self) -> None:
        caller = Caller("", self.credentials)
        with caller.connected():
            while not self._stopping.wait(POLL_SECONDS):
                found = []
                for url in list(self.replicas):
                    caller.base_url = url
                    if caller.ready():
                        found.append(url)
                self.ready = found

    def _ask(self) -> None:
        callers: dict[str, Caller] = {}
        number = 0
        while not self._stopping.is_set():
            ready = self.ready
            if not ready:
                time.sleep(0.01)
                continue
            number += 1
            url = ready[number % len(ready)]
            if url not in callers:
                callers[url] = Caller(url, self.credentials).log_in()
            restart, (code, _) = self.restart, callers[url].call("faceset/group/getlist", {})
            if code == BROKEN and restart.stood_still():
                continue  # the delay passed while nobody could look whether the replica stops
            self.codes[code] += 1
        for caller in callers.values():
            with caller.connected():
                pass

    def await_ready(self, number: int) -> None:
        """Return when so many replicas are ready and have been asked."""
        assert any(len(self.ready) == number for _ in patience(READY_SECONDS)), "the replicas do not become ready"
        answered = sum(self.codes.values())
        assert any(sum(self.codes.values()) >= answered + 10 for _ in patience(READY_SECONDS)), "nobody is asked"


def test_a_rolling_restart(home: Home, pictures: Pictures, long: bool, figures: Figures) -> None:
    restarts = 10 if long else 1
    balancer = Balancer(home.create_app("rolling"))
    running: list[Server] = []
    try:
        running.extend(started(home, balancer) for _ in range(2))
        with balancer.asking():
            balancer.await_ready(2)
            for _ in range(restarts):
                oldest, balancer.restart = running.pop(0), Watch()
                oldest.process.send_signal(signal.SIGTERM)
                assert oldest.process.wait(STOP_SECONDS) == 0, oldest.output()
                del balancer.replicas[oldest.base_url]
                running.append(started(home, balancer))
                balancer.await_ready(2)
        assert set(balancer.codes) == {0}
        figures.add("rolling restart of two replicas", restarts=restarts, requests=balancer.codes[0], failed=0)
        for server in running:
            stop_under_load(server, balancer.credentials, pictures)
        figures.add("SIGTERM amid pictures", servers=len(running), accepted=CLIENTS * len(running), lost=0)
    finally:
        for server in running:
            server.kill()


def stop_under_load(server: Server, credentials: Credentials, pictures: Pictures) -> None:
    """Without any delay, while pictures are looked at: each caller gets a full answer, and the process ends with 0."""
    caller = Caller(server.base_url, credentials).log_in()
    content = {"image": pictures.base64("obama.jpg"), "image_type": "BASE64", "max_face_num": 1}
    codes: list[int] = []

    def ask() -> None:
        with caller.connected():
            codes.append(caller.call("detect", content)[0])

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    with caller.connected():  # closed before the server stops, which waits for no idle connection
        assert any(len(codes) + running(caller) >= CLIENTS for _ in patience(READY_SECONDS, 0.005))
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.01)
    server.process.send_signal(signal.SIGTERM)  # the second skips the delay
    for thread in threads:
        thread.join()
    assert codes == [0] * CLIENTS
    assert server.process.wait(STOP_SECONDS) == 0, server.output()


def running(caller: Caller) -> int:
    """How many requests the server is answering."""
    found = RUNNING.search(caller.client().get(f"{caller.base_url}/metrics").text)
    assert found is not None
    return int(found[1])


def started(home: Home, balancer: Balancer) -> Server:
    """One more replica, which the balancer knows."""
    server = home.start(SHUTDOWN_DELAY=DELAY, SHUTDOWN_GRACE=GRACE)
    server.wait_until_ready()
    balancer.replicas[server.base_url] = server
    return server
