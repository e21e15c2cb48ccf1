"""Snapshots that cannot be written, that others throw away, and that are of a model that was left."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from service.errors import DatabaseUnavailable
from service.search import keeper as keeper_module
from service.search.catalog import Catalog
from service.search.folder import SnapshotFolder
from service.search.keeper import SnapshotKeeper
from service.search.snapshot_file import Contents
from service.search.snapshots import Snapshots
from service.search.tiered import TieredIndex
from service.storage.engine import Database
from service.storage.source import PostgresChangeSource
from service.values import App
from tests.fixtures.library import DIMENSION, MODEL, enrol, new_app, random_embedding


def test_a_snapshot_that_fails_is_not_tried_every_round(
    database: Database, app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(database, app, "group", "user", "t", random_embedding(0))
    snapshots = Snapshots(tmp_path, MODEL, DIMENSION)
    catalog = Catalog(PostgresChangeSource(database, MODEL, DIMENSION), DIMENSION, TieredIndex, snapshots)
    catalog.load()
    keeper = SnapshotKeeper(catalog, snapshots, interval=1e9, least_faces=1)
    now, tried = 1e10, []
    monkeypatch.setattr(keeper_module, "_now", lambda: now)

    def failing(*_: object) -> None:
        tried.append(now)
        raise OSError(28, "no room")

    with monkeypatch.context() as patched:
        patched.setattr(Snapshots, "save", failing)
        for _ in range(3):
            keeper._attempt(last=False)
        assert len(tried) == 1
        keeper._attempt(last=True)
        assert len(tried) == 2
    now += 61
    keeper._attempt(last=False)
    assert snapshots.saved(app.pk) is not None
    snapshots.folder.release()


def started(database: Database, snapshots: Snapshots) -> Catalog:
    catalog = Catalog(PostgresChangeSource(database, MODEL, DIMENSION), DIMENSION, TieredIndex, snapshots)
    catalog.load()
    return catalog


def test_one_app_without_room_keeps_no_other_from_being_written(
    database: Database, app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    apps = [app, new_app(database), new_app(database)]
    for each in apps:
        enrol(database, each, "group", "user", "t", random_embedding(0))
    check_room = Snapshots._check_room

    def narrow(snapshots: Snapshots, library: Contents) -> None:
        if library.app_pk == apps[0].pk:
            raise OSError(28, "no room")
        if library.app_pk == apps[1].pk:
            raise ValueError
        check_room(snapshots, library)

    monkeypatch.setattr(Snapshots, "_check_room", narrow)
    snapshots = Snapshots(tmp_path, MODEL, DIMENSION)
    SnapshotKeeper(started(database, snapshots), snapshots, interval=1e9, least_faces=1)._attempt(last=True)
    assert snapshots.folder.apps() == [apps[2].pk]
    failed = {
        getattr(record, "app_pk", None): record.message for record in caplog.records if record.levelname != "INFO"
    }
    assert failed == {apps[0].pk: "no snapshot was written: no room", apps[1].pk: "writing snapshots failed"}
    snapshots.folder.release()


def test_the_end_waits_for_a_database_that_is_away_no_longer_than_for_writing(
    database: Database, app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many apps each would find out for itself."""
    apps = [app, *(new_app(database) for _ in range(4))]
    for each in apps:
        enrol(database, each, "group", "user", "t", random_embedding(0))
    snapshots = Snapshots(tmp_path, MODEL, DIMENSION)
    catalog = started(database, snapshots)
    now, asked = 1e10, list[int]()
    monkeypatch.setattr(keeper_module, "_now", lambda: now)

    def away(app_pk: int) -> None:
        nonlocal now
        now += keeper_module.CLOSING_SECONDS * 0.6
        asked.append(app_pk)
        raise DatabaseUnavailable("away")

    monkeypatch.setattr(catalog, "catch_up", away)
    keeper = SnapshotKeeper(catalog, snapshots, interval=1e9, least_faces=1)
    keeper.stop()
    keeper._attempt(last=True)
    assert len(asked) == 2
    snapshots.folder.release()


def test_a_snapshot_that_was_written_while_another_process_starts_stays_and_is_used(
    database: Database, app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrol(database, app, "group", "user", "t", random_embedding(0))
    ours, theirs = (Snapshots(tmp_path, MODEL, DIMENSION) for _ in range(2))
    running = started(database, ours)
    keeper = SnapshotKeeper(running, ours, interval=1e9, least_faces=1)
    source = PostgresChangeSource(database, MODEL, DIMENSION)
    heads = source.heads

    def then_written() -> dict[int, int]:
        read = heads()
        enrol(database, app, "group", "late", "t", random_embedding(1))
        running.catch_up(app.pk)
        keeper.round(last=True)
        return read

    monkeypatch.setattr(source, "heads", then_written)
    starting = Catalog(source, DIMENSION, TieredIndex, theirs)
    starting.load()
    assert "2 of 2 faces from snapshots" in starting.origin()
    assert ours.folder.apps() == [app.pk]
    ours.folder.release()


def test_a_snapshot_that_another_process_has_thrown_away_is_written_again(
    database: Database, app: App, tmp_path: Path
) -> None:
    enrol(database, app, "group", "user", "t", random_embedding(0))
    snapshots = Snapshots(tmp_path, MODEL, DIMENSION)
    keeper = SnapshotKeeper(started(database, snapshots), snapshots, interval=1e9, least_faces=1)
    keeper.round(last=True)
    for last in (True, False):
        snapshots.discard(app.pk, "it could not be used")
        keeper.round(last=last)
        assert snapshots.folder.apps() == [app.pk]
    snapshots.folder.release()


def test_the_end_leaves_no_snapshots_of_a_model_that_was_left(database: Database, app: App, tmp_path: Path) -> None:
    enrol(database, app, "group", "user", "t", random_embedding(0))
    snapshots = Snapshots(tmp_path, MODEL, DIMENSION)
    left = SnapshotFolder(tmp_path, "left", DIMENSION)
    left.make()
    left.file(app.pk).write_bytes(b"")
    held = os.open(left.path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(held, fcntl.LOCK_EX)  # as the other model's keeper does, for a minute more
    keeper = SnapshotKeeper(started(database, snapshots), snapshots, interval=1e9, least_faces=1)
    keeper.round()
    os.close(held)
    keeper.round()
    assert left.apps() == [app.pk]  # the library may go back to it
    keeper.round(last=True)
    assert not left.path.exists()
    assert snapshots.folder.apps() == [app.pk]
    snapshots.folder.release()
