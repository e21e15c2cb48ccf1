"""Snapshots by COPY."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from service.bulk.doubles import DoubleSearch
from service.calibration.scores import ScoreTable
from service.errors import DatabaseUnavailable
from service.search.catalog import Catalog
from service.storage import source
from service.storage.engine import Database
from service.storage.sealing import Mode
from service.storage.source import Block, PostgresChangeSource
from service.values import App
from tests.fixtures.library import DIMENSION, MODEL, enrol, new_app, random_embedding, stored_face
from tests.fixtures.sealing import execute, opened


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


@pytest.mark.parametrize("number", [1e4, 1e30, np.nan, -np.inf, 0.5], ids=str)
@pytest.mark.parametrize("mode", [Mode.OFF, Mode.ON])
def test_an_embedding_with_a_damaged_number_is_left_out_and_told_as_the_log_does(
    database_url: str, caplog: pytest.LogCaptureFixture, number: float, mode: Mode
) -> None:
    """One that is too long would be like half of all strangers; of one that is no number no codes can be made."""
    damaged = random_embedding(1).copy()
    damaged[3] = number
    with opened(database_url, mode, b"k" * 32) as database:
        app = new_app(database)
        for face, embedding in enumerate((random_embedding(0), damaged, random_embedding(2))):
            enrol(database, app, "group", f"u{face}", f"t{face}", embedding)
        changes = PostgresChangeSource(database, MODEL, DIMENSION)
        logged = [change.embedding is not None for change in changes.changes_since(app.pk, 0, 10)]
        assert logged == [True, False, True]
        caplog.clear()
        catalog = Catalog(changes, DIMENSION)
        catalog.load()
        assert catalog.faces() == 2
        assert catalog.faces_of_apps() == {}
        (record,) = [record for record in caplog.records if "cannot be read" in record.message]
        assert (record.faces, record.app) == (1, app.pk)  # type: ignore[attr-defined]


def test_a_database_that_is_away() -> None:
    database = Database("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(DatabaseUnavailable):
        _everything(PostgresChangeSource(database, MODEL, DIMENSION))
    database.close()


def test_the_faces_of_some_groups_alone(database: Database, app: App) -> None:
    for number, group in enumerate(("g0", "g1", "g2", "g1")):
        enrol(database, app, group, f"u{number}", f"t{number}", random_embedding(number))
    with database.read() as reader:
        groups = reader.groups.pks(app.pk, ["g0", "g1"])
        (user,) = reader.users.entries(app.pk, "u3")
        assert reader.users.groups_of([user.pk, user.pk + 1000]) == {groups["g1"]}
    changes = PostgresChangeSource(database, MODEL, DIMENSION)
    for wanted, found in ((set(groups.values()), 3), ({groups["g1"]}, 2), (set[int](), 0), (None, 4)):
        with contextlib.closing(changes.snapshot(app.pk, groups=wanted)) as snapshot:
            ((_, _, blocks),) = [(pk, head, list(blocks)) for pk, head, blocks in snapshot]
            assert sum(len(block[0]) for block in blocks) == found
            assert wanted is None or {pk for block in blocks for pk in block[2].tolist()} <= set(wanted)


def test_doubles_of_some_users_are_sought_in_their_groups_alone(
    database: Database, app: App, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Reading a face that cannot be read is told."""
    for user in ("ada", "twin"):
        enrol(database, app, "staff", user, f"of {user}", random_embedding(1))
        enrol(database, app, "others", user, f"other of {user}", random_embedding(2))
    execute(database_url, "UPDATE faces SET embedding = 'four' WHERE token = 'other of ada'")
    scores = ScoreTable([(-1.0, 0.0), (1.0, 99.0)], fitted=False)
    search = DoubleSearch(database, MODEL, DIMENSION, scores)
    with database.read() as reader:
        touched = [entry.pk for entry in reader.users.entries(app.pk, "ada") if entry.group_id == "staff"]
    (named,) = search.run(app.pk, touched)
    assert [user.user_id for user in named.users] == ["ada", "twin"]
    assert "cannot be read" not in caplog.text
    assert len(search.run(app.pk)) == 1
    assert "cannot be read" in caplog.text
