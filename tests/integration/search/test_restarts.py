"""Starting from snapshots over a real database: what is put back, what is not believed, and who writes when."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql

from service.errors import DatabaseUnavailable
from service.library.erasure import Erasure
from service.search import keeper as keeper_module
from service.search.catalog import Catalog
from service.search.folder import SnapshotCopies
from service.search.keeper import Abandoned, SnapshotKeeper
from service.search.snapshots import Snapshots
from service.search.tiered import TieredIndex
from service.storage.engine import Database
from service.storage.source import PostgresChangeSource
from service.storage.urls import driver_address
from service.upkeep import pruned
from service.values import App, Hit
from tests.fixtures.library import DIMENSION, MODEL, enrol, new_app, random_embedding, random_embeddings, stored_face

SEAL_AT, PEOPLE = 50, 60
TOTAL = PEOPLE + 5
Found = list[list[Hit]]


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    return Snapshots(tmp_path / "index", MODEL, DIMENSION)


def started(database: Database, snapshots: Snapshots | None) -> Catalog:
    """A catalog as a new process has it, loaded."""
    source = PostgresChangeSource(database, MODEL, DIMENSION)
    catalog = Catalog(
        source, DIMENSION, lambda dimension, expected: TieredIndex(dimension, expected, seal_at=SEAL_AT), snapshots
    )
    catalog.load()
    maintain(catalog)
    return catalog


def maintain(catalog: Catalog) -> None:
    """What a server's thread does."""
    for library in catalog._libraries.values():
        for index in library.groups.values():
            assert isinstance(index, TieredIndex)
            index.maintain(threading.Event())


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of snapshots, up to the reason."""
    records = [record for record in caplog.records if record.name == "service.search.snapshots"]
    return [record.getMessage().partition(":")[0] for record in records]


def keeper_of(catalog: Catalog, snapshots: Snapshots, *, interval: float = 1e9, least_faces: int = 1) -> SnapshotKeeper:
    return SnapshotKeeper(catalog, snapshots, interval=interval, least_faces=least_faces)


def keep(catalog: Catalog, snapshots: Snapshots) -> None:
    """Write what there is, as at the end of a process."""
    keeper_of(catalog, snapshots).round(last=True)
    snapshots.folder.release()


def found(database: Database, app: App, catalog: Catalog) -> Found:
    """What some searches over all groups find, in every detail."""
    with database.read() as reader:
        groups = list(reader.groups.pks(app.pk, ["large", "small"]).values())
    return [catalog.search(app.pk, groups, random_embedding(seed), 60, -1.5) for seed in range(12)]


def from_snapshots(catalog: Catalog) -> int:
    """How many faces came from snapshots."""
    return int(catalog.origin().partition(", ")[2].partition(" of ")[0])


@pytest.fixture
def library(database: Database, app: App) -> App:
    """A large group and a small one; the log ends at :data:`TOTAL`."""
    with database.write(app.pk) as work:
        group_pk = work.groups.insert("large")
        for number, embedding in enumerate(random_embeddings(PEOPLE, 1)):
            work.faces.insert(work.users.insert(group_pk, f"u{number}"), stored_face("t"), MODEL, embedding)
    for number in range(5):
        enrol(database, app, "small", f"s{number}", "t", random_embedding(number))
    return app


def execute(database: Database, *statements: Any, **numbers: int) -> None:
    """Statements past the service; ``{name}`` stands for a number."""
    literals = {name: sql.Literal(number) for name, number in numbers.items()}
    with psycopg.connect(driver_address(database.url), autocommit=True) as connection:
        for statement in statements:
            connection.execute(sql.SQL(statement).format(**literals))


def test_a_restart_goes_on_from_the_snapshot(database: Database, library: App, snapshots: Snapshots) -> None:
    first = started(database, snapshots)
    assert first.origin().endswith(f"0 of {TOTAL} faces from snapshots")
    keep(first, snapshots)
    second = started(database, snapshots)
    assert from_snapshots(second) == second.faces() == TOTAL
    assert second.position(library.pk) == first.position(library.pk) == TOTAL
    assert found(database, library, second) == found(database, library, first)
    enrol(database, library, "large", "late", "t", random_embedding(5))
    with database.write(library.pk) as work:
        group_pk = work.groups.get_or_create("large")
        for name in ("u1", "u2"):
            work.users.delete(work.users.pk(group_pk, name) or 0)
    third = started(database, snapshots)
    assert third.faces() == TOTAL - 1
    assert found(database, library, third) == found(database, library, started(database, None))
    third.catch_up_all()
    keep(third, snapshots)
    assert found(database, library, started(database, snapshots)) == found(database, library, third)


def test_other_apps_come_from_the_database(database: Database, library: App, snapshots: Snapshots) -> None:
    keep(started(database, snapshots), snapshots)
    other = new_app(database)
    enrol(database, other, "small", "u", "t", random_embedding(1))
    catalog = started(database, snapshots)
    assert (from_snapshots(catalog), catalog.faces()) == (TOTAL, TOTAL + 1)
    assert [hits[0].similarity > 0 for hits in found(database, other, catalog)[1:2]] == [True]
    with database.admin() as admin:
        admin.apps.delete(library.pk)
    catalog = started(database, snapshots)
    assert (from_snapshots(catalog), catalog.faces()) == (0, 1)
    keep(catalog, snapshots)
    assert snapshots.folder.apps() == [other.pk]


def put_back_in_time(database: Database, app: App) -> None:
    """The last five changes never happened."""
    execute(
        database,
        "DELETE FROM faces WHERE pk IN (SELECT face_pk FROM changes WHERE app_pk = {app} AND seq > {last})",
        "DELETE FROM changes WHERE app_pk = {app} AND seq > {last}",
        "UPDATE change_heads SET seq = {last} WHERE app_pk = {app}",
        app=app.pk,
        last=PEOPLE,
    )


def an_earlier_state(database: Database, app: App) -> None:
    put_back_in_time(database, app)


def an_earlier_state_that_went_on(database: Database, app: App) -> None:
    """Its log is longer than the snapshot's by now, and begins in the same way."""
    put_back_in_time(database, app)
    for number in range(9):
        enrol(database, app, "small", f"other{number}", "t", random_embedding(100 + number))


