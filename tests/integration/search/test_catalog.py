"""The catalog over a real database: loading, following, and what happens when something is missing."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Generator
from concurrent.futures import ThreadPoolExecutor

import pytest

from service import deadline
from service.errors import DatabaseUnavailable, DeadlineExceeded
from service.search import catalog as catalog_module
from service.search.catalog import Catalog, CatalogStats
from service.search.flat import FlatIndex
from service.search.protocol import NOT_LOADED, Blocks
from service.storage.engine import Database
from service.storage.listener import Listener
from service.storage.source import PostgresChangeSource
from service.upkeep import pruned
from service.values import App, Change, Embedding, LogHead
from tests.fixtures.library import DIMENSION, MODEL, enrol, new_app, random_embedding, stored_face

EVERYTHING = -1.5


class CountingSource(PostgresChangeSource):
    """Counts what is read, and can be told to fail."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, MODEL, DIMENSION)
        self.snapshots = 0
        self.reads = 0
        self.failing = False

    def snapshot(
        self, app_pk: int | None = None, *, without: Collection[int] = (), groups: Collection[int] | None = None
    ) -> Generator[tuple[int, LogHead, Blocks], None, None]:
        self.snapshots += 1
        return super().snapshot(app_pk, without=without, groups=groups)

    def changes_since(self, app_pk: int, seq: int, limit: int) -> list[Change]:
        if self.failing:
            raise DatabaseUnavailable("told to")
        self.reads += 1
        return super().changes_since(app_pk, seq, limit)


@pytest.fixture
def source(database: Database) -> CountingSource:
    return CountingSource(database)


@pytest.fixture
def catalog(source: CountingSource) -> Catalog:
    return Catalog(source, DIMENSION)


def _users(database: Database, catalog: Catalog, app: App, probe: Embedding, limit: int = 50) -> list[str]:
    with database.read() as reader:
        groups = reader.groups.pks(app.pk, reader.groups.names(app.pk, 0, 100))
        hits = catalog.search(app.pk, list(groups.values()), probe, limit, EVERYTHING)
        entries = reader.users.entries_by_pk([hit.user_pk for hit in hits])
    assert {groups[entries[hit.user_pk].group_id] == hit.group_pk for hit in hits} <= {True}
    return [entries[hit.user_pk].user_id for hit in hits]


def test_a_loaded_catalog_finds_everybody(database: Database, app: App, catalog: Catalog) -> None:
    other = new_app(database)
    for number in range(30):
        enrol(database, app, f"g{number % 3}", f"u{number}", "t", random_embedding(number))
    enrol(database, other, "g0", "stranger", "t", random_embedding(7))
    catalog.load()
    assert (catalog.position(app.pk), catalog.position(other.pk), catalog.position(404)) == (30, 1, NOT_LOADED)
    assert _users(database, catalog, app, random_embedding(7))[0] == "u7"
    assert len(_users(database, catalog, app, random_embedding(7))) == 30
    assert (
        _users(database, catalog, app, random_embedding(7), limit=4)[:4]
        == _users(database, catalog, app, random_embedding(7))[:4]
    )
    assert _users(database, catalog, other, random_embedding(7)) == ["stranger"]
    stats = catalog.stats()
    assert (stats.apps, stats.groups, stats.faces) == (2, 4, 31)
    assert catalog.faces() == 31
    assert stats.nbytes > 31 * DIMENSION * 4


def test_groups_are_searched_as_asked(database: Database, app: App, catalog: Catalog) -> None:
    for group in ("g0", "g1"):
        enrol(database, app, group, "user", "t", random_embedding(1))
    catalog.load()
    with database.read() as reader:
        first, second = reader.groups.pks(app.pk, ["g0"])["g0"], reader.groups.pks(app.pk, ["g1"])["g1"]
        users = [entry.pk for entry in reader.users.entries(app.pk, "user")]
    probe = random_embedding(1)

    def found(*group_pks: int) -> list[int]:
        return [hit.group_pk for hit in catalog.search(app.pk, group_pks, probe, 10, EVERYTHING)]

    assert found() == []
    assert found(404) == []
    assert found(second) == [second]
    assert found(second, first, second) == [first, second]
    assert catalog.search(404, [first], probe, 10, EVERYTHING) == []
    assert [hit.user_pk for hit in catalog.search_user(app.pk, [first, second], users, probe)] == users
    assert [hit.user_pk for hit in catalog.search_user(app.pk, [second], users, probe)] == users[1:]
    assert catalog.search_user(app.pk, [first], [404], probe) == []


