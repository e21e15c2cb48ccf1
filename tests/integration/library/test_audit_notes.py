"""Notes of the audit log: written behind the answers they tell of, and counted where they cannot be."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from contextlib import AbstractContextManager

import pytest

from service.auditing import Operation
from service.library import audit
from service.library.audit import AuditTrail
from service.storage.audit import INSTALLATION
from service.storage.engine import Administration, Database
from service.values import App
from tests.fixtures.library import new_app
from tests.integration.library.conftest import KEY
from tests.integration.library.test_audit import app, problems, report, trail

__all__ = ["app", "trail"]


def test_reads_can_be_left_out_and_failures_cannot(database: Database) -> None:
    app = new_app(database)
    trail = AuditTrail(database, [KEY], reads=False)
    for outcome in ("0", "222207"):
        trail.note(Operation("app:1", "search", app.pk), outcome)
    trail.note(Operation("", "search"), "110")  # of nobody
    trail.stop()
    assert [entry.draft.outcome for entry in trail.latest(10)] == ["222207"]


def test_notes_wait_for_the_database(database: Database) -> None:
    app = new_app(database)
    away = Database("postgresql://nobody@127.0.0.1:1/nothing", audit_keys=[KEY])
    trail = AuditTrail(away, [KEY])
    for number in range(3):
        trail.note(Operation("app:1", f"call {number}", app.pk), "0")
    trail.stop()
    trail._database = database
    trail.flush()
    assert [entry.draft.call for entry in trail.latest(10)] == ["call 2", "call 1", "call 0"]


def test_a_note_that_the_database_refuses_is_lost_alone_and_counted(trail: AuditTrail, app: App) -> None:
    before = report(trail, app).last
    for number, group in enumerate(["g", "\0", "h", "\ud800", "i"]):
        trail.note(Operation("console:1", f"look {number}", app.pk, (group,)), "0")
    trail.flush()
    assert [entry.draft.call for entry in trail.entries(app.pk, before)] == ["look 0", "look 2", "look 4"]
    assert problems(trail, app) == ()
    (newest,) = trail.latest(1, chain=INSTALLATION)
    assert (newest.draft.call, newest.draft.detail) == ("audit.lost", {"entries": 2})
    trail.flush()
    assert trail.latest(1, chain=INSTALLATION) == [newest]


class Interrupted(int):
    """A number that lets other threads go first while it is added to."""

    def __add__(self, other: int) -> Interrupted:
        time.sleep(0.01)
        return Interrupted(int(self) + other)


def test_what_many_lose_at_once_is_counted(database: Database, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    trail = AuditTrail(database, [KEY])
    trail._lost = Interrupted(0)
    monkeypatch.setattr(audit, "MOST_PENDING", 0)
    with ThreadPoolExecutor(8) as threads:
        for _ in range(16):
            threads.submit(trail.note, Operation("app:1", "search", app.pk), "222207")
    assert trail._lost == 16


def test_who_flushes_waits_for_what_the_background_is_writing(database: Database) -> None:
    app = new_app(database)
    trail = AuditTrail(database, [KEY])
    trail.note(Operation("app:1", "search", app.pk), "222207")
    held, go_on = threading.Event(), threading.Event()
    admin = database.admin

    def slow() -> AbstractContextManager[Administration]:
        held.set()
        assert go_on.wait(30)
        return admin()

    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(database, "admin", slow)
        background = pool.submit(trail.flush)
        assert held.wait(30)
        beside = pool.submit(trail.flush)
        with pytest.raises(NotYet):
            beside.result(timeout=0.2)
        go_on.set()
        background.result()
        beside.result()
    assert [entry.draft.outcome for entry in trail.latest(10)] == ["222207"]
