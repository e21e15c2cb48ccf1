"""Tenants in the database."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.access.keys import Keyring
from service.errors import AppUnavailable
from service.library.apps import Apps
from service.storage.engine import Database
from service.values import App, ChangeKind
from tests.fixtures.library import MODEL, enrol, new_app, random_embedding
from tests.fixtures.waiting import wait_for, waiting


def test_an_app_is_found_by_its_id(database: Database) -> None:
    with database.admin() as admin:
        made = admin.apps.insert("30000500", "门禁", "api-key", b"\x00sealed", ["detect", "match"])
    with database.read() as reader:
        assert reader.apps.by_app_id("30000500") == made
        assert reader.apps.all() == [made]
        assert reader.apps.sealed_secret(made.pk) == b"\x00sealed"
        assert reader.apps.by_app_id("3000050") is None
    assert made == App(made.pk, "30000500", "门禁", "api-key", 0, frozenset({"detect", "match"}), enabled=True)


def test_rotation_and_suspension(database: Database, app: App) -> None:
    with database.admin() as admin:
        assert admin.apps.rotate(app.pk, b"new").epoch == app.epoch + 1
        assert not admin.apps.set_enabled(app.pk, enabled=False).enabled
    with database.read() as reader:
        assert reader.apps.sealed_secret(app.pk) == b"new"
        found = reader.apps.by_app_id(app.app_id)
    assert found is not None
    assert (found.epoch, found.enabled, found.permissions) == (app.epoch + 1, False, None)


def test_numbers_of_deleted_apps_stay_away(database: Database) -> None:
    first = new_app(database)
    with database.admin() as admin:
        admin.apps.delete(first.pk)
    second = new_app(database)
    assert int(second.app_id) > int(first.app_id)
    assert second.pk > first.pk


def test_deleting_an_app_leaves_nothing(database: Database, app: App) -> None:
    other = new_app(database)
    for owner in (app, other):
        enrol(database, owner, "group", "user", "token", random_embedding(1))
    with database.admin() as admin:
        admin.apps.delete(app.pk)
    with database.read() as reader:
        assert reader.apps.all() == [other]
        assert reader.groups.names(app.pk, 0, 10) == []
        assert reader.users.entries(app.pk, "user") == []
        assert reader.faces.stored_by_token(app.pk, "token", MODEL) is None
        assert reader.faces.stored_by_token(other.pk, "token", MODEL) is not None
        assert reader.changes.head(app.pk) is None
        assert reader.changes.since(app.pk, 0, 10, MODEL) == []
        assert [change.kind for change in reader.changes.since(other.pk, 0, 10, MODEL)] == [ChangeKind.ADD_FACE]


def test_deleting_an_app_and_moving_the_library_wait_for_each_other_in_turn(database: Database, app: App) -> None:
    def delete() -> None:
        with database.admin() as admin:
            admin.apps.delete(app.pk)

    def stand_still() -> None:
        with database.standstill():
            pass

    with ThreadPoolExecutor(2) as pool:
        with database.write(app.pk):
            deleting = pool.submit(delete)
            wait_for(lambda: waiting(database) == 1)
            moving = pool.submit(stand_still)
            wait_for(lambda: waiting(database) == 2)
        deleting.result(30)
        moving.result(30)
    with database.read() as reader:
        assert reader.apps.all() == []


def test_an_app_that_is_not_there(database: Database) -> None:
    with pytest.raises(AppUnavailable, match=r"^the app was deleted meanwhile$"), database.write(404):
        pass
    with database.admin() as admin:
        for call in (
            lambda: admin.apps.delete(404),
            lambda: admin.apps.rotate(404, b""),
            lambda: admin.apps.set_enabled(404, enabled=True),
            lambda: admin.apps.sealed_secret(404),
        ):
            with pytest.raises(AppUnavailable):
                call()


@pytest.mark.parametrize("told", [True, False])
def test_a_slow_read_does_not_bring_back_an_app_as_it_was(
    database: Database, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    """With and without word of the change: what was read later is not replaced by what was read before."""
    apps = Apps(database, Keyring(b"k" * 32))
    app_id = apps.create("door").app_id
    has_read, go_on = threading.Event(), threading.Event()
    everything = apps.list

    def slow_at_first() -> list[App]:
        found = everything()
        if not has_read.is_set():
            has_read.set()
            assert go_on.wait(30)
        return found

    def enabled() -> bool:
        app = apps.by_app_id(app_id)
        assert app is not None
        return app.enabled

    monkeypatch.setattr(apps, "list", slow_at_first)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(enabled)
        assert has_read.wait(30)
        try:
            (apps if told else Apps(database, Keyring(b"k" * 32))).set_enabled(app_id, enabled=False)
            assert not enabled()
        finally:
            go_on.set()
        assert not slow.result()
    assert not enabled()