def an_earlier_state_with_the_same_numbers(database: Database, app: App) -> None:
    """Even the faces' numbers are those of the other history."""
    put_back_in_time(database, app)
    execute(database, "ALTER TABLE faces ALTER COLUMN pk RESTART WITH {first}", first=PEOPLE + 1)
    for number in range(5):
        enrol(database, app, "small", f"s{number}", "t", random_embedding(200 + number))


def a_pruned_log(database: Database, app: App) -> None:
    for number in range(3):
        enrol(database, app, "small", f"new{number}", "t", random_embedding(300 + number))
    sum(pruned(database, app.pk, keep=2))


def faces_of_another_model_that_were_embedded_anew(database: Database, app: App) -> None:
    """A change of models writes embeddings and no log."""
    execute(
        database,
        "INSERT INTO faces (app_pk, group_pk, user_pk, token, model_id, embedding, location, angles, confidence,"
        " points) SELECT app_pk, group_pk, user_pk, 'new', model_id, embedding, location, angles, confidence, points"
        " FROM faces WHERE app_pk = {app} LIMIT 1",
        app=app.pk,
    )


@pytest.mark.parametrize(
    "happened",
    [
        an_earlier_state,
        an_earlier_state_that_went_on,
        an_earlier_state_with_the_same_numbers,
        a_pruned_log,
        faces_of_another_model_that_were_embedded_anew,
    ],
)
def test_what_does_not_belong_to_the_database_any_more(
    database: Database,
    library: App,
    snapshots: Snapshots,
    caplog: pytest.LogCaptureFixture,
    happened: Callable[[Database, App], None],
) -> None:
    keep(started(database, snapshots), snapshots)
    happened(database, library)
    with caplog.at_level(logging.WARNING):
        catalog = started(database, snapshots)
    assert said(caplog) == ["a snapshot was discarded"]
    assert from_snapshots(catalog) == 0
    expected = started(database, None)
    assert found(database, library, catalog) == found(database, library, expected)
    assert catalog.position(library.pk) == expected.position(library.pk)
    assert snapshots.folder.apps() == []
    # The next one is of the new history.
    keep(catalog, snapshots)
    assert from_snapshots(started(database, snapshots)) == catalog.faces()