def test_what_was_acknowledged_is_found(database: Database, app: App, catalog: Catalog, source: CountingSource) -> None:
    catalog.load()
    for number in range(5):
        seq = enrol(database, app, "group", f"u{number}", "t", random_embedding(number))
        catalog.catch_up(app.pk, seq)
        assert catalog.position(app.pk) == seq
        assert _users(database, catalog, app, random_embedding(number))[0] == f"u{number}"
    reads = source.reads
    catalog.catch_up(app.pk, 3)
    assert source.reads == reads
    catalog.catch_up(app.pk)
    assert source.reads == reads + 1  # of the last change alone: is it still the one that was applied?
    assert source.snapshots == 1


def test_apps_come_and_go(database: Database, app: App, catalog: Catalog) -> None:
    catalog.load()
    other = new_app(database)
    enrol(database, other, "group", "user", "t", random_embedding(1))
    catalog.catch_up_all()
    assert catalog.stats().apps == 2
    assert catalog.position(other.pk) == 1
    with database.admin() as admin:
        admin.apps.delete(other.pk)
    catalog.catch_up(other.pk)
    assert catalog.position(other.pk) == NOT_LOADED
    assert catalog.faces() == 0
    with database.admin() as admin:
        admin.apps.delete(app.pk)
    catalog.load()
    assert catalog.stats() == CatalogStats(0, 0, 0, 0)


def test_a_pruned_log_means_loading_anew(
    database: Database, app: App, catalog: Catalog, source: CountingSource
) -> None:
    enrol(database, app, "group", "u0", "t", random_embedding(0))
    catalog.load()
    for number in range(1, 6):
        enrol(database, app, "group", f"u{number}", "t", random_embedding(number))
    sum(pruned(database, app.pk, keep=2))
    catalog.catch_up(app.pk, 6)
    assert source.snapshots == 2
    assert catalog.position(app.pk) == 6
    assert len(_users(database, catalog, app, random_embedding(0))) == 6


def test_a_long_log_is_read_in_batches(
    database: Database, app: App, catalog: Catalog, source: CountingSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "BATCH", 4)
    catalog.load()
    for number in range(12):
        enrol(database, app, "group", f"u{number}", "t", random_embedding(number))
    catalog.catch_up(app.pk, 10)
    assert catalog.position(app.pk) == 12  # what is there beyond is read with it
    assert (catalog.faces(), source.reads, source.snapshots) == (12, 3, 1)


