"""Databases that lost their last changes and went on from there, under catalogs that had seen those changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from service.search.catalog import Catalog
from service.search.keeper import SnapshotKeeper
from service.search.milvus import MilvusCatalog
from service.search.protocol import FaceSearch
from service.search.snapshots import Snapshots
from service.search.tiered import TieredIndex
from service.storage.engine import Database
from service.storage.source import Blocks, PostgresChangeSource
from service.storage.urls import driver_address
from service.upkeep import pruned
from service.values import App, Embedding, LogHead
from tests.fixtures.library import DIMENSION, MODEL, enrol, random_embedding
from tests.fixtures.sealing import execute

NAMES = ["first", "second"]
LOST, NEW, LAST = random_embedding(10), random_embedding(11), random_embedding(12)

Started = Callable[[], FaceSearch]


class Source(PostgresChangeSource):
    """Tells when the database is read as a whole."""

    meanwhile: Callable[[], None] | None = None
    snapshots = 0

    def snapshot(
        self, app_pk: int | None = None, *, without: Collection[int] = (), groups: Collection[int] | None = None
    ) -> Generator[tuple[int, LogHead, Blocks], None, None]:
        self.snapshots += 1
        if self.meanwhile is not None:
            self.meanwhile()
        yield from super().snapshot(app_pk, without=without, groups=groups)


@pytest.fixture
def source(database: Database) -> Source:
    return Source(database, MODEL, DIMENSION)


@pytest.fixture(params=["memory", "milvus"])
def started(request: pytest.FixtureRequest, source: Source, tmp_path: Path) -> Iterator[Started]:
    """Makes catalogs, of processes that share a home or a Milvus."""
    made: list[MilvusCatalog] = []

    def start() -> FaceSearch:
        if request.param == "memory":
            catalog: FaceSearch = Catalog(source, DIMENSION, TieredIndex, Snapshots(tmp_path, MODEL, DIMENSION))
        else:
            made.append(
                MilvusCatalog(
                    source, MODEL, DIMENSION, installation="test", uri=str(tmp_path / "m.db"), index_type="FLAT"
                )
            )
            catalog = made[-1]
        catalog.load()
        return catalog

    yield start
    for one in made:
        one.close()


@pytest.fixture
def library(database: Database, app: App) -> App:
    for number, name in enumerate(NAMES):
        enrol(database, app, "group", name, "t", random_embedding(number))
    return app


def take_over(database: Database, app: App) -> None:
    """Go on with a standby that never got the last change; numbers of rows are given further on, as there."""
    statements = (
        "DELETE FROM users WHERE pk = (SELECT user_pk FROM changes WHERE app_pk = {app} AND seq = {seq})",
        "DELETE FROM changes WHERE app_pk = {app} AND seq = {seq}",
        "UPDATE change_heads SET seq = {seq} - 1 WHERE app_pk = {app}",
    )
    numbers = {"app": sql.Literal(app.pk), "seq": sql.Literal(len(NAMES) + 1)}
    with psycopg.connect(driver_address(database.url), autocommit=True) as connection:
        for statement in statements:
            connection.execute(sql.SQL(statement).format(**numbers))


def is_found(database: Database, catalog: FaceSearch, app: App, probe: Embedding) -> bool:
    with database.read() as reader:
        group_pk = reader.groups.pks(app.pk, ["group"])["group"]
    return bool(catalog.search(app.pk, [group_pk], probe, 5, 0.99))


@pytest.mark.parametrize("further", [0, 1])
def test_a_standby_that_lacks_the_last_change_takes_over(
    database: Database, library: App, started: Started, further: int
) -> None:
    catalog = started()
    catalog.catch_up(library.pk, enrol(database, library, "group", "lost", "t", LOST))
    take_over(database, library)
    catalog.catch_up(library.pk, enrol(database, library, "group", "new", "t", NEW))
    for _ in range(further):
        catalog.catch_up(library.pk, enrol(database, library, "group", "last", "t", LAST))
    catalog.catch_up_all()  # as when the listener has connected anew
    for one in (catalog, started()):
        assert is_found(database, one, library, NEW)
        assert is_found(database, one, library, LAST) == bool(further)
        assert not is_found(database, one, library, LOST)


def test_catching_up_with_everything_notices_it_too(database: Database, library: App, started: Started) -> None:
    catalog = started()
    catalog.catch_up(library.pk, enrol(database, library, "group", "lost", "t", LOST))
    take_over(database, library)
    enrol(database, library, "group", "new", "t", NEW)
    catalog.catch_up(library.pk)
    assert is_found(database, catalog, library, NEW)
    assert not is_found(database, catalog, library, LOST)


def test_who_hears_late_of_what_is_there_long_since_does_nothing(
    database: Database, library: App, started: Started, source: Source
) -> None:
    late, ahead = started(), started()
    first = enrol(database, library, "group", "new", "t", NEW)
    second = enrol(database, library, "group", "last", "t", LAST)
    ahead.catch_up(library.pk, second)
    before = source.snapshots
    late.catch_up(library.pk, first)
    assert source.snapshots == before
    assert is_found(database, late, library, NEW)


def test_nobody_is_missed_while_everything_is_filled_anew(
    database: Database, library: App, started: Started, source: Source
) -> None:
    catalog, other = started(), started()
    enrol(database, library, "group", "new", "t", NEW)
    list(pruned(database, library.pk, keep=0))
    seen: list[bool] = []
    source.meanwhile = lambda: seen.append(is_found(database, other, library, random_embedding(0)))
    catalog.catch_up(library.pk)
    source.meanwhile = None
    assert seen == [True]
    for one in (catalog, other):
        one.catch_up_all()
        assert is_found(database, one, library, NEW)
        assert is_found(database, one, library, random_embedding(1))


def test_a_face_that_cannot_be_read_is_found_once_it_can(
    source: Source, library: App, tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    snapshots = Snapshots(tmp_path, MODEL, DIMENSION)

    def life() -> tuple[int, int, int]:
        """Of a process from its start to its end: its faces, those that came from a snapshot, the snapshots it left."""
        catalog = Catalog(source, DIMENSION, TieredIndex, snapshots)
        catalog.load()
        restored = int(catalog.origin().partition(", ")[2].partition(" of ")[0])
        SnapshotKeeper(catalog, snapshots, interval=1e9, least_faces=1).round(last=True)
        snapshots.folder.release()
        return catalog.faces(), restored, len(snapshots.folder.apps())

    execute(database.url, "CREATE TABLE kept AS SELECT pk, embedding FROM faces ORDER BY pk LIMIT 1")
    execute(database.url, "UPDATE faces SET embedding = '\\x0000' WHERE pk = (SELECT min(pk) FROM faces)")
    assert life() == (1, 0, 0)
    enrol(database, library, "group", "later", "t", LAST)
    assert life() == (2, 0, 0)  # everything is read each time: nothing would tell of one that was mended in its place
    assert caplog.text.count("stored faces cannot be read") == 2
    execute(database.url, "UPDATE faces SET embedding = kept.embedding FROM kept WHERE kept.pk = faces.pk")
    assert life() == (3, 0, 1)
    assert life() == (3, 3, 1)


def test_a_snapshot_is_of_all_faces(source: Source, library: App, tmp_path: Path, database: Database) -> None:
    snapshots = Snapshots(tmp_path, MODEL, DIMENSION)
    catalog = Catalog(source, DIMENSION, TieredIndex, snapshots)
    keeper = SnapshotKeeper(catalog, snapshots, interval=1e9, least_faces=1)
    catalog.load()
    keeper.round(last=True)
    execute(database.url, "UPDATE faces SET embedding = '\\x0000' WHERE pk = (SELECT min(pk) FROM faces)")
    later = Catalog(source, DIMENSION, TieredIndex, snapshots)
    later.load()
    assert later.faces() == 2  # of a snapshot of before the damage
    enrol(database, library, "group", "new", "t", NEW)
    enrol(database, library, "group", "later", "t", LAST)
    list(pruned(database, library.pk, keep=1))
    catalog.catch_up(library.pk)  # reads everything
    assert (catalog.faces(), catalog.contents(library.pk)) == (3, None)
    assert snapshots.folder.apps() == [library.pk]
    keeper.round()
    assert snapshots.folder.apps() == []
    snapshots.folder.release()
