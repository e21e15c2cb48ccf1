"""Embeddings of several models beside each other, and moving the library from one to another."""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from service.bulk.reembedding import tidied
from service.errors import DatabaseUnavailable, ModelChanged
from service.storage.engine import Database
from service.storage.library import StoredUserFace, read_library
from service.storage.listener import Listener
from service.storage.models import Coverage, LibraryModel
from service.storage.source import PostgresChangeSource
from service.values import App, ChangeKind, Embedding
from tests.fixtures.library import DIMENSION, MODEL, enrol, new_app, random_embedding, stored_face
from tests.fixtures.waiting import wait_for, waiting

OLD, NEW = LibraryModel("old", MODEL), LibraryModel("new", "new-8-000000000000")
NEW_DIMENSION = 8


def new_embedding(seed: int) -> Embedding:
    vector = np.random.default_rng(seed).standard_normal(NEW_DIMENSION).astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector))


def face_pks(database: Database) -> list[int]:
    with database.read() as reader:
        return [face.pk for face in reader.models.unembedded("no model", 0, 1000)]


def embed(database: Database, app: App, seeds: dict[int, int]) -> None:
    with database.write(app.pk) as work:
        assert work.embeddings.add(NEW.model_id, {pk: new_embedding(seed) for pk, seed in seeds.items()}) == len(seeds)


def snapshot(database: Database, model: LibraryModel, dimension: int) -> dict[int, list[float]]:
    """Embeddings by face, of all apps."""
    found: dict[int, list[float]] = {}
    source = PostgresChangeSource(database, model.model_id, dimension)
    for _, _, blocks in source.snapshot():
        for faces, _, _, embeddings in blocks:
            found.update(zip(faces.tolist(), embeddings.tolist(), strict=True))
    return found


def move(database: Database, model: LibraryModel) -> None:
    with database.standstill() as still:
        still.activate(model)


def test_each_model_finds_its_own_embeddings_wherever_they_stand(database: Database, app: App) -> None:
    enrol(database, app, "group", "ada", "a" * 32, random_embedding(1))
    head = enrol(database, app, "group", "grace", "b" * 32, random_embedding(2))
    first, second = face_pks(database)
    embed(database, app, {first: 11})

    assert list(snapshot(database, NEW, NEW_DIMENSION)) == [first]
    assert snapshot(database, NEW, NEW_DIMENSION)[first] == new_embedding(11).tolist()
    assert sorted(snapshot(database, OLD, DIMENSION)) == [first, second]
    # The log tells of the new embedding: to an index of that model it is an addition.
    (change,) = PostgresChangeSource(database, NEW.model_id, NEW_DIMENSION).changes_since(app.pk, head, 10)
    assert (change.kind, change.face_pk) == (ChangeKind.ADD_FACE, first)
    assert change.embedding is not None
    assert change.embedding.tolist() == new_embedding(11).tolist()
    with database.read() as reader:
        assert reader.models.coverage(NEW.model_id) == Coverage(embedded=1, missing=1, without_crop=0)
        assert [face.pk for face in reader.models.unembedded(NEW.model_id, 0, 10)] == [second]
        assert reader.faces.count_by_model() == {OLD.model_id: 2, NEW.model_id: 1}
        known = reader.faces.stored_by_token(app.pk, "a" * 32, NEW.model_id)
        assert known is not None
        assert known.embedding is not None
        assert known.embedding.tolist() == new_embedding(11).tolist()


def test_an_embedding_is_added_once_and_goes_with_its_face(database: Database, app: App) -> None:
    enrol(database, app, "group", "ada", "a" * 32, random_embedding(1))
    (face,) = face_pks(database)
    embed(database, app, {face: 11})
    with database.write(app.pk) as work:
        assert work.embeddings.add(NEW.model_id, {face: new_embedding(12), face + 1000: new_embedding(13)}) == 0
        work.faces.delete(face)
    assert snapshot(database, NEW, NEW_DIMENSION) == {}
    with database.admin() as admin:
        assert admin.models.embeddings_beside() == 0


def test_a_copied_user_has_the_embeddings_of_every_model(database: Database, app: App) -> None:
    enrol(database, app, "group", "ada", "a" * 32, random_embedding(1))
    (face,) = face_pks(database)
    embed(database, app, {face: 11})
    with database.write(app.pk) as work:
        group = work.groups.get_or_create("other")
        (source,) = [entry.pk for entry in work.users.entries(app.pk, "ada")]
        work.faces.copy(source, work.users.insert(group, "ada"))
    assert list(snapshot(database, NEW, NEW_DIMENSION).values()) == [new_embedding(11).tolist()] * 2


