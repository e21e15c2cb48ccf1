"""Hearing of changes across connections."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from service.errors import ServiceUnavailable
from service.storage.engine import Database
from service.storage.listener import Listener
from service.storage.urls import driver_address
from service.values import App
from tests.fixtures.descriptors import no_descriptor_left
from tests.fixtures.library import enrol, new_app, random_embedding
from tests.fixtures.waiting import end_other_connections, wait_for

PATIENCE = 20.0


@contextmanager
def _listening(url: str) -> Iterator[queue.Queue[tuple[Any, ...]]]:
    heard: queue.Queue[tuple[Any, ...]] = queue.Queue()
    listener = Listener(
        url,
        on_change=lambda app_pk, seq: heard.put(("change", app_pk, seq)),
        on_app=lambda app_pk: heard.put(("app", app_pk)),
        on_connect=lambda: heard.put(("connect",)),
    )
    listener.start()
    try:
        assert heard.get(timeout=PATIENCE) == ("connect",)
        yield heard
    finally:
        listener.stop()


def test_changes_and_apps_are_heard(database: Database, app: App) -> None:
    with _listening(database.url) as heard:
        enrol(database, app, "group", "user", "t1", random_embedding(1))
        assert heard.get(timeout=PATIENCE) == ("change", app.pk, 1)
        other = new_app(database)
        assert heard.get(timeout=PATIENCE) == ("app", other.pk)
        with database.admin() as admin:
            admin.apps.delete(other.pk)
        assert heard.get(timeout=PATIENCE) == ("app", other.pk)


def test_a_lost_connection_is_made_anew(database: Database, app: App) -> None:
    with _listening(database.url) as heard:
        end_other_connections(database.url)
        assert heard.get(timeout=PATIENCE) == ("connect",)
        enrol(database, app, "group", "user", "t1", random_embedding(1))
        assert heard.get(timeout=PATIENCE) == ("change", app.pk, 1)


def test_listening_begins_anew_when_there_are_descriptors_again(
    database: Database, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    with _listening(database.url) as heard, psycopg.connect(driver_address(database.url), autocommit=True) as operator:
        database.close()
        with no_descriptor_left():
            end = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = %s"
            )
            operator.execute(end, [operator.info.dbname])
            # Once: a later attempt may take the place of what another part of the process has closed meanwhile.
            wait_for(lambda: "Too many open files" in caplog.text)
        assert heard.get(timeout=PATIENCE) == ("connect",)
        enrol(database, app, "group", "user", "t1", random_embedding(1))
        assert heard.get(timeout=PATIENCE) == ("change", app.pk, 1)
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize(
    ("failure", "traced"),
    [(RuntimeError(), True), (ServiceUnavailable("away"), False), (OSError(24, "no descriptor"), False)],
)
def test_a_failing_reaction_does_not_end_the_listening(
    database: Database, app: App, caplog: pytest.LogCaptureFixture, failure: Exception, *, traced: bool
) -> None:
    """Who is away is told of in one line."""
    heard: queue.Queue[int] = queue.Queue()

    def react(_app_pk: int, seq: int) -> None:
        heard.put(seq)
        raise failure

    listener = Listener(database.url, on_change=react, on_app=heard.put, on_connect=lambda: heard.put(0))
    listener.start()
    assert heard.get(timeout=PATIENCE) == 0
    for number in (1, 2):
        enrol(database, app, "group", f"u{number}", "t", random_embedding(1))
        assert heard.get(timeout=PATIENCE) == number
    listener.stop()
    told = [bool(record.exc_info) for record in caplog.records if record.name == "service.storage.listener"]
    assert told == [traced, traced]


def test_listening_to_nothing_can_be_stopped() -> None:
    listener = Listener(
        "postgresql://nobody@127.0.0.1:1/nothing",
        on_change=print,
        on_app=print,
        on_connect=print,
    )
    listener.start()
    listener.stop()
