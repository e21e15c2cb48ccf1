"""Faces remembered under their token."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np

from service.storage.engine import Database
from service.storage.rows import RememberedFace
from service.values import App
from tests.fixtures.library import MODEL, enrol, new_app, random_embedding, stored_face
from tests.fixtures.sealing import execute

HOUR = timedelta(hours=1)
PAST = timedelta(seconds=-1)


def _put(database: Database, app: App, lifetime: timedelta, *faces: RememberedFace) -> None:
    with database.admin() as admin:
        admin.tokens.put(app.pk, faces, MODEL, lifetime)


def _get(database: Database, app: App, token: str, model_id: str = MODEL) -> RememberedFace | None:
    with database.read() as reader:
        return reader.tokens.get(app.pk, token, model_id)


def test_a_face_is_remembered(database: Database, app: App) -> None:
    embedding = random_embedding(1)
    _put(database, app, HOUR, RememberedFace(stored_face("a"), embedding), RememberedFace(stored_face("b"), None))
    found = _get(database, app, "a")
    assert found is not None
    assert found.face == stored_face("a")
    assert found.embedding is not None
    assert np.array_equal(found.embedding, embedding)
    other = _get(database, app, "a", "another-model")
    assert other is not None
    assert other.embedding is None
    assert _get(database, app, "c") is None
    assert _get(database, new_app(database), "a") is None


def test_seeing_a_face_again(database: Database, app: App) -> None:
    embedding = random_embedding(1)
    _put(database, app, PAST, RememberedFace(stored_face("a"), embedding))
    assert _get(database, app, "a") is None
    again = RememberedFace(stored_face("a", b"another portrait"), None)
    _put(database, app, HOUR, again, again)
    found = _get(database, app, "a")
    assert found is not None
    assert found.face.portrait == b"another portrait"
    assert found.embedding is not None
    assert np.array_equal(found.embedding, embedding)


def test_expired_faces_are_purged(database: Database, app: App) -> None:
    _put(database, app, PAST, *(RememberedFace(stored_face(f"old{number}"), None) for number in range(5)))
    _put(database, app, HOUR, RememberedFace(stored_face("new"), None))
    _put(database, app, HOUR)
    with database.admin() as admin:
        assert admin.tokens.purge_expired(3) == 3
        assert admin.tokens.purge_expired(3) == 2
        assert admin.tokens.purge_expired(3) == 0
        assert admin.tokens.remove(app.pk, ["new", "old1"]) == 1
    assert _get(database, app, "new") is None


def test_requests_that_see_the_same_faces_do_not_block_each_other(database: Database, app: App) -> None:
    faces = [RememberedFace(stored_face(f"t{number}"), None) for number in range(10)]
    orders = [faces, faces[::-1]] * 20
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(_put, database, app, HOUR, *order) for order in orders]:
            future.result()


def test_what_is_remembered_goes_with_the_enrolled_face(database: Database, app: App) -> None:
    other = new_app(database)
    tokens = ("by-face", "by-user", "of-user", "by-group", "kept")
    for owner in (app, other):
        _put(database, owner, HOUR, *(RememberedFace(stored_face(token), None) for token in tokens))
    for token in tokens[:4]:
        enrol(database, app, "group", token, token, random_embedding(1))
    with database.write(app.pk) as work:
        group_pk = work.groups.get_or_create("group")
        users = {token: work.users.pk(group_pk, token) or 0 for token in tokens}
        work.faces.delete(work.faces.pk_by_token(users["by-face"], "by-face") or 0)
        work.users.delete(users["by-user"])
        work.faces.delete_of_user(users["of-user"])
    assert [_get(database, app, token) is None for token in tokens] == [True, True, True, False, False]
    with database.write(app.pk) as work:
        work.groups.delete(group_pk)
    assert [_get(database, app, token) is None for token in tokens] == [True, True, True, True, False]
    assert all(_get(database, other, token) is not None for token in tokens)


def test_tokens_go_with_their_app_and_none_comes_after_it(database: Database, database_url: str, app: App) -> None:
    other = new_app(database)
    for owner in (app, other):
        _put(database, owner, HOUR, RememberedFace(stored_face("a"), random_embedding(1)))
    with database.admin() as admin:
        admin.apps.delete(app.pk)
    with database.remembering(app.pk) as tokens:  # of a request that was under way
        tokens.put(app.pk, [RememberedFace(stored_face("b"), None)], MODEL, HOUR)
    assert execute(database_url, "SELECT app_pk, token FROM face_tokens") == [(other.pk, "a")]


def test_remembering_locks_no_row_of_a_logged_table(database: Database, database_url: str, app: App) -> None:
    # Who locks a row writes so into it and into the log, and waits for the disk when committing.
    lockers = "SELECT xmax::text FROM apps UNION ALL SELECT xmax::text FROM change_heads"
    before = execute(database_url, lockers)
    with database.remembering(app.pk) as tokens:
        tokens.put(app.pk, [RememberedFace(stored_face("a"), random_embedding(1))], MODEL, HOUR)
    assert _get(database, app, "a") is not None
    assert execute(database_url, lockers) == before
