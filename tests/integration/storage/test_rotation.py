"""Another master key: what was sealed is opened with it, and with nothing else."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import psycopg
import pytest

from service import rotation
from service.access.keys import Keyring, KeyringError
from service.access.tokens import Tokens
from service.capture.keys import EnvelopeKeys
from service.capture.risk import person_context
from service.identity.register import Person, Register
from service.library.apps import Apps, secret_context
from service.storage import sealed
from service.storage.engine import Database
from service.storage.sealed import ELSEWHERE, SEALED
from service.storage.sealing import Mode
from service.storage.tables import metadata
from service.storage.urls import driver_address
from service.values import App
from tests.fixtures.library import enrol, new_app, random_embedding
from tests.fixtures.people import claim
from tests.fixtures.sealing import execute, opened

OLD, NEW = b"o" * 32, b"n" * 32
GRACE = timedelta(days=1)


def test_every_sealed_column_is_known() -> None:
    """Columns say in their comment that they hold something sealed: none may be left behind under an old key."""
    told = {column for table in metadata.tables.values() for column in table.c if "sealed" in (column.comment or "")}
    assert {each.column for each in SEALED.values()} == told - ELSEWHERE
    assert SEALED.keys() == rotation.CONTEXTS.keys() == {*rotation.TOGETHER, rotation.PEOPLE}


def test_everything_is_opened_with_the_new_key_alone(database: Database) -> None:
    before = Keyring(OLD)
    apps = Apps(database, before)
    credentials = [apps.create(f"app {number}") for number in range(3)]
    app = apps.by_app_id(credentials[0].app_id)
    assert app is not None
    published = EnvelopeKeys(database, before, grace=GRACE).published(app)
    embedding = before.seal(np.ones(4, np.float32).tobytes(), person_context(app.app_id))
    with database.admin() as work:
        device = work.captures.see_device(app.pk, b"device", passed=True, history=GRACE)
        work.captures.add_person(device.pk, "model", embedding, 5)
    token = Tokens(before).issue(app).access_token
    known = Register(database, before)
    for owner in (None, app):
        known.put(Person(claim(1), None, None), b"handed in", owner)

    both = Keyring(NEW, OLD)
    resealed = rotation.reseal(database, both)
    assert (resealed.left, resealed.older_keys) == (0, False)
    assert resealed.done == {
        "app secrets": 3,
        "envelope keys": 2,
        "people seen by devices": 1,
        "people of the register": 2,
        "faces": 0,
        "embeddings of further models": 0,
        "remembered faces": 0,
        "chains of the audit log": 0,
    }

    alone = Keyring(NEW)
    renewed = Apps(database, alone)
    for each in credentials:
        found = renewed.by_app_id(each.app_id)
        assert found is not None
        assert renewed.secret(found) == each.secret_key
    keys = EnvelopeKeys(database, alone, grace=GRACE)
    assert keys.published(app) == published
    for key in published:
        keys.private(app, key["kid"], key["alg"])
    for owner in (None, app):
        entry = Register(database, alone).find(claim(1).number, owner)
        assert entry is not None
        assert (entry.person.claim, entry.common) == (claim(1), owner is None)
        assert Register(database, alone).fingerprint_of(claim(1).number, owner) == b"handed in"
    with database.admin() as work:
        (person,) = work.captures.people(device.pk, "model", GRACE)
    assert alone.open(person.embedding, person_context(app.app_id)) == np.ones(4, np.float32).tobytes()
    with pytest.raises(KeyringError):
        before.open(person.embedding, person_context(app.app_id))
    # Tokens and names of faces last as long as the old key is kept.
    assert Tokens(both).verify(token, renewed.by_app_id) == app
    assert both.face_token("1", b"p", (1, 2, 3, 4)) == before.face_token("1", b"p", (1, 2, 3, 4))


def test_a_value_that_no_key_opens_changes_nothing(database: Database) -> None:
    credentials = Apps(database, Keyring(OLD)).create("one")
    Apps(database, Keyring(b"?" * 32)).create("two")
    with pytest.raises(KeyringError):
        rotation.reseal(database, Keyring(NEW, OLD))
    apps = Apps(database, Keyring(OLD))
    app = apps.by_app_id(credentials.app_id)
    assert app is not None
    assert apps.secret(app) == credentials.secret_key


def people(database: Database, keyring: Keyring, app: App, count: int) -> list[int]:
    """Some who were in front of one device; the numbers of their rows."""
    embedding = keyring.seal(b"embedding", person_context(app.app_id))
    with database.admin() as work:
        device = work.captures.see_device(app.pk, b"device", passed=True, history=GRACE)
        for _ in range(count):
            work.captures.add_person(device.pk, "model", embedding, count)
        return sorted(person.pk for person in work.captures.people(device.pk, "model", GRACE))


def hurried(url: str, statement: str, *parameters: object) -> None:
    """As ``execute``; fails where it has to wait."""
    with psycopg.connect(driver_address(url)) as connection:
        connection.execute("SET lock_timeout = '2s'")
        connection.execute(statement.encode(), parameters)


def test_apps_are_written_for_while_they_are_sealed_anew(database: Database, database_url: str) -> None:
    """Each new row of an app looks, by its foreign key, for a row that is being sealed anew."""
    keyring = Keyring(OLD)
    apps = Apps(database, keyring)
    app = apps.by_app_id(apps.create("one").app_id)
    assert app is not None
    EnvelopeKeys(database, keyring, grace=GRACE).published(app)
    with database.admin() as work:
        for kind in rotation.TOGETHER:
            work.sealed.replace(kind, rotation._under(keyring, rotation.CONTEXTS[kind]))
        hurried(database_url, "INSERT INTO groups (app_pk, name) VALUES (%s, 'new')", app.pk)


def test_people_are_seen_while_others_are_sealed_anew(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed, "ROWS_AT_ONCE", 2)
    apps = Apps(database, Keyring(OLD))
    app = apps.by_app_id(apps.create("one").app_id)
    assert app is not None
    first, *_ = people(database, Keyring(OLD), app, 5)
    opened = 0

    def context(app_id: str) -> bytes:
        nonlocal opened
        opened += 1
        if opened == 3:  # of the second transaction
            hurried(database_url, "UPDATE capture_people SET last_seen = now() WHERE pk = %s", first)
            hurried(database_url, "UPDATE apps SET enabled = false")
        return person_context(app_id)

    monkeypatch.setattr(rotation, "CONTEXTS", {**rotation.CONTEXTS, rotation.PEOPLE: context})
    assert rotation.reseal(database, Keyring(NEW, OLD)).done[rotation.PEOPLE] == 5 == opened


def test_broken_off_all_of_it_opens_and_it_is_done_by_the_next(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealed, "ROWS_AT_ONCE", 2)
    both = Keyring(NEW, OLD)
    apps = Apps(database, Keyring(OLD))
    app = apps.by_app_id(apps.create("one").app_id)
    assert app is not None
    last = people(database, Keyring(OLD), app, 5)[-1]
    whole = execute(database_url, "SELECT embedding FROM capture_people WHERE pk = %s", last)[0][0]
    execute(database_url, "UPDATE capture_people SET embedding = %s WHERE pk = %s", b"damaged", last)
    with pytest.raises(KeyringError):
        rotation.reseal(database, both)
    execute(database_url, "UPDATE capture_people SET embedding = %s WHERE pk = %s", whole, last)
    bound = person_context(app.app_id)
    for (value,) in execute(database_url, "SELECT embedding FROM capture_people"):
        assert both.open(value, bound) == b"embedding"  # type: ignore[arg-type]
    assert rotation.reseal(database, both).done[rotation.PEOPLE] == 5
    for (value,) in execute(database_url, "SELECT embedding FROM capture_people"):
        assert Keyring(NEW).open(value, bound) == b"embedding"  # type: ignore[arg-type]


def test_a_face_that_somebody_is_changing_is_told(database_url: str) -> None:
    """A key that is dropped after it would take the face with it."""
    with opened(database_url, Mode.ON, OLD) as before:
        app = new_app(before)
        for user in ("ada", "bob"):
            enrol(before, app, "group", user, user, random_embedding(1))
    execute(database_url, "DELETE FROM apps WHERE secret <> 'sealed'")
    with opened(database_url, Mode.ON, NEW, OLD) as both:
        execute(database_url, "UPDATE apps SET secret = %s", Keyring(OLD).seal(b"secret", secret_context(app.app_id)))
        with psycopg.connect(driver_address(database_url)) as other:
            other.execute("SELECT 1 FROM faces WHERE token = 'ada' FOR UPDATE")
            resealed = rotation.reseal(both, Keyring(NEW, OLD))
        assert (resealed.done["faces"], resealed.left, resealed.older_keys) == (1, 1, True)
        resealed = rotation.reseal(both, Keyring(NEW, OLD))
        assert (resealed.done["faces"], resealed.left, resealed.older_keys) == (1, 0, False)
