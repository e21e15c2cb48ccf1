"""Groups, users and faces in the database."""

from __future__ import annotations

import numpy as np
import pytest

from service.errors import (
    EnrolledFaceNotFound,
    FaceExists,
    GroupExists,
    GroupNotFound,
    UserAlreadyInGroup,
    UserNotFound,
)
from service.storage.engine import Database
from service.values import App, UserEntry
from tests.fixtures.library import MODEL, enrol, new_app, random_embedding, stored_face


def test_groups(database: Database, app: App) -> None:
    with database.write(app.pk) as work:
        pks = [work.groups.insert(name) for name in ("zebra", "Zebra", "ant")]
        assert work.groups.get_or_create("ant") == pks[2]
        pks.append(work.groups.get_or_create("bee"))
        with pytest.raises(GroupExists):
            work.groups.insert("ant")
    with database.read() as reader:
        assert reader.groups.pks(app.pk, ["ant", "zebra", "cow"]) == {"ant": pks[2], "zebra": pks[0]}
        assert reader.groups.pk(app.pk, "Zebra") == pks[1]
        assert reader.groups.pk(new_app(database).pk, "Zebra") is None
        assert reader.groups.names(app.pk, 0, 100) == ["zebra", "Zebra", "ant", "bee"]
        assert reader.groups.names(app.pk, 1, 2) == ["Zebra", "ant"]
        assert reader.groups.names(app.pk, 4, 2) == []
        assert reader.groups.pks(app.pk, []) == {}


def test_users(database: Database, app: App) -> None:
    with database.write(app.pk) as work:
        first, second = work.groups.insert("first"), work.groups.insert("second")
        one = work.users.insert(first, "u1", "张三")
        two = work.users.insert(second, "u1")
        work.users.insert(first, "u0", "info")
        with pytest.raises(UserAlreadyInGroup):
            work.users.insert(first, "u1", "other")
        with pytest.raises(GroupNotFound):
            work.users.insert(404, "u1")
        work.users.set_info(two, "new")
        with pytest.raises(UserNotFound):
            work.users.set_info(404, "new")
    entries = [UserEntry(one, "first", "u1", "张三"), UserEntry(two, "second", "u1", "new")]
    with database.read() as reader:
        assert reader.users.entries(app.pk, "u1") == entries
        assert reader.users.pk(second, "u1") == two
        assert reader.users.pk(second, "U1") is None
        assert reader.users.pks([first, second, 404], "u1") == [one, two]
        assert reader.users.entries_by_pk([two, one, 404]) == {one: entries[0], two: entries[1]}
        assert reader.groups.users(first, 0, 10) == ["u1", "u0"]
        assert reader.groups.users(first, 1, 10) == ["u0"]


def test_a_face_comes_back_as_it_was(database: Database, app: App) -> None:
    face, embedding = stored_face("token"), random_embedding(1)
    with database.write(app.pk) as work:
        user_pk = work.users.insert(work.groups.insert("group"), "user")
        pk = work.faces.insert(user_pk, face, MODEL, embedding, quality={"blur": 0.25})
        with pytest.raises(FaceExists):
            work.faces.insert(user_pk, face, MODEL, embedding)
        with pytest.raises(UserNotFound):
            work.faces.insert(404, face, MODEL, embedding)
    with database.read() as reader:
        assert reader.faces.count(user_pk) == 1
        assert reader.faces.exists(user_pk, "token")
        assert reader.faces.pk_by_token(user_pk, "token") == pk
        assert [(entry.pk, entry.token) for entry in reader.faces.entries(user_pk)] == [(pk, "token")]
        (known,) = reader.searching.found([pk, 404]).values()
        assert (known.token, known.user.pk, known.user.group_id) == ("token", user_pk, "group")
        scope = reader.searching.scope(app.pk, ["group", "absent"], None)
        assert (list(scope.groups), scope.head) == (["group"], reader.changes.head(app.pk))
        assert reader.searching.scope(404, ["group"], None).groups == {}
        found = reader.faces.stored_by_token(app.pk, "token", MODEL)
        assert found is not None
        assert found.face == face
        assert found.embedding is not None
        assert np.array_equal(found.embedding, embedding)
        other = reader.faces.stored_by_token(app.pk, "token", "another-model")
        assert other is not None
        assert other.embedding is None
        assert reader.faces.stored_by_token(new_app(database).pk, "token", MODEL) is None