def test_what_one_app_adds_does_not_reach_another(database: Database, app: App) -> None:
    other = new_app(database, "other")
    enrol(database, app, "group", "ada", "a" * 32, random_embedding(1))
    (face,) = face_pks(database)
    with database.write(other.pk) as work:
        assert work.embeddings.add(NEW.model_id, {face: new_embedding(11)}) == 0
    embed(database, app, {face: 11})
    with database.read(other.pk) as reader:
        assert reader.faces.stored_by_token(app.pk, "a" * 32, NEW.model_id) is None


def test_after_the_move_nothing_of_the_old_model_is_enrolled(database: Database, app: App) -> None:
    enrol(database, app, "group", "ada", "a" * 32, random_embedding(1))
    with database.admin() as admin:
        admin.models.begin(OLD, NEW)
    enrol(database, app, "group", "grace", "b" * 32, random_embedding(2))
    other = new_app(database, "other")
    enrol(database, other, "group", "ada", "a" * 32, random_embedding(3))
    pks = face_pks(database)
    with database.standstill() as still:
        assert [face.pk for face in still.models.unembedded(NEW.model_id, 0, 10)] == pks
        still.add(NEW.model_id, {pk: new_embedding(pk) for pk in pks})
        still.activate(NEW)

    with pytest.raises(ModelChanged) as told:
        enrol(database, app, "group", "edith", "c" * 32, random_embedding(4))
    assert told.value.model_id == NEW.model_id
    assert sorted(snapshot(database, NEW, NEW_DIMENSION)) == pks
    with database.read(app.pk) as reader:
        scope = reader.searching.scope(app.pk, ["group"], None)
        assert scope.model_id == NEW.model_id
        in_use = reader.models.in_use()
    assert (in_use.active, in_use.target, in_use.previous) == (NEW, None, OLD)
    assert PostgresChangeSource(database, NEW.model_id, NEW_DIMENSION).head(app.pk) == scope.head == 4


def test_going_back_is_a_move_like_any_other(database: Database, app: App) -> None:
    enrol(database, app, "group", "ada", "a" * 32, random_embedding(1))
    with database.admin() as admin:
        admin.models.begin(OLD, NEW)
    move(database, NEW)
    move(database, OLD)
    with database.read() as reader:
        in_use = reader.models.in_use()
    assert (in_use.active, in_use.previous) == (OLD, NEW)
    enrol(database, app, "group", "grace", "b" * 32, random_embedding(2))


def test_a_move_waits_for_who_is_enrolling(database: Database, app: App) -> None:
    """And sees what was enrolled: nothing slips through between the last look and the switch."""
    seen: queue.SimpleQueue[int] = queue.SimpleQueue()

    def moving() -> None:
        with database.standstill() as still:
            seen.put(len(still.models.unembedded(NEW.model_id, 0, 10)))

    with database.write(app.pk) as work:
        user = work.users.insert(work.groups.get_or_create("group"), "ada")
        work.faces.insert(user, stored_face("a" * 32), MODEL, random_embedding(1))
        thread = threading.Thread(target=moving)
        thread.start()
        time.sleep(0.2)  # time to do it wrong
        assert seen.empty()
    thread.join(30)
    assert seen.get(timeout=1) == 1


def test_tidying_keeps_one_embedding_a_face(database: Database, app: App) -> None:
    for number in range(3):
        enrol(database, app, "group", f"user{number}", f"{number:032}", random_embedding(number))
    first, second, behind = face_pks(database)
    embed(database, app, {first: 11, second: 12})
    with database.admin() as admin:
        admin.models.begin(OLD, NEW)
    move(database, NEW)
    with database.admin() as admin:
        admin.models.end()
        assert admin.models.apps_with_further() == [app.pk]
        assert admin.models.tidy(app.pk, NEW.model_id) == 2
        assert admin.models.tidy(app.pk, NEW.model_id) == 0
        assert admin.models.apps_with_further() == []
        assert admin.models.embeddings_beside() == 0
    assert sorted(snapshot(database, NEW, NEW_DIMENSION)) == [first, second]
    assert sorted(snapshot(database, OLD, DIMENSION)) == [behind]
    with database.read() as reader:
        in_use = reader.models.in_use()
    assert (in_use.active, in_use.target, in_use.previous) == (NEW, None, None)


def test_a_moved_library_is_exported_in_its_model(database: Database, app: App) -> None:
    for number in range(2):
        enrol(database, app, "group", f"user{number}", f"{number:032}", random_embedding(number))
    first, _ = face_pks(database)
    embed(database, app, {first: 11})
    assert exported(database, app) == [(OLD.model_id, random_embedding(number).tolist()) for number in range(2)]
    with database.admin() as admin:
        admin.models.begin(OLD, NEW)
    move(database, NEW)
    behind = (OLD.model_id, random_embedding(1).tolist())
    assert exported(database, app) == [(NEW.model_id, new_embedding(11).tolist()), behind]
    move(database, OLD)
    assert [model_id for model_id, _ in exported(database, app)] == [OLD.model_id] * 2


