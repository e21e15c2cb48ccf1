"""A database at the end of a slow line, or of one that falls silent: late answers or a clear error, no wrong ones."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import psycopg
import pytest
from sqlalchemy.engine import make_url

from service.errors import DatabaseUnavailable
from service.search.catalog import Catalog
from service.storage.engine import Database, connect_arguments
from service.storage.listener import Listener
from service.storage.source import PostgresChangeSource
from service.storage.urls import driver_address
from tests.fixtures.library import DIMENSION, MODEL, enrol, new_app, random_embedding
from tests.fixtures.waiting import wait_for

DELAY = 0.005
"""Seconds for every piece, in both directions."""


@dataclass
class Line:
    """A TCP port in front of the database's socket."""

    target: str
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    delay: float = 0.0
    gate: Callable[[], bool] = lambda: True
    """Whether what comes from the database is passed on."""
    ends: list[socket.socket] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        """Accept until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                near, _ = self.listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self.target)
                self.ends += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(source, sink), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                time.sleep(self.delay)
                while source.family == socket.AF_UNIX and not self.gate():
                    time.sleep(0.01)
                sink.sendall(piece)

    def cut(self) -> None:
        """Reset what is connected, as a machine does that knows nothing of it."""
        for end in self.ends:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.ends.clear()


@pytest.fixture
def line(database_url: str) -> Iterator[Line]:
    folder = str(make_url(database_url).query["host"])
    line = Line(f"{folder}/.s.PGSQL.5432")
    thread = threading.Thread(target=line.serve)
    thread.start()
    try:
        yield line
    finally:
        line.cut()
        line.listener.shutdown(socket.SHUT_RDWR)
        line.listener.close()
        thread.join()


@pytest.fixture
def distant(database_url: str, line: Line) -> Iterator[Database]:
    """The database, over the line."""
    url = make_url(database_url).set(host="127.0.0.1", port=line.port, query={"sslmode": "disable"})
    database = Database(url.render_as_string(hide_password=False), pool_size=2)
    yield database
    database.close()


def test_a_slow_line_costs_time_alone(line: Line, distant: Database) -> None:
    line.delay = DELAY
    app = new_app(distant)
    catalog = Catalog(PostgresChangeSource(distant, MODEL, DIMENSION), DIMENSION)
    catalog.load()
    for number in range(3):
        seq = enrol(distant, app, "group", f"u{number}", f"t{number}", random_embedding(number))
        catalog.catch_up(app.pk, seq)
    with distant.read() as reader:
        groups = list(reader.groups.pks(app.pk, ["group"]).values())
        names = {entry.pk: entry.user_id for entry in reader.users.entries(app.pk, "u1")}
    (hit,) = catalog.search(app.pk, groups, random_embedding(1), 1, 0.5)
    assert names[hit.user_pk] == "u1"


def test_a_line_that_is_cut_is_told_and_the_next_connection_works(line: Line, distant: Database) -> None:
    app = new_app(distant)

    def be_cut_off() -> None:
        with distant.write(app.pk) as work:
            work.groups.insert("group")
            line.cut()
            work.groups.insert("another")

    with pytest.raises(DatabaseUnavailable):
        be_cut_off()
    with distant.read() as reader:
        assert reader.groups.names(app.pk, 0, 10) == []
    assert enrol(distant, app, "group", "user", "t", random_embedding(1)) == 1


def test_who_ends_does_not_wait_for_a_database_that_stands_still(line: Line, distant: Database) -> None:
    """As one that was stopped: it takes what it is sent, and answers nothing."""
    app = new_app(distant)
    begun, answers = threading.Event(), threading.Event()
    line.gate = answers.is_set

    def ask() -> None:
        with distant.read() as reader:
            begun.set()
            reader.groups.names(app.pk, 0, 10)

    def hold() -> None:
        with distant.bulk() as connection:
            connection.execute("SELECT 1")

    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask)
        try:
            assert begun.wait(20)
            assert not asked.done()
            distant.lines.cut_after(0.1)
            with pytest.raises(DatabaseUnavailable):
                asked.result(20)
        finally:
            answers.set()
    for attempt in (ask, hold):
        with pytest.raises(DatabaseUnavailable, match="the process ends"):
            attempt()
    with psycopg.connect(driver_address(distant.url)) as late:  # it was being made meanwhile
        distant.lines.add(late)
        with pytest.raises(psycopg.OperationalError):
            late.execute("SELECT 1")


def test_nothing_is_broken_off_where_the_end_came_in_time(distant: Database) -> None:
    distant.lines.cut_after(0.1)
    distant.close()
    time.sleep(0.3)
    assert not distant.lines.were_cut


def test_who_listens_ends_with_the_others(distant: Database) -> None:
    """And brings back no database of its own, which would take minutes."""
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    listener = Listener(
        distant.url,
        on_change=lambda *_: None,
        on_app=lambda _: None,
        on_connect=lambda: heard.put("connected"),
        on_lost=lambda: heard.put("lost"),
        lines=distant.lines,
    )
    listener.start()
    assert heard.get(timeout=20) == "connected"
    distant.lines.cut()
    wait_for(lambda: not listener._background._thread.is_alive())
    assert heard.empty()
    listener.stop()


def test_a_peer_that_vanished_is_given_up(distant: Database) -> None:
    """Amid a statement too, where the system would send it again for a quarter of an hour."""
    with psycopg.connect(driver_address(distant.url), **connect_arguments()) as connection:
        found = socket.socket(fileno=os.dup(connection.fileno()))
        with found:
            assert found.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
