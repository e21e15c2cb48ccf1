"""What the database, or this machine, may say in place of an answer: told to callers, and to the operator."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest
import sqlalchemy.exc

from service.errors import AppUnavailable, DatabaseUnavailable
from service.storage import migrations
from service.storage.engine import Administration, Database
from service.storage.liveness_sessions import StoredSession
from service.values import App
from tests.fixtures.descriptors import no_descriptor_left


def complain(database: Database, app: App, code: str) -> None:
    """Have a write fail with a code of PostgreSQL's."""
    with database.bulk() as connection:
        connection.execute(
            "CREATE OR REPLACE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE EXCEPTION 'invalid page in block 0' USING ERRCODE = '{code}'; END $$".encode()
        )
        connection.execute("CREATE TRIGGER complain BEFORE INSERT ON groups FOR EACH ROW EXECUTE FUNCTION complain()")
        connection.commit()
    with database.write(app.pk) as work:
        work.groups.insert("group")


@pytest.mark.parametrize("code", ["XX000", "XX001", "XX002"])
def test_damage_is_no_mistake_of_ours(
    database: Database, app: App, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    with pytest.raises(DatabaseUnavailable, match="invalid page"):
        complain(database, app, code)
    (told,) = (record for record in caplog.records if record.name == "service.storage.failures")
    assert told.levelname == "ERROR"
    assert told.exc_info is None
    assert "invalid page in block 0" in told.getMessage()


def test_a_mistake_of_ours_passes(database: Database, app: App) -> None:
    with pytest.raises(sqlalchemy.exc.DBAPIError) as raised:
        complain(database, app, "22000")
    assert isinstance(raised.value.orig, psycopg.DataError)


@pytest.mark.parametrize(
    "write",
    [
        lambda work, pk: work.liveness_sessions.put(
            pk, "session", StoredSession("digits", "123"), timedelta(minutes=1)
        ),
        lambda work, pk: work.feedback.insert(pk, [{"user_id": "ada"}], 10),
    ],
)
def test_who_writes_for_an_app_that_was_just_deleted_is_told_so(
    database: Database, app: App, write: Callable[[Administration, int], None]
) -> None:
    """Whoever asked was let in a moment before."""
    with database.admin() as work:
        work.apps.delete(app.pk)
    with pytest.raises(AppUnavailable), database.admin(app.pk) as work:
        write(work, app.pk)


def test_tables_of_apps_are_known_by_the_names_of_their_keys(database: Database) -> None:
    query = "SELECT conname FROM pg_constraint WHERE confrelid = 'apps'::regclass"
    with database.bulk() as connection:
        names = [name for (name,) in connection.execute(query)]
    assert len(names) > 5
    assert [name for name in names if not name.endswith("_app_pk_fkey")] == []


def test_without_descriptors_the_database_is_away(database: Database, app: App) -> None:
    """The driver needs one to connect and another one to wait for that: the second may be missing."""
    newest = migrations.head()
    database.close()
    with psycopg.connect(database.url.replace("+psycopg", "")) as other, no_descriptor_left():
        with pytest.raises(DatabaseUnavailable), database.read() as reader:
            reader.apps.all()
        other.close()
        with pytest.raises(DatabaseUnavailable, match="descriptor"), database.read() as reader:
            reader.apps.all()
        assert (migrations.head(), newest in migrations.known()) == (newest, True)  # read once, not at every look
    with database.read() as reader:
        assert app.pk in [each.pk for each in reader.apps.all()]
