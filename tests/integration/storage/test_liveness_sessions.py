"""A session is taken once, by its own app, in time."""

from __future__ import annotations

import threading
from datetime import timedelta

from service.storage.engine import Database
from service.storage.liveness_sessions import StoredSession
from service.values import App
from tests.fixtures.library import new_app

SESSION = StoredSession("voice", "0123")
MINUTE = timedelta(minutes=1)


def put(database: Database, app: App, name: str, lifetime: timedelta = MINUTE) -> None:
    with database.admin() as work:
        work.liveness_sessions.put(app.pk, name, SESSION, lifetime)


def take(database: Database, app: App, name: str) -> StoredSession | None:
    with database.admin() as work:
        return work.liveness_sessions.take(app.pk, name)


def test_a_session_is_taken_once_and_by_its_own_app(database: Database, app: App) -> None:
    put(database, app, "S1")
    assert take(database, new_app(database), "S1") is None
    assert take(database, app, "S1") == SESSION
    assert take(database, app, "S1") is None


def test_of_two_processes_one_takes_it(database: Database, database_url: str, app: App) -> None:
    """The first has not committed when the second asks: it must wait, and then find nothing."""
    put(database, app, "S1")
    other = Database(database_url)
    found: list[StoredSession | None] = []
    second = threading.Thread(target=lambda: found.append(take(other, app, "S1")))
    with database.admin() as work:
        assert work.liveness_sessions.take(app.pk, "S1") == SESSION
        second.start()
        second.join(0.3)
        assert second.is_alive()
    second.join()
    other.close()
    assert found == [None]


def test_what_is_not_committed_can_be_taken_again(database: Database, app: App) -> None:
    put(database, app, "S1")
    try:
        with database.admin() as work:
            work.liveness_sessions.take(app.pk, "S1")
            raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert take(database, app, "S1") == SESSION


def test_old_sessions_cannot_be_taken_and_are_deleted(database: Database, app: App) -> None:
    for number in range(3):
        put(database, app, f"S{number}", timedelta(seconds=-1))
    put(database, app, "S9")
    assert take(database, app, "S0") is None
    with database.admin() as work:
        assert work.liveness_sessions.purge_expired(2) == 2
        assert work.liveness_sessions.purge_expired(2) == 1
        assert work.liveness_sessions.purge_expired(2) == 0
    assert take(database, app, "S9") == SESSION