def test_a_face_without_portrait(database: Database, app: App) -> None:
    face = stored_face("token", portrait=None)
    with database.write(app.pk) as work:
        user_pk = work.users.insert(work.groups.insert("group"), "user")
        work.faces.insert(user_pk, face, MODEL, random_embedding(1))
    with database.read() as reader:
        found = reader.faces.stored_by_token(app.pk, "token", MODEL)
        assert found is not None
        assert found.face == face


def test_copy_takes_faces_that_are_missing(database: Database, app: App) -> None:
    for number in range(3):
        enrol(database, app, "from", "user", f"t{number}", random_embedding(number))
    enrol(database, app, "to", "user", "t1", random_embedding(1))
    with database.write(app.pk) as work:
        source, target = (entry.pk for entry in work.users.entries(app.pk, "user"))
        assert work.faces.copy(source, target) == 2
        assert work.faces.copy(source, target) == 0
        assert work.faces.copy(source, 404) == 0
        assert [entry.token for entry in work.faces.entries(target)] == ["t1", "t0", "t2"]
        assert [entry.token for entry in work.faces.entries(source)] == ["t0", "t1", "t2"]


def test_nothing_of_a_deleted_face_stays(database: Database, app: App) -> None:
    for token in ("a", "b", "c"):
        enrol(database, app, "group", "user", token, random_embedding(1))
    with database.write(app.pk) as work:
        (user,) = work.users.entries(app.pk, "user")
        pk = work.faces.pk_by_token(user.pk, "a")
        assert pk is not None
        work.faces.delete(pk)
        with pytest.raises(EnrolledFaceNotFound):
            work.faces.delete(pk)
        assert work.faces.delete_of_users(user.pk) == 2
        assert work.faces.delete_of_users(user.pk) == 0
        work.users.delete(user.pk)
        with pytest.raises(UserNotFound):
            work.users.delete(user.pk)
    with database.read() as reader:
        assert all(reader.faces.stored_by_token(app.pk, token, MODEL) is None for token in "abc")


def test_deleting_a_group_takes_everything_in_it(database: Database, app: App) -> None:
    for user in ("u1", "u2"):
        enrol(database, app, "gone", user, f"token-{user}", random_embedding(1))
    enrol(database, app, "kept", "u1", "token-kept", random_embedding(1))
    with database.write(app.pk) as work:
        pk = work.groups.get_or_create("gone")
        work.groups.delete(pk)
        with pytest.raises(GroupNotFound):
            work.groups.delete(pk)
    with database.read() as reader:
        assert reader.groups.names(app.pk, 0, 10) == ["kept"]
        assert [entry.group_id for entry in reader.users.entries(app.pk, "u1")] == ["kept"]
        assert reader.users.entries(app.pk, "u2") == []
        assert reader.faces.stored_by_token(app.pk, "token-u1", MODEL) is None
        assert reader.faces.stored_by_token(app.pk, "token-kept", MODEL) is not None


def test_a_unit_of_work_cannot_touch_another_apps_library(database: Database, app: App) -> None:
    enrol(database, app, "group", "user", "token", random_embedding(1))
    with database.read() as reader:
        (user,) = reader.users.entries(app.pk, "user")
        group_pk, face_pk = reader.groups.pk(app.pk, "group"), reader.faces.pk_by_token(user.pk, "token")
    assert group_pk is not None
    assert face_pk is not None
    with database.write(new_app(database).pk) as work:
        for failure, call in (
            (GroupNotFound, lambda: work.groups.delete(group_pk)),
            (GroupNotFound, lambda: work.users.insert(group_pk, "intruder")),
            (UserNotFound, lambda: work.users.delete(user.pk)),
            (UserNotFound, lambda: work.users.set_info(user.pk, "")),
            (EnrolledFaceNotFound, lambda: work.faces.delete(face_pk)),
            (UserNotFound, lambda: work.faces.insert(user.pk, stored_face("t"), MODEL, random_embedding(1))),
        ):
            with pytest.raises(failure):
                call()
        assert work.faces.delete_of_users(user.pk) == 0
        assert work.faces.copy(user.pk, user.pk) == 0
    with database.read() as reader:
        assert reader.users.entries(app.pk, "user") == [user]
        assert reader.faces.count(user.pk) == 1