def test_who_waits_for_little_goes_on_while_others_replay_further(
    database: Database, app: App, source: CountingSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replay stops after a piece until the test has seen the one who waited for that piece return."""
    monkeypatch.setattr(catalog_module, "BATCH", 4)
    catalog = Catalog(source, DIMENSION)
    catalog.load()
    seq = [enrol(database, app, "group", f"u{number}", "t", random_embedding(number)) for number in range(12)][-1]
    reading, go_on = threading.Event(), threading.Event()
    read = source.changes_since

    def stopping(app_pk: int, position: int, limit: int) -> list[Change]:
        if position in (3, 4):  # 3 where a replay for the fourth alone has ended: its row is read once more
            reading.set()
            assert go_on.wait(60)
        return read(app_pk, position, limit)

    monkeypatch.setattr(source, "changes_since", stopping)
    with ThreadPoolExecutor(2) as pool:
        far, near = pool.submit(catalog.catch_up, app.pk, seq), pool.submit(catalog.catch_up, app.pk, 3)
        assert reading.wait(60)
        near.result(60)
        assert (catalog.position(app.pk), far.done()) == (4, False)
        go_on.set()
        far.result(60)
    assert (catalog.position(app.pk), catalog.faces(), source.snapshots) == (12, 12, 1)


@pytest.mark.parametrize("seq", [2, None])
def test_a_request_waits_for_a_replay_no_longer_than_it_has_time(
    database: Database, app: App, source: CountingSource, monkeypatch: pytest.MonkeyPatch, seq: int | None
) -> None:
    """One app's faces may take minutes to load: whoever is answered "too late" meanwhile gives the thread back."""
    catalog = Catalog(source, DIMENSION)
    enrol(database, app, "group", "u0", "t", random_embedding(0))
    catalog.load()
    enrol(database, app, "group", "u1", "t", random_embedding(1))
    reading, go_on = threading.Event(), threading.Event()
    read = source.changes_since

    def stopping(app_pk: int, position: int, limit: int) -> list[Change]:
        reading.set()
        assert go_on.wait(20)
        return read(app_pk, position, limit)

    monkeypatch.setattr(source, "changes_since", stopping)
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(catalog.catch_up, app.pk, 2)
        assert reading.wait(60)
        with deadline.within(0.05), pytest.raises(DeadlineExceeded):
            catalog.catch_up(app.pk, seq)
        with deadline.within(600):
            catalog.catch_up(app.pk, 1)  # is there already
        patient = pool.submit(catalog.catch_up, app.pk, 2)
        go_on.set()
        slow.result(60)
        patient.result(60)
    assert (catalog.position(app.pk), catalog.faces()) == (2, 2)


def test_a_failure_is_passed_on_and_made_up_for(
    database: Database, app: App, catalog: Catalog, source: CountingSource
) -> None:
    enrol(database, app, "group", "u0", "t", random_embedding(0))
    catalog.load()
    seq = enrol(database, app, "group", "u1", "t", random_embedding(1))
    source.failing = True
    with pytest.raises(DatabaseUnavailable):
        catalog.catch_up(app.pk, seq)
    assert _users(database, catalog, app, random_embedding(0)) == ["u0"]
    source.failing = False
    catalog.catch_up(app.pk, seq)
    assert len(_users(database, catalog, app, random_embedding(0))) == 2


def test_many_callers_share_few_replays(database: Database, app: App, catalog: Catalog, source: CountingSource) -> None:
    catalog.load()
    seq = [enrol(database, app, "group", f"u{number}", "t", random_embedding(number)) for number in range(20)][-1]
    with ThreadPoolExecutor(16) as pool:
        for future in [pool.submit(catalog.catch_up, app.pk, seq) for _ in range(64)]:
            future.result()
    assert source.reads == 1
    assert catalog.faces() == 20


def test_two_catalogs_follow_by_listening(database: Database, app: App) -> None:
    """As two processes would, with nothing but notifications between them."""
    catalogs = [Catalog(PostgresChangeSource(database, MODEL, DIMENSION), DIMENSION) for _ in range(2)]
    listeners = [
        Listener(database.url, on_change=c.catch_up, on_app=c.catch_up, on_connect=c.catch_up_all) for c in catalogs
    ]
    for listener in listeners:
        listener.start()
    for number in range(20):
        enrol(database, app, "group", f"u{number}", "t", random_embedding(number))
    until = time.monotonic() + 20
    while [catalog.faces() for catalog in catalogs] != [20, 20]:
        assert time.monotonic() < until
        time.sleep(0.01)
    for listener in listeners:
        listener.stop()


def test_a_user_whose_face_is_replaced_is_never_missing(database: Database, app: App) -> None:
    catalog = Catalog(PostgresChangeSource(database, MODEL, DIMENSION), DIMENSION, FlatIndex)
    enrol(database, app, "group", "user", "t0", random_embedding(0))
    enrol(database, app, "group", "other", "t0", random_embedding(1))
    catalog.load()
    with database.read() as reader:
        group_pk = reader.groups.pks(app.pk, ["group"])["group"]
        (user,) = reader.users.entries(app.pk, "user")
    stop = threading.Event()
    missed: list[int] = []

    def read() -> None:
        while not stop.is_set():
            found = {hit.user_pk for hit in catalog.search(app.pk, [group_pk], random_embedding(0), 5, EVERYTHING)}
            if user.pk not in found:
                missed.append(catalog.position(app.pk))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader_thread in readers:
        reader_thread.start()
    for number in range(1, 150):
        with database.write(app.pk) as work:
            work.faces.delete_of_users(user.pk)
            work.faces.insert(user.pk, stored_face(f"t{number}"), MODEL, random_embedding(0))
        catalog.catch_up(app.pk, work.seq)
    stop.set()
    for reader_thread in readers:
        reader_thread.join()
    assert missed == []
    assert catalog.faces() == 2
