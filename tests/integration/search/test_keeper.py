"""Snapshots that cannot be written: the keeper waits before it tries again, and the last round tries in any case."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.search import keeper as keeper_module
from service.search.catalog import Catalog
from service.search.keeper import SnapshotKeeper
from service.search.snapshots import Snapshots
from service.search.tiered import TieredIndex
from service.storage.engine import Database
from service.storage.source import PostgresChangeSource
from service.values import App
from tests.fixtures.library import DIMENSION, MODEL, enrol, random_embedding


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
