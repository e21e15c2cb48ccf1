"""Transactions, the change log they write, and what becomes of failures."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import psycopg
import pytest
from sqlalchemy.engine import make_url

from service import deadline
from service.errors import DatabaseUnavailable, DeadlineExceeded, StorageFull
from service.storage import changes as change_log
from service.storage.engine import Database
from service.storage.urls import driver_address
from service.upkeep import pruned
from service.values import App, ChangeKind
from tests.fixtures.library import MODEL, enrol, new_app, random_embedding, stored_face
from tests.fixtures.waiting import end_other_connections


def _log(database: Database, app: App) -> list[tuple[int, ChangeKind]]:
    with database.read() as reader:
        return [(change.seq, change.kind) for change in reader.changes.since(app.pk, 0, 1000, MODEL)]


def test_every_change_is_logged_in_order(database: Database, app: App) -> None:
    assert enrol(database, app, "group", "user", "t1", random_embedding(1)) == 1
    assert enrol(database, app, "group", "user", "t2", random_embedding(2)) == 2
    with database.write(app.pk) as work:
        (user,) = work.users.entries(app.pk, "user")
        work.faces.delete_of_users(user.pk)
        kept = work.faces.insert(user.pk, stored_face("t3"), MODEL, random_embedding(3))
        assert work.seq == 2
    assert work.seq == 5
    with database.write(app.pk) as work:
        work.users.delete(user.pk)
        work.groups.delete(work.groups.get_or_create("group"))
    with database.read() as reader:
        assert reader.changes.head(app.pk) == 7
        assert reader.changes.heads() == {app.pk: 7}
        changes = reader.changes.since(app.pk, 0, 100, MODEL)
        assert [change.seq for change in changes] == [1, 2, 3, 4, 5, 6, 7]
        # The face that replaces others comes before their removal.
        assert [change.kind for change in changes[2:]] == [
            ChangeKind.ADD_FACE,
            ChangeKind.REMOVE_FACE,
            ChangeKind.REMOVE_FACE,
            ChangeKind.REMOVE_USER,
            ChangeKind.REMOVE_GROUP,
        ]
        assert changes[2].face_pk == kept
        assert {change.user_pk for change in changes[:6]} == {user.pk}
        assert all(change.embedding is None for change in changes)
        assert [change.seq for change in reader.changes.since(app.pk, 3, 2, MODEL)] == [4, 5]


@pytest.mark.parametrize("before", [2**15 - 2, 2**31 - 2])
def test_the_log_goes_on_where_its_numbers_outgrow_their_bytes(
    database: Database, app: App, database_url: str, before: int
) -> None:
    with psycopg.connect(driver_address(database_url)) as connection:
        connection.execute("UPDATE change_heads SET seq = %s WHERE app_pk = %s", (before, app.pk))
    for turn in (1, 2, 3):
        assert enrol(database, app, "group", "user", f"t{turn}", random_embedding(turn)) == before + turn
    with database.read() as reader:
        assert reader.changes.head(app.pk) == before + 3
        assert [change.seq for change in reader.changes.since(app.pk, before, 10, MODEL)] == [
            before + turn for turn in (1, 2, 3)
        ]


def test_the_log_carries_embeddings_of_the_asked_model(database: Database, app: App) -> None:
    enrol(database, app, "group", "user", "t1", random_embedding(1))
    with database.read() as reader:
        (ours,) = reader.changes.since(app.pk, 0, 10, MODEL)
        (other,) = reader.changes.since(app.pk, 0, 10, "another-model")
    assert ours.embedding is not None
    assert ours.embedding.dtype == np.float32
    assert np.array_equal(ours.embedding, random_embedding(1))
    assert other.embedding is None


def test_what_is_added_and_removed_at_once_is_not_logged(database: Database, app: App) -> None:
    with database.write(app.pk) as work:
        group_pk = work.groups.insert("group")
        user_pk = work.users.insert(group_pk, "user")
        work.faces.delete(work.faces.insert(user_pk, stored_face("t1"), MODEL, random_embedding(1)))
        work.faces.insert(user_pk, stored_face("t2"), MODEL, random_embedding(2))
        work.users.delete(user_pk)
    assert [kind for _, kind in _log(database, app)] == [ChangeKind.REMOVE_FACE, ChangeKind.REMOVE_USER]


def test_work_that_fails_leaves_nothing(database: Database, app: App) -> None:
    def fail() -> None:
        with database.write(app.pk) as work:
            work.users.insert(work.groups.insert("group"), "user")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with database.read() as reader:
        assert reader.groups.names(app.pk, 0, 10) == []
        assert reader.changes.head(app.pk) == 0


def test_work_that_comes_too_late_leaves_nothing(database: Database, app: App) -> None:
    def claim() -> bool:
        with database.admin() as work:
            return work.envelopes.claim_nonce(app.pk, b"digest", timedelta(hours=1))

    with deadline.within(-1), pytest.raises(DeadlineExceeded):
        claim()
    with deadline.within(-1), pytest.raises(DeadlineExceeded):
        enrol(database, app, "group", "user", "t1", random_embedding(1))
    assert claim()
    with database.read() as reader:
        assert reader.groups.names(app.pk, 0, 10) == []
        assert reader.changes.head(app.pk) == 0


def test_work_without_a_change_neither_counts_nor_tells(database: Database, app: App) -> None:
    with psycopg.connect(driver_address(database.url), autocommit=True) as listening:
        listening.execute("LISTEN aipface_changes")
        with database.write(app.pk) as work:
            work.users.insert(work.groups.insert("group"), "user")
        assert work.seq == 0
        enrol(database, app, "group", "user", "t1", random_embedding(1))
        heard = [note.payload for note in listening.notifies(timeout=5, stop_after=1)]
    assert heard == [f"{app.pk}:1"]
    assert len(_log(database, app)) == 1


def test_concurrent_writers_get_numbers_without_gaps(database: Database, app: App) -> None:
    other = new_app(database)
    enrol(database, app, "group", "user", "first", random_embedding(0))

    def write(number: int) -> int:
        return enrol(database, app if number % 3 else other, "group", f"u{number}", "t", random_embedding(number))

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(60)))
    assert [seq for seq, _ in _log(database, app)] == list(range(1, 42))
    assert [seq for seq, _ in _log(database, other)] == list(range(1, 21))


def test_readers_do_not_wait_for_a_writer(database: Database, app: App) -> None:
    with database.write(app.pk) as work:
        work.groups.insert("group")
        with database.read() as reader:
            assert reader.groups.names(app.pk, 0, 10) == []


def test_pruning(database: Database, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_log, "_PRUNED_AT_ONCE", 4)
    for number in range(10):
        enrol(database, app, "group", f"u{number}", "t", random_embedding(number))
    left = [(count, [seq for seq, _ in _log(database, app)]) for count in pruned(database, app.pk, keep=4)]
    assert left == [(4, [5, 6, 7, 8, 9, 10]), (2, [7, 8, 9, 10]), (0, [7, 8, 9, 10])]
    assert list(pruned(database, app.pk, keep=4)) == [0]
    assert list(pruned(database, app.pk, keep=100)) == [0]
    with psycopg.connect(driver_address(database.url)) as connection:
        assert connection.execute("SELECT floor FROM change_heads WHERE app_pk = %s", (app.pk,)).fetchone() == (6,)
    with database.read() as reader:
        assert reader.changes.head(app.pk) == 10
        assert [change.seq for change in reader.changes.since(app.pk, 0, 100, MODEL)] == [7, 8, 9, 10]


def test_an_interrupted_pruning_goes_on(database: Database, app: App) -> None:
    for number in range(3):
        enrol(database, app, "group", f"u{number}", "t", random_embedding(number))
    with database.admin() as admin:
        admin.changes.raise_floor(app.pk, keep=1)
    assert sum(pruned(database, app.pk, keep=1)) == 2


def test_nobody_waits_for_the_log_to_be_pruned(database: Database, app: App) -> None:
    for number in range(3):
        enrol(database, app, "group", f"u{number}", "t", random_embedding(number))
    with database.admin() as admin:
        admin.changes.raise_floor(app.pk, keep=1)
    with database.admin() as admin:
        assert admin.changes.prune(app.pk) == 2
        assert enrol(database, app, "group", "u3", "t", random_embedding(3)) == 4
    assert [seq for seq, _ in _log(database, app)] == [3, 4]


def test_connections_that_died_unnoticed_are_replaced(database: Database, app: App) -> None:
    enrol(database, app, "group", "user", "t1", random_embedding(1))
    end_other_connections(database.url)
    with database.read() as reader:
        assert reader.changes.head(app.pk) == 1
    end_other_connections(database.url)
    assert enrol(database, app, "group", "user", "t2", random_embedding(1)) == 2


def test_a_connection_that_dies_within_the_work(database: Database, app: App) -> None:
    def be_cut_off() -> None:
        with database.write(app.pk) as work:
            work.groups.insert("group")
            end_other_connections(database.url)
            work.groups.insert("another")

    with pytest.raises(DatabaseUnavailable):
        be_cut_off()
    with database.read() as reader:
        assert reader.groups.names(app.pk, 0, 10) == []


def test_a_database_that_is_away() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(DatabaseUnavailable), database.read() as reader:
        reader.apps.all()
    with pytest.raises(DatabaseUnavailable), database.write(1):
        pass
    with pytest.raises(DatabaseUnavailable), database.bulk():
        pass
    database.close()


def test_all_connections_in_use(database_url: str, app: App) -> None:
    database = Database(database_url, pool_size=1, checkout_seconds=0.1)
    with database.read() as reader:
        reader.groups.names(app.pk, 0, 1)
        with pytest.raises(DatabaseUnavailable), database.read() as another:
            another.apps.all()
    with database.read() as reader:
        assert reader.apps.all() == [app]
    database.close()


def test_a_statement_that_takes_too_long(database_url: str, app: App) -> None:
    database = Database(database_url, lock_seconds=0.2)
    with database.write(app.pk), pytest.raises(DatabaseUnavailable), database.write(app.pk):
        pass
    with database.write(app.pk) as work:
        work.groups.insert("the lock was given back")
    database.close()


def test_a_database_that_takes_no_writes(database_url: str, app: App) -> None:
    with psycopg.connect(driver_address(database_url), autocommit=True) as connection:
        name = make_url(database_url).database
        connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'.encode())
    read_only = Database(database_url)
    with pytest.raises(StorageFull):
        enrol(read_only, app, "group", "user", "t1", random_embedding(1))
    with read_only.read() as reader:
        assert reader.changes.head(app.pk) == 0
    read_only.close()


def test_deleting_an_app_waits_for_its_writers(database: Database, app: App) -> None:
    started, finished = threading.Event(), threading.Event()

    def delete() -> None:
        started.set()
        with database.admin() as admin:
            admin.apps.delete(app.pk)
        finished.set()

    thread = threading.Thread(target=delete)
    with database.write(app.pk) as work:
        thread.start()
        started.wait()
        user_pk = work.users.insert(work.groups.insert("group"), "user")
        work.faces.insert(user_pk, stored_face("t"), MODEL, random_embedding(1))
        assert not finished.wait(0.2)
    thread.join()
    with database.read() as reader:
        assert reader.apps.all() == []
        assert reader.changes.heads() == {}
