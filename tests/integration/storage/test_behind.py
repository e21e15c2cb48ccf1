"""Work that answers do not wait for: soon, bounded, in its turn before whatever deletes, and heard of when it fails."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta

import pytest

from service.errors import StorageFull
from service.metrics import LOST_TOKENS
from service.storage.behind import Behind
from service.storage.engine import Database
from service.storage.rows import RememberedFace
from service.values import App
from tests.fixtures.library import MODEL, enrol, random_embedding, stored_face
from tests.fixtures.sealing import execute

SECONDS = 30.0
"""For what has to happen soon."""


class Held:
    """Work that goes on when it is told to."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.threads: list[int] = []

    def __call__(self) -> None:
        self.begun.set()
        assert self.go_on.wait(SECONDS)
        self.note()

    def note(self) -> None:
        self.threads.append(threading.get_ident())


def lost() -> float:
    (metric,) = LOST_TOKENS.collect()
    return next(sample.value for sample in metric.samples if sample.name.endswith("_total"))


def full() -> None:
    raise StorageFull("no room")


def mistaken() -> None:
    raise IndexError


def test_it_is_done_behind_whoever_brings_it() -> None:
    behind, held = Behind(), Held()
    behind.do(1, held)
    assert held.threads == []
    behind.settle(2)  # another app's is not waited for
    with ThreadPoolExecutor(1) as pool:
        settled = pool.submit(behind.settle, 1)
        assert held.begun.wait(SECONDS)
        assert not settled.done()
        held.go_on.set()
        settled.result(SECONDS)
    assert len(held.threads) == 1
    assert held.threads != [threading.get_ident()]
    behind.stop()


def test_who_brings_more_than_may_wait_does_it_himself() -> None:
    behind, held = Behind(most=2), Held()
    behind.do(1, held)
    behind.do(2, held.note)
    behind.do(1, held.note)
    assert held.threads == [threading.get_ident()]
    held.go_on.set()
    behind.stop()
    assert len(held.threads) == 3
    assert held.threads.count(threading.get_ident()) == 1


def test_after_a_failure_everybody_hears_of_the_next_one(caplog: pytest.LogCaptureFixture) -> None:
    behind, held, before = Behind(), Held(), lost()
    held.go_on.set()
    with caplog.at_level(logging.WARNING, "service.storage.behind"):
        behind.do(1, full)
        behind.settle(1)
    assert "lost: no room" in caplog.text
    assert lost() == before + 1
    with pytest.raises(StorageFull):
        behind.do(1, full)
    assert lost() == before + 1
    behind.do(1, held.note)  # and once it succeeds it is left behind again
    behind.do(1, held.note)
    behind.settle(1)
    assert held.threads[0] == threading.get_ident()
    assert held.threads[1] != threading.get_ident()
    behind.stop()


def test_a_mistake_of_ours_is_told_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    behind = Behind()
    behind.do(1, mistaken)
    behind.stop()
    assert "IndexError" in caplog.text


def test_at_the_end_everything_is_done_and_nothing_left() -> None:
    behind, held = Behind(), Held()
    held.go_on.set()
    behind.do(1, held)
    behind.stop()
    assert len(held.threads) == 1
    behind.do(1, held)
    assert held.threads[1] == threading.get_ident()


def test_what_is_deleted_is_not_remembered_for_long(database: Database, database_url: str, app: App) -> None:
    enrol(database, app, "group", "user", "a", random_embedding(1))
    held = Held()

    def remember() -> None:
        held()
        with database.remembering(app.pk) as tokens:
            tokens.put(app.pk, [RememberedFace(stored_face("a"), None)], MODEL, timedelta(hours=1))

    def delete() -> None:
        with database.write(app.pk) as work:
            user = work.users.pk(work.groups.get_or_create("group"), "user") or 0
            work.faces.delete(work.faces.pk_by_token(user, "a") or 0)

    database.behind.do(app.pk, remember)
    with ThreadPoolExecutor(1) as pool:
        deleted = pool.submit(delete)
        assert not wait([deleted], 0.2).done
        held.go_on.set()
        deleted.result(SECONDS)
    assert len(held.threads) == 1
    assert execute(database_url, "SELECT token FROM face_tokens WHERE expires > now() + interval '30 minutes'") == []


def test_closing_a_database_writes_what_was_left(database_url: str, app: App) -> None:
    other = Database(database_url)

    def remember() -> None:
        with other.remembering(app.pk) as tokens:
            tokens.put(app.pk, [RememberedFace(stored_face("a"), None)], MODEL, timedelta(hours=1))

    other.behind.do(app.pk, remember)
    other.close()
    assert execute(database_url, "SELECT token FROM face_tokens") == [("a",)]
