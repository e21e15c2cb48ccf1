"""Faces remembered under their token."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import numpy as np
import psycopg
import pytest
from sqlalchemy.engine import make_url

from service.storage.engine import Database
from service.storage.rows import RememberedFace
from service.storage.tokens import GRACE
from service.storage.urls import driver_address
from service.values import App
from tests.fixtures.library import MODEL, enrol, new_app, random_embedding, stored_face
from tests.fixtures.sealing import execute
from tests.fixtures.waiting import wait_for, waiting

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


def test_what_is_remembered_ends_soon_after_the_enrolled_face(database: Database, database_url: str, app: App) -> None:
    other, tokens = new_app(database), ("by-face", "by-user", "of-user", "by-group", "kept")
    for owner in (app, other):
        _put(database, owner, HOUR, *(RememberedFace(stored_face(token), None) for token in tokens))
    for token in tokens[:4]:
        enrol(database, app, "group", token, token, random_embedding(1))

    def ending(owner: App) -> set[object]:
        query = "SELECT token FROM face_tokens WHERE app_pk = %s AND expires <= now() + %s"
        return {token for (token,) in execute(database_url, query, owner.pk, GRACE)}

    with database.write(app.pk) as work:
        group_pk = work.groups.get_or_create("group")
        users = {token: work.users.pk(group_pk, token) or 0 for token in tokens}
        work.faces.delete(work.faces.pk_by_token(users["by-face"], "by-face") or 0)
        work.users.delete(users["by-user"])
        work.faces.delete_of_users(users["of-user"])
    assert ending(app) == set(tokens[:3])
    with database.write(app.pk) as work:
        work.groups.delete(group_pk)
    assert (ending(app), ending(other)) == (set(tokens[:4]), set())
    assert all(_get(database, owner, token) is not None for owner in (app, other) for token in tokens)
    _put(database, app, HOUR, RememberedFace(stored_face("by-user"), None))
    assert ending(app) == {"by-face", "of-user", "by-group"}  # told anew, it is as good as any


def test_nothing_is_kept_of_a_face_that_was_deleted_since_it_was_recalled(database: Database, app: App) -> None:
    """By a request that waited for its turn meanwhile: nobody sent a picture of that face."""
    for token in ("gone", "there"):
        enrol(database, app, "group", token, token, random_embedding(1))
    recalled = [RememberedFace(stored_face(token), None, recalled=True) for token in ("gone", "there", "told")]
    _put(database, app, HOUR, RememberedFace(stored_face("told"), None))
    with database.write(app.pk) as work:
        work.users.delete(work.users.pk(work.groups.get_or_create("group"), "gone") or 0)
    _put(database, app, HOUR, *recalled)
    assert _get(database, app, "gone") is None
    assert _get(database, app, "there") is not None
    assert _get(database, app, "told") is not None


def test_what_has_expired_stays_so_when_the_face_is_deleted(database: Database, app: App) -> None:
    _put(database, app, PAST, RememberedFace(stored_face("a"), None))
    enrol(database, app, "group", "user", "a", random_embedding(1))
    with database.write(app.pk) as work:
        work.groups.delete(work.groups.get_or_create("group"))
    assert _get(database, app, "a") is None


@pytest.mark.parametrize("erasing", [False, True])
def test_who_deletes_waits_for_tokens_in_the_order_in_which_they_are_told(
    database: Database, database_url: str, app: App, erasing: bool
) -> None:
    tokens = [f"t{number}" for number in range(9)]
    for token in reversed(tokens):
        _put(database, app, HOUR, RememberedFace(stored_face(token), None))
        enrol(database, app, "group", "user", token, random_embedding(1))

    # Otherwise read from its beginning: where the index is used, it may have the order by chance.
    scanning = make_url(database_url).update_query_dict(
        {"options": "-c enable_indexscan=off -c enable_indexonlyscan=off -c enable_bitmapscan=off"}
    )

    def delete() -> None:
        address = scanning.render_as_string(hide_password=False)
        with contextlib.closing(Database(address)) as deleting, deleting.write(app.pk) as work:
            user = work.users.pk(work.groups.get_or_create("group"), "user") or 0
            if erasing:
                work.erasing.faces(app.pk, [user])
            work.users.delete(user)

    free = "SELECT token FROM face_tokens ORDER BY token FOR UPDATE SKIP LOCKED"
    with ThreadPoolExecutor(1) as pool, psycopg.connect(driver_address(database_url)) as telling:
        telling.execute("SELECT FROM face_tokens WHERE token = 't3' FOR UPDATE")
        deleted = pool.submit(delete)
        wait_for(lambda: waiting(database) == 1)
        assert execute(database_url, free) == [(token,) for token in tokens[4:]]
        telling.commit()
        deleted.result()


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