def exported(database: Database, app: App) -> list[tuple[str, list[float]]]:
    """Each face's model and embedding, in the order of enrolment."""
    rows = (row for row in read_library(database, app.pk) if isinstance(row, StoredUserFace))
    return [(row.model_id, row.embedding.tolist()) for row in rows]


def test_an_unfinished_move_is_ended_by_tidying(database: Database, app: App) -> None:
    enrol(database, app, "group", "ada", "a" * 32, random_embedding(1))
    (face,) = face_pks(database)
    embed(database, app, {face: 11})
    with database.admin() as admin:
        admin.models.begin(OLD, NEW)
        admin.models.end()
        assert admin.models.tidy(app.pk, OLD.model_id) == 1
        assert admin.models.embeddings_beside() == 0
    assert list(snapshot(database, OLD, DIMENSION)) == [face]


def test_a_user_who_is_copied_while_the_move_is_finished_is_found(database: Database, app: App) -> None:
    enrol(database, app, "group", "ada", "a" * 32, random_embedding(1))
    (face,) = face_pks(database)
    embed(database, app, {face: 11})
    with database.admin() as admin:
        admin.models.begin(OLD, NEW)
    move(database, NEW)
    with database.write(app.pk) as work:
        (source,) = [entry.pk for entry in work.users.entries(app.pk, "ada")]
        target = work.users.insert(work.groups.get_or_create("other"), "ada")

    def copy() -> None:
        with database.write(app.pk) as work:
            work.faces.copy(source, target)

    with ThreadPoolExecutor(2) as pool, database.bulk() as elsewhere:
        # The copy has read the face, and cannot go on before the user may be referred to.
        elsewhere.execute("SELECT FROM users WHERE pk = %s FOR UPDATE", (target,))
        copying = pool.submit(copy)
        wait_for(lambda: waiting(database) == 1)
        finishing = pool.submit(lambda: list(tidied(database, NEW.model_id)))
        wait_for(lambda: waiting(database) == 2 or finishing.done())
        elsewhere.rollback()
        copying.result(30)
        finishing.result(30)
    assert list(snapshot(database, NEW, NEW_DIMENSION).values()) == [new_embedding(11).tolist()] * 2
    assert snapshot(database, OLD, DIMENSION) == {}


def test_users_without_crops_are_named(database: Database, app: App) -> None:
    with database.write(app.pk) as work:
        user = work.users.insert(work.groups.get_or_create("group"), "ada")
        work.faces.insert(user, stored_face("a" * 32, portrait=None), MODEL, random_embedding(1))
        work.faces.insert(user, stored_face("b" * 32), MODEL, random_embedding(2))
    with database.read() as reader:
        assert reader.models.coverage(NEW.model_id) == Coverage(embedded=0, missing=1, without_crop=1)
        (needing,) = reader.models.needing_pictures(NEW.model_id)
        assert reader.models.needing_pictures(MODEL) == []
    assert (needing.app_id, needing.group_id, needing.user_id, needing.faces) == (app.app_id, "group", "ada", 1)


def test_one_move_at_a_time(database: Database) -> None:
    with database.moving() as first:
        assert first
        with database.moving() as second:
            assert not second
    with database.moving() as third:
        assert third


def test_servers_tell_what_they_have_loaded(database: Database) -> None:
    loaded: list[str] = [OLD.model_id]
    heard: queue.SimpleQueue[str] = queue.SimpleQueue()
    listener = Listener(
        database.url,
        on_change=lambda *_: None,
        on_app=lambda _: None,
        on_connect=lambda: heard.put("connected"),
        on_models=lambda: heard.put("models"),
        loaded=lambda: loaded,
    )
    listener.start()
    try:
        assert heard.get(timeout=30) == "connected"
        wait_for_servers(database, OLD, (1, 1))
        wait_for_servers(database, NEW, (1, 0))
        with database.admin() as admin:
            admin.models.begin(OLD, NEW)
        assert heard.get(timeout=30) == "models"
        loaded.append(NEW.model_id)
        wait_for_servers(database, NEW, (1, 1))
        loaded.remove(OLD.model_id)
        wait_for_servers(database, OLD, (1, 0))
    finally:
        listener.stop()
    wait_for_servers(database, NEW, (0, 0))


def wait_for_servers(database: Database, model: LibraryModel, expected: tuple[int, int]) -> None:
    deadline = time.monotonic() + 60
    found = None
    while found != expected:
        assert time.monotonic() < deadline, (found, expected)
        try:
            with database.read() as reader:
                found = reader.models.servers(model.model_id)
        except DatabaseUnavailable:
            continue
        time.sleep(0.02)
