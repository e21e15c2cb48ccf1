"""The second wall between apps: queries that forgot whose rows they may touch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import psycopg
import pytest
import sqlalchemy as sa
import sqlalchemy.exc
from sqlalchemy.engine import make_url

from service.storage import migrations
from service.storage.engine import Administration, Database, Reader, UnitOfWork
from service.storage.tables import metadata
from service.storage.urls import driver_address
from service.values import App
from tests.fixtures.library import enrol, new_app, random_embedding

Work: TypeAlias = "Reader | UnitOfWork | Administration"

UNGUARDED = {"change_heads"}
"""The head of an app's log is what a unit of work begins with, before it can act for the app."""

WHOSE = {"groups", "users", "faces", "changes", "quota_budgets"}
"""Tables in which every app of these tests has rows."""


@pytest.fixture
def narrow(database_url: str) -> Iterator[Database]:
    """One connection for everything, so that nothing of one piece of work may stay for the next."""
    database = Database(database_url, pool_size=1)
    yield database
    database.close()


@pytest.fixture
def both(narrow: Database) -> tuple[App, App]:
    """Two apps with the same names in them."""
    pair = (new_app(narrow), new_app(narrow))
    for app in pair:
        enrol(narrow, app, "group", "user", "token", random_embedding(1))
    return pair


def forgetful(work: Work, statement: str) -> sa.CursorResult[Any]:
    """A statement without a condition."""
    holder = work.feedback if isinstance(work, Administration) else work.groups
    return holder._execution.run(sa.text(statement))


def owners(work: Work, table: str) -> set[int]:
    """Whose rows a query finds that does not say whose it wants."""
    return set(forgetful(work, f"SELECT app_pk FROM {table}").scalars())  # noqa: S608 (a constant)


def test_every_table_of_apps_is_guarded(database_url: str) -> None:
    """A new one is by its migration: ``SELECT aipface_guard('table')``."""
    expected = {name for name, table in metadata.tables.items() if "app_pk" in table.c} - UNGUARDED
    with psycopg.connect(driver_address(database_url)) as connection:
        found = connection.execute(
            "SELECT relname FROM pg_class JOIN pg_policy ON polrelid = pg_class.oid WHERE relrowsecurity"
        )
        assert {name for (name,) in found} >= expected | {"apps", "capture_failures", "capture_people"}


@pytest.mark.parametrize("table", sorted(WHOSE))
def test_reading_for_one_app_sees_one_app(narrow: Database, both: tuple[App, App], table: str) -> None:
    one, other = both
    for app in (one, other, one, one):
        with narrow.read(app.pk) as reader:
            assert owners(reader, table) == {app.pk}
    with narrow.read() as reader:
        assert owners(reader, table) == {one.pk, other.pk}


@pytest.mark.parametrize("table", sorted(WHOSE))
def test_writing_for_one_app_sees_one_app(narrow: Database, both: tuple[App, App], table: str) -> None:
    one, other = both
    with narrow.read(other.pk):
        pass
    for app in (one, other):
        with narrow.write(app.pk) as work:
            assert owners(work, table) == {app.pk}
    with narrow.admin() as admin:
        assert len(admin.apps.all()) == 2
    with narrow.read() as reader:
        assert owners(reader, table) == {one.pk, other.pk}


@pytest.mark.parametrize("table", sorted(WHOSE))
def test_administrating_for_one_app_sees_one_app(narrow: Database, both: tuple[App, App], table: str) -> None:
    one, other = both
    for app in (one, other):
        with narrow.admin(app.pk) as admin:
            assert owners(admin, table) == {app.pk}
    with narrow.read(one.pk):
        pass
    for app in (one, other):  # on a connection that acts for one of them
        with narrow.admin(app.pk) as admin:
            assert owners(admin, table) == {app.pk}
        with narrow.read(one.pk) as reader:
            assert owners(reader, table) == {one.pk}
    with narrow.admin() as admin:
        assert owners(admin, table) == {one.pk, other.pk}