def test_another_database(database: Database, library: App, snapshots: Snapshots) -> None:
    """Where the app of the same number has a log of the same length."""
    keep(started(database, snapshots), snapshots)
    content = snapshots.folder.file(library.pk).read_bytes()
    execute(
        database,
        "DELETE FROM apps WHERE pk = {app}",
        "ALTER TABLE apps ALTER COLUMN pk RESTART WITH {app}",
        app=library.pk,
    )
    other = new_app(database)
    assert other.pk == library.pk
    for number in range(TOTAL + 5):
        enrol(database, other, "small", f"u{number % 20}", f"t{number}", random_embedding(number))
    snapshots.folder.file(library.pk).write_bytes(content)
    catalog = started(database, snapshots)
    assert from_snapshots(catalog) == 0
    assert found(database, other, catalog) == found(database, other, started(database, None))


def test_a_copy_of_the_database_may_use_it(database: Database, library: App, snapshots: Snapshots) -> None:
    """What was restored from a backup has the same log."""
    keep(started(database, snapshots), snapshots)
    enrol(database, library, "small", "late", "t", random_embedding(9))
    execute(
        database,
        "CREATE TABLE kept AS SELECT * FROM changes",
        "DELETE FROM changes",
        "INSERT INTO changes SELECT * FROM kept",
    )
    assert from_snapshots(started(database, snapshots)) == TOTAL + 1


