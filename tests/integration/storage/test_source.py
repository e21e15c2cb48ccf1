"""Snapshots by COPY."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from service.errors import DatabaseUnavailable
from service.storage import source
from service.storage.engine import Database
from service.storage.source import Block, PostgresChangeSource
from service.values import App
from tests.fixtures.library import DIMENSION, MODEL, enrol, new_app, random_embedding, stored_face
from tests.fixtures.sealing import execute


def _everything(changes: PostgresChangeSource, app_pk: int | None = None) -> dict[int, tuple[int, list[Block]]]:
    with contextlib.closing(changes.snapshot(app_pk)) as snapshot:
        return {pk: (head.seq, list(blocks)) for pk, head, blocks in snapshot}


def test_everything_comes_out_once(database: Database, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "BLOCK_ROWS", 16)
    empty = new_app(database)
    with database.write(app.pk) as work:
        groups = [work.groups.insert(name) for name in ("g0", "g1")]
        for number in range(50):
            user_pk = work.users.insert(groups[number % 2], f"u{number}")
            work.faces.insert(user_pk, stored_face("t"), MODEL, random_embedding(number))
    changes = PostgresChangeSource(database, MODEL, DIMENSION)
    found = _everything(changes)
    assert set(found) == {app.pk, empty.pk}
    assert found[empty.pk] == (0, [])
    seq, blocks = found[app.pk]
    assert seq == 50
    assert len(blocks) > 1
    face_pks, user_pks, group_pks, embeddings = (np.concatenate(column) for column in zip(*blocks, strict=True))
    order = np.argsort(face_pks)
    assert len(set(face_pks.tolist())) == len(set(user_pks.tolist())) == 50
    assert group_pks[order].tolist() == groups * 25
    assert embeddings.dtype == np.float32
    assert np.array_equal(embeddings[order], np.stack([random_embedding(number) for number in range(50)]))
    assert _everything(changes, empty.pk) == {empty.pk: (0, [])}
    assert _everything(changes, 404) == {}


def test_a_snapshot_is_of_one_moment(database: Database, app: App) -> None:
    other = new_app(database)
    enrol(database, other, "group", "user", "t0", random_embedding(0))
    with contextlib.closing(PostgresChangeSource(database, MODEL, DIMENSION).snapshot()) as snapshot:
        pk, head, blocks = next(snapshot)
        enrol(database, app, "group", "user", "t1", random_embedding(1))
        enrol(database, other, "group", "user", "t2", random_embedding(2))
        assert (pk, head.seq, list(blocks)) == (app.pk, 0, [])
        pk, head, blocks = next(snapshot)
        assert (pk, head.seq, [len(block[0]) for block in blocks]) == (other.pk, 1, [1])


def test_faces_of_other_models_stay_out(database: Database, app: App) -> None:
    enrol(database, app, "group", "user", "t0", random_embedding(0))
    assert _everything(PostgresChangeSource(database, "another-model", DIMENSION)) == {app.pk: (1, [])}


@pytest.mark.parametrize("size", [0, 32, 200])
def test_an_embedding_of_the_wrong_size_is_left_out_and_told(
    database: Database, app: App, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    """One damaged row must not keep a server from starting."""
    for number in range(3):
        enrol(database, app, "group", f"u{number}", f"t{number}", random_embedding(number))
    execute(database.url, "UPDATE faces SET embedding = %s WHERE token = 't1'", bytes(size))
    _, blocks = _everything(PostgresChangeSource(database, MODEL, DIMENSION))[app.pk]
    embeddings = np.concatenate([block[3] for block in blocks])
    assert np.array_equal(embeddings, np.stack([random_embedding(number) for number in (0, 2)]))
    (record,) = [record for record in caplog.records if "another dimension" in record.message]
    assert (record.faces, record.app) == (1, app.pk)  # type: ignore[attr-defined]


def test_a_database_that_is_away() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(DatabaseUnavailable):
        _everything(PostgresChangeSource(database, MODEL, DIMENSION))
    database.close()