def test_a_connection_that_reads_for_one_app_writes_and_administrates_for_others(
    narrow: Database, both: tuple[App, App]
) -> None:
    one, other = both
    with narrow.read(one.pk) as reader:
        assert owners(reader, "groups") == {one.pk}
    with narrow.admin() as admin:
        assert len(admin.apps.all()) == 2
    with narrow.write(other.pk) as work:
        assert owners(work, "groups") == {other.pk}
    with narrow.metering() as ledger:
        assert len(ledger.usage(one.pk)) == 0
    with narrow.read(other.pk) as reader:
        assert owners(reader, "groups") == {other.pk}


def test_a_forgotten_condition_deletes_nothing_of_another(narrow: Database, both: tuple[App, App]) -> None:
    one, other = both
    with narrow.write(one.pk) as work:
        assert forgetful(work, "DELETE FROM faces").rowcount == 1
        assert forgetful(work, "UPDATE users SET info = 'changed'").rowcount == 1
        assert forgetful(work, "DELETE FROM groups").rowcount == 1
    with narrow.read() as reader:
        assert owners(reader, "groups") == owners(reader, "faces") == {other.pk}
        assert [entry.user_info for entry in reader.users.entries(other.pk, "user")] == [""]


def test_a_row_cannot_be_put_into_another_app(narrow: Database, both: tuple[App, App]) -> None:
    one, other = both
    for statement in (
        f"INSERT INTO groups (app_pk, name) VALUES ({other.pk}, 'planted')",  # noqa: S608 (a number)
        f"UPDATE groups SET app_pk = {other.pk}",  # noqa: S608 (a number)
    ):
        with (
            pytest.raises(sqlalchemy.exc.ProgrammingError, match="row-level security"),
            narrow.write(one.pk) as work,
        ):
            forgetful(work, statement)
    with narrow.read() as reader:  # undone, the role too
        assert owners(reader, "groups") == {one.pk, other.pk}


def test_keys_of_apps_are_out_of_reach(narrow: Database, both: tuple[App, App]) -> None:
    one, _ = both
    with narrow.read(one.pk) as reader:
        assert set(forgetful(reader, "SELECT pk FROM apps").scalars()) == {one.pk}


@pytest.mark.usefixtures("both")
def test_nothing_is_seen_where_no_app_is_named(database_url: str) -> None:
    with psycopg.connect(driver_address(database_url)) as connection:
        connection.execute("SET ROLE aipface_tenant")
        for setting in (None, "", "0"):
            if setting is not None:
                connection.execute("SELECT set_config('aipface.app', %s, false)", (setting,))
            for table in (*WHOSE, "feedback", "face_tokens", "envelope_keys"):
                found = connection.execute(f"SELECT 1 FROM {table}".encode()).fetchall()  # noqa: S608 (a constant)
                assert found == []


def test_an_account_that_may_make_no_roles_goes_without(empty_database_url: str) -> None:
    owner = make_url(empty_database_url).set(username="plain").render_as_string(hide_password=False)
    with psycopg.connect(driver_address(empty_database_url), autocommit=True) as connection:
        connection.execute("CREATE ROLE plain LOGIN")
        connection.execute("GRANT ALL ON SCHEMA public TO plain")
    try:
        migrations.upgrade(owner)
        database = Database(owner)
        app = new_app(database)
        enrol(database, app, "group", "user", "token", random_embedding(1))
        with database.read(app.pk) as reader:
            assert reader.groups.names(app.pk, 0, 10) == ["group"]
        database.close()
        migrations.downgrade(owner, "base")
    finally:
        with psycopg.connect(driver_address(empty_database_url), autocommit=True) as connection:
            connection.execute("DROP OWNED BY plain")
            connection.execute("DROP ROLE plain")


def test_statements_of_the_driver_act_for_the_app_too(narrow: Database, both: tuple[App, App]) -> None:
    """The hot path goes past SQLAlchemy, on connections that acted for another app a moment ago."""
    for _ in range(2):
        for app in both:
            with narrow.read(app.pk) as reader:
                scope = reader.searching.scope(app.pk, ["group"], None)
                assert list(scope.groups) == ["group"]
            other = both[0] if app is both[1] else both[1]
            with narrow.read(app.pk) as reader:
                assert reader.searching.scope(other.pk, ["group"], None).groups == {}