def test_a_broken_snapshot_costs_time_only(
    database: Database, library: App, snapshots: Snapshots, caplog: pytest.LogCaptureFixture
) -> None:
    """The fault "broken snapshot" of docs/reliability.md."""
    keep(started(database, snapshots), snapshots)
    path = snapshots.folder.file(library.pk)
    whole = path.read_bytes()
    expected = found(database, library, started(database, None))
    for broken in (whole[: len(whole) // 2], bytes(len(whole)), whole[:5000] + b"?" + whole[5001:], b""):
        path.touch(0o600)
        path.write_bytes(broken)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            catalog = started(database, snapshots)
        assert said(caplog) == ["a snapshot was discarded"]
        assert from_snapshots(catalog) == 0
        assert found(database, library, catalog) == expected
        assert not path.exists()


def test_the_database_is_away_at_the_start(database: Database, library: App, snapshots: Snapshots) -> None:
    """That says nothing of the snapshot: it stays."""
    keep(started(database, snapshots), snapshots)
    catalog = Catalog(PostgresChangeSource(database, MODEL, DIMENSION), DIMENSION, TieredIndex, snapshots)
    lost = Database("postgresql://nobody@127.0.0.1:1/none")
    try:
        catalog._source = PostgresChangeSource(lost, MODEL, DIMENSION)
        with pytest.raises(DatabaseUnavailable):
            catalog.load()
    finally:
        lost.close()
    assert snapshots.folder.apps() == [library.pk]


# --- who writes, and when ---


def test_when_snapshots_are_written(
    database: Database, library: App, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = started(database, snapshots)
    keeper = keeper_of(catalog, snapshots, interval=500)
    now = [keeper._begun]
    monkeypatch.setattr(keeper_module, "_now", lambda: now[0])
    written: list[int] = []

    def rounds(count: int = 1) -> int:
        """How many snapshots were written in so many rounds."""
        before = len(written)
        for _ in range(count):
            now[0] += 5
            saved = snapshots.saved(library.pk)
            keeper.round()
            after = snapshots.saved(library.pk)
            if after is not None and (saved is None or after.position != saved.position):
                written.append(after.position)
        return len(written) - before

    assert rounds(2) == 1  # the first one, once nothing has changed from one round to the next
    assert rounds(3) == 0
    enrol(database, library, "small", "late", "t", random_embedding(9))
    catalog.catch_up_all()
    assert rounds(3) == 0  # not yet
    now[0] += 500
    assert rounds() == 1
    monkeypatch.setattr(keeper_module, "MANY_CHANGES", 20)
    with database.write(library.pk) as work:
        group_pk = work.groups.get_or_create("large")
        for number in range(30):
            work.faces.insert(work.users.insert(group_pk, f"m{number}"), stored_face("t"), MODEL, random_embedding(1))
    catalog.catch_up_all()
    maintain(catalog)
    assert rounds() == 0  # perhaps there is more to come
    assert rounds() == 1
    assert written == [TOTAL, TOTAL + 1, TOTAL + 31]
    snapshots.folder.release()


def test_small_libraries_are_not_worth_a_file(database: Database, library: App, snapshots: Snapshots) -> None:
    catalog = started(database, snapshots)
    keeper_of(catalog, snapshots, least_faces=TOTAL + 1).round(last=True)
    assert not snapshots.folder.path.exists()
    keep(catalog, snapshots)
    assert snapshots.folder.apps() == [library.pk]
    keeper_of(catalog, snapshots, least_faces=TOTAL + 1).round(last=True)
    assert snapshots.folder.apps() == []
    snapshots.folder.release()


def test_one_of_two_processes_writes(database: Database, library: App, snapshots: Snapshots) -> None:
    ours, theirs = snapshots, Snapshots(snapshots.folder.path.parent, MODEL, DIMENSION)
    one, other = keeper_of(started(database, ours), ours), keeper_of(started(database, theirs), theirs)
    one.start()
    one.stop()
    assert ours.folder.apps() == [library.pk]
    theirs.folder.claim()
    ours.folder.discard(library.pk)
    one.round(last=True)
    assert ours.folder.apps() == []
    other.round(last=True)
    assert ours.folder.apps() == [library.pk]
    theirs.folder.release()


@pytest.mark.usefixtures("library")
def test_the_end_of_the_server_does_not_wait_for_long(
    database: Database, snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = started(database, snapshots)
    monkeypatch.setattr(keeper_module, "CLOSING_SECONDS", -1.0)
    keeper = keeper_of(catalog, snapshots)
    keeper.start()
    keeper.stop()
    assert snapshots.folder.apps() == []
    with pytest.raises(Abandoned):
        keeper.round(last=True)
    snapshots.folder.release()


def test_erasing_reaches_snapshots(database: Database, library: App, snapshots: Snapshots) -> None:
    """Before the receipt is there, and also one that is being written meanwhile."""
    catalog = started(database, snapshots)
    keep(catalog, snapshots)
    gone = random_embeddings(PEOPLE, 1)[3].astype(np.float16).tobytes()
    path = snapshots.folder.file(library.pk)
    assert gone in path.read_bytes()
    erasure = Erasure(database, [SnapshotCopies(snapshots.folder.path.parent)])
    receipt = erasure.user(library, "u3")
    assert receipt.counts["copies"] == 1
    assert not path.exists()
    keep(catalog, snapshots)  # of a process that has not heard of it yet
    assert gone not in path.read_bytes()
    shutil.rmtree(path.parent)
    erased = threading.Event()

    def pause() -> None:
        if not erased.is_set():
            erased.set()
            erasure.user(library, "u4")

    assert snapshots.save(library.pk, lambda: catalog.contents(library.pk), pause) is None
    assert not path.exists()
    assert list(path.parent.iterdir()) == []
