"""Embedding a library anew: in passes, resumable, with what was enrolled meanwhile; and what cannot follow."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from service.bulk import reembedding
from service.bulk.reembedding import LAST_FACES, Reembedding, from_known_points, from_new_points, tidied
from service.errors import FaceTokenNotFound
from service.intake import seen
from service.parts import Models
from service.storage.engine import Database
from service.storage.models import Coverage, LibraryModel
from service.storage.source import PostgresChangeSource
from service.values import App, Embedding, StoredFace
from tests.fixtures.library import MODEL, new_app, random_embedding, stored_face
from tests.fixtures.pictures import Pictures

OLD, NEW = LibraryModel("old", MODEL), LibraryModel("new", "new-4-000000000000")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def app(database: Database) -> App:
    return new_app(database)


def enrol(database: Database, app: App, count: int, prefix: str = "", *, crop: bytes | None = b"crop") -> None:
    """One user a face."""
    with database.write(app.pk) as work:
        group = work.groups.get_or_create("group")
        for number in range(count):
            name = f"{prefix}{number:04}"
            user = work.users.insert(group, f"user_{name}")
            work.faces.insert(user, stored_face(f"token{name}", crop), MODEL, random_embedding(number))


def embed(stored: StoredFace) -> Embedding:
    if stored.portrait == b"damaged":
        raise FaceTokenNotFound(stored.token)
    direction = np.array([1, *stored.token.encode()[-3:]], np.float32)
    return np.asarray(direction / np.linalg.norm(direction), np.float32)


def moving(database: Database) -> Reembedding:
    return Reembedding(database, NEW, embed, threads=2)


def searchable(database: Database, app: App, model: LibraryModel, dimension: int) -> int:
    source = PostgresChangeSource(database, model.model_id, dimension)
    return sum(len(block[0]) for _, _, blocks in source.snapshot(app.pk) for block in blocks)


def test_an_interrupted_run_goes_on_where_it_was(database: Database, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reembedding, "BATCH_FACES", 4)
    enrol(database, app, 10)
    first = moving(database).catch_up()
    assert next(first) == 4
    first.close()
    second = moving(database)
    assert second.coverage() == Coverage(embedded=4, missing=6, without_crop=0)
    assert sum(second.catch_up()) == 6
    assert second.coverage() == Coverage(embedded=10, missing=0, without_crop=0)
    assert sum(moving(database).catch_up()) == 0
    assert searchable(database, app, NEW, 4) == searchable(database, app, OLD, 24) == 10


def test_the_switch_takes_the_last_faces_along_and_refuses_many(database: Database, app: App) -> None:
    enrol(database, app, 3)
    work = moving(database)
    assert sum(work.catch_up()) == 3
    enrol(database, app, LAST_FACES + 1, "late")
    other = new_app(database, "other")
    enrol(database, other, 1)
    assert not work.switch()
    assert searchable(database, app, OLD, 24) == LAST_FACES + 4
    assert sum(work.catch_up()) == LAST_FACES + 2
    enrol(database, app, 2, "last")
    enrol(database, other, 2, "last")
    assert work.switch()
    assert searchable(database, app, NEW, 4) == LAST_FACES + 6
    assert searchable(database, other, NEW, 4) == 3


def test_what_has_no_crop_or_a_damaged_one_stays_behind_and_is_kept(database: Database, app: App) -> None:
    enrol(database, app, 2)
    enrol(database, app, 1, "bare", crop=None)
    enrol(database, app, 1, "broken", crop=b"damaged")
    with database.admin() as admin:
        admin.models.begin(OLD, NEW)
    work = moving(database)
    assert sum(work.catch_up()) == 2
    assert work.coverage() == Coverage(embedded=2, missing=0, without_crop=2)
    assert work.switch(leave_behind=True)
    assert sum(tidied(database, NEW.model_id)) == 2
    assert searchable(database, app, NEW, 4) == 2
    assert searchable(database, app, OLD, 24) == 2


@pytest.mark.parametrize("crop", [None, b"damaged"])
def test_nobody_is_left_behind_unasked_who_is_enrolled_before_the_switch(
    database: Database, app: App, crop: bytes | None
) -> None:
    enrol(database, app, 1)
    with database.admin() as admin:
        admin.models.begin(OLD, NEW)
    work = moving(database)
    assert sum(work.catch_up()) == 1
    assert work.coverage() == Coverage(embedded=1, missing=0, without_crop=0)
    enrol(database, app, 1, "late", crop=crop)
    assert not work.switch()
    with database.read() as reader:
        assert reader.models.active_id() == OLD.model_id
    assert work.coverage() == Coverage(embedded=1, missing=0, without_crop=1)
    assert work.switch(leave_behind=True)


def test_points_found_in_the_crop_agree_with_those_that_were_stored(models: Models, pictures: Pictures) -> None:
    """Within what the crop's compression and another look cost; and both with the picture's own embedding."""
    image = seen.decode_jpeg(pictures.bytes("obama.jpg"))
    engine = models.engine
    face = seen.found(engine, image, engine.detect(image, 1)[0], "0" * 32)
    for embedder in (from_known_points(engine), from_new_points(engine)):
        assert float(np.dot(embedder(face.stored), face.embedding)) > 0.98
