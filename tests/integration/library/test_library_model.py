"""The database says which model the library is in, so that servers with different settings find the same people."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from models.manifest import load_pack
from service.access.keys import Keyring
from service.errors import ModelChanged, StorageFull
from service.library import backup
from service.library_model import library_model, settle
from service.settings import Settings, load_settings
from service.storage import migrations
from service.storage.engine import Database
from service.storage.identities import SealedIdentity, SealedPicture
from service.storage.listener import Listener
from service.storage.models import LibraryModel
from service.values import App
from tests.fixtures.library import MODEL, new_app, random_embedding, stored_face
from tests.fixtures.waiting import wait_for

CORE = LibraryModel("core", load_pack("core").model_id)
LIGHT = LibraryModel("light", load_pack("light").model_id)


@pytest.fixture
def app(database: Database) -> App:
    return new_app(database)


def set_to(pack: str | None) -> Settings:
    return load_settings() if pack is None else load_settings(pack=pack)


def enrol(database: Database, app: App, model_id: str, *users: str) -> None:
    with database.write(app.pk) as work:
        group = work.groups.get_or_create("group")
        for user in users:
            pk = work.users.insert(group, user)
            work.faces.insert(pk, stored_face(f"{user}{model_id}"), model_id, random_embedding(1))


def register(database: Database, model: LibraryModel, lookup: bytes, *, picture: bool) -> None:
    known = SealedPicture(model.model_id, b"sealed", None) if picture else None
    with database.admin() as work:
        work.identities.put(SealedIdentity(None, lookup, b"sealed", known, b"fingerprint"))


def delete(database: Database, app: App, user: str) -> None:
    with database.write(app.pk) as work:
        for entry in work.users.entries(app.pk, user):
            work.users.delete(entry.pk)


def said(database: Database) -> tuple[LibraryModel | None, ...]:
    with database.read() as reader:
        in_use = reader.models.in_use()
    return in_use.active, in_use.target, in_use.previous


def test_a_library_with_faces_stays_in_its_model_whatever_a_server_is_set_to(
    database: Database, app: App, caplog: pytest.LogCaptureFixture
) -> None:
    assert library_model(database, set_to(None), serving=True) == CORE
    assert settle(database, CORE) == CORE
    enrol(database, app, CORE.model_id, "ada")
    assert library_model(database, set_to(None), serving=True) == CORE
    assert not caplog.records
    assert library_model(database, set_to("light"), serving=True) == CORE
    assert "moving it: aipface reembed --pack light" in caplog.text
    assert settle(database, LIGHT) == CORE  # of a server that began before ada was enrolled
    with pytest.raises(ModelChanged):
        enrol(database, app, LIGHT.model_id, "grace")
    assert said(database) == (CORE, None, None)


def test_a_library_without_faces_is_in_the_model_of_the_settings(database: Database, app: App) -> None:
    settle(database, CORE)
    enrol(database, app, CORE.model_id, "ada")
    with database.admin() as work:
        work.models.begin(CORE, LIGHT)
    delete(database, app, "ada")
    assert library_model(database, set_to("light")) == LIGHT
    assert settle(database, LIGHT) == LIGHT
    assert said(database) == (LIGHT, None, None)
    with pytest.raises(ModelChanged):  # of a server that has worked with core all the while
        enrol(database, app, CORE.model_id, "ada")
    enrol(database, app, LIGHT.model_id, "grace")


def test_a_library_without_faces_stays_in_the_model_that_it_was_moved_to_while_the_register_has_pictures(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    settle(database, CORE)
    register(database, LIGHT, b"ada", picture=False)  # known by number and name alone: in any model
    assert library_model(database, set_to("light"), serving=True) == LIGHT
    register(database, LIGHT, b"grace", picture=True)
    with database.standstill() as still:
        still.activate(LIGHT)
    assert library_model(database, set_to(None), serving=True) == LIGHT
    assert settle(database, CORE) == LIGHT
    assert said(database) == (LIGHT, None, CORE)
    assert not caplog.records
    assert library_model(database, set_to("core"), serving=True) == LIGHT
    assert "moving it: aipface reembed --pack core" in caplog.text


def test_a_first_start_beside_a_register_takes_the_model_of_the_settings(database: Database) -> None:
    register(database, CORE, b"ada", picture=True)
    assert library_model(database, set_to("light"), serving=True) == LIGHT
    assert settle(database, LIGHT) == LIGHT


def test_a_database_that_takes_no_writes_keeps_no_server_from_starting(database: Database, database_url: str) -> None:
    settle(database, CORE)
    with database.bulk() as connection:
        connection.execute(
            "DO $$ BEGIN EXECUTE "
            "format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database()); END $$"
        )
    read_only = Database(database_url)
    try:
        assert settle(read_only, CORE) == CORE
        with pytest.raises(StorageFull):
            settle(read_only, LIGHT)
    finally:
        read_only.close()


def test_packs_that_differ_in_other_networks_alone_are_changed_by_the_setting(database: Database, app: App) -> None:
    settle(database, CORE)
    enrol(database, app, CORE.model_id, "ada")
    extended = LibraryModel("extended", CORE.model_id)
    assert library_model(database, set_to("extended"), serving=True) == extended
    assert settle(database, extended) == CORE
    assert library_model(database, set_to(None), serving=True) == CORE


@pytest.mark.parametrize(
    ("faces", "setting", "expected"),
    [
        ({CORE: 2}, "light", CORE),
        ({CORE: 2, LIGHT: 1}, "light", CORE),
        ({CORE: 1, LIGHT: 1}, "light", LIGHT),
        ({LibraryModel("of another release", MODEL): 2, LIGHT: 1}, "core", LIGHT),
        ({LibraryModel("of another release", MODEL): 2}, "light", LIGHT),
    ],
)
def test_a_library_of_before_is_in_the_model_of_most_faces(
    database: Database,
    app: App,
    caplog: pytest.LogCaptureFixture,
    faces: dict[LibraryModel, int],
    setting: str,
    expected: LibraryModel,
) -> None:
    for model, count in faces.items():
        enrol(database, app, model.model_id, *(f"{model.pack}{number}" for number in range(count)))
    assert library_model(database, set_to(setting), serving=True) == expected
    strangers = sum(count for model, count in faces.items() if model != expected)
    assert (f"{strangers} faces are embedded by other packs than {expected.pack}" in caplog.text) is (strangers > 0)
    assert settle(database, expected) == expected
    assert said(database) == (expected, None, None)


def test_a_command_beside_a_server_takes_the_model_of_that(database: Database) -> None:
    settle(database, LIGHT)
    assert library_model(database, set_to(None)) == CORE
    listener = Listener(
        database.url,
        on_change=lambda *_: None,
        on_app=lambda _: None,
        on_connect=lambda: None,
        on_models=lambda: None,
        loaded=lambda: [LIGHT.model_id],
    )
    listener.start()
    try:
        wait_for(lambda: library_model(database, set_to(None)) == LIGHT)
        assert library_model(database, set_to(None), serving=True) == CORE
    finally:
        listener.stop()


def test_a_database_that_a_server_has_begun_with_takes_a_backup(
    database: Database, app: App, empty_database_url: str
) -> None:
    settle(database, CORE)
    enrol(database, app, CORE.model_id, "ada")
    out, ring = io.BytesIO(), Keyring(bytes(32))
    backup.write(database, ring, out, files={})
    content = io.BytesIO(out.getvalue())
    with opened(empty_database_url) as other:
        settle(other, LIGHT)
    backup.restore(content, backup.read_head(content), b"", empty_database_url, lambda *_: None)
    with opened(empty_database_url) as other:
        assert said(other) == (CORE, None, None)


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """Migrated, and closed at the end."""
    migrations.upgrade(url)
    database = Database(url)
    yield database
    database.close()
