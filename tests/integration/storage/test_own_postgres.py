"""A PostgreSQL of the operator's own: encodings, rights and settings there are not of our making."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.engine import make_url

from service.errors import DatabaseUnavailable
from service.storage import migrations
from service.storage.engine import Database
from service.storage.urls import driver_address
from tests.fixtures.library import enrol, new_app, random_embedding
from tests.fixtures.waiting import wait_for

LIMITS = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_has_not_every_letter_is_refused(
    empty_database_url: str, operator: psycopg.Connection[tuple[object, ...]], encoding: str
) -> None:
    operator.execute(f"CREATE DATABASE narrow TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'")
    try:
        with pytest.raises(DatabaseUnavailable, match=f"encoding is {encoding}; make one with: CREATE DATABASE"):
            migrations.upgrade(make_url(empty_database_url).set(database="narrow").render_as_string(False))
    finally:
        operator.execute("DROP DATABASE narrow WITH (FORCE)")


def test_an_account_that_may_make_no_tables_is_one_clear_failure(
    empty_database_url: str, operator: psycopg.Connection[tuple[object, ...]]
) -> None:
    operator.execute("CREATE ROLE guest LOGIN")
    operator.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    url = make_url(empty_database_url).set(username="guest").render_as_string(False)
    try:
        for schema in ("public", "nowhere"):
            operator.execute(f"ALTER ROLE guest SET search_path = {schema}")
            with pytest.raises(DatabaseUnavailable, match="GRANT CREATE, USAGE ON SCHEMA public"):
                migrations.upgrade(url)
    finally:
        operator.execute("DROP ROLE guest")


def test_settings_of_the_database_neither_limit_bulk_work_nor_confuse_the_driver(database_url: str) -> None:
    name = make_url(database_url).database
    with psycopg.connect(driver_address(database_url), autocommit=True) as connection:
        for setting, value in (*((limit, "1s") for limit in LIMITS), ("DateStyle", "German")):
            connection.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'".encode())
    migrations.upgrade(database_url)
    database = Database(database_url)
    try:
        app = new_app(database)
        enrol(database, app, "group", "user", "t", random_embedding(1))
        with database.read() as reader:
            group_pk = reader.groups.pks(app.pk, ["group"])["group"]
            (user_pk,) = reader.users.pks([group_pk], "user")
            assert len(reader.faces.entries(user_pk)) == 1
        with database.bulk() as connection:
            limits = [connection.execute("SELECT current_setting(%s)", (limit,)).fetchone() for limit in LIMITS]
        assert limits == [("0",)] * len(LIMITS)
    finally:
        database.close()


def test_limits_of_the_database_do_not_end_a_migration_that_waits_for_another(
    empty_database_url: str, operator: psycopg.Connection[tuple[object, ...]]
) -> None:
    name = make_url(empty_database_url).database
    operator.execute(f"ALTER DATABASE {name} SET lock_timeout = '1ms'".encode())
    operator.execute("SELECT pg_advisory_lock(%s)", (migrations.LOCK,))
    asked = "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND query LIKE '%%pg_try_advisory_lock%%'"
    with ThreadPoolExecutor(1) as pool:
        migrating = pool.submit(migrations.upgrade, empty_database_url)
        try:
            wait_for(lambda: migrating.done() or operator.execute(asked, (name,)).fetchone() is not None)
        finally:
            operator.execute("SELECT pg_advisory_unlock(%s)", (migrations.LOCK,))
        migrating.result()
    assert migrations.current(empty_database_url) == migrations.head()


def test_blanks_and_pluses_of_an_address_reach_the_driver() -> None:
    address = "postgresql://joe:a%20b+c%40'd@/na%20me?host=%2Fmy%20home%2Ba&application_name=x%20y"
    assert conninfo_to_dict(driver_address(address)) == {
        "user": "joe",
        "password": "a b+c@'d",
        "dbname": "na me",
        "host": "/my home+a",
        "application_name": "x y",
    }


@pytest.mark.parametrize(
    "place",
    [
        "app:Sup3r@Secret9@127.0.0.1:8319/x",
        "u:p@Secret9#w/o@@h",
        "u:p@Secret9/w@h/db",
        "u:p@Secret9?w@h/db",
        "u:pa?b=c@Secret9@h/db",
        "u:p@Secret9?sslmode=1@h/db",
    ],
)
@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_password_with_marks_of_an_address_is_refused_and_no_part_of_it_told(scheme: str, place: str) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"^The database address cannot be read; .*: %40 for @") as refused:
        migrations.current(f"{scheme}://{place}")
    assert "Secret9" not in str(refused.value)
    assert refused.value.__suppress_context__


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("postgresql://u:%40%23%2F%3F%3A@h/db", {"user": "u", "password": "@#/?:", "host": "h", "dbname": "db"}),
        ("postgresql://me%40corp:p:w@h", {"user": "me@corp", "password": "p:w", "host": "h"}),
        ("postgresql://u:a/b=#?=@h/db", {"user": "u", "password": "a/b=#?=", "host": "h", "dbname": "db"}),
        ("postgresql://me@corp:p@h/db", {"user": "me@corp", "password": "p", "host": "h", "dbname": "db"}),
        ("postgresql://[::1]:5433/db", {"host": "::1", "port": "5433", "dbname": "db"}),
        ("postgresql://u@h1,h2/db", {"user": "u", "host": "h1,h2", "dbname": "db"}),
        ("postgresql://u@/db?host=h1:1&host=h2:2", {"user": "u", "host": "h1,h2", "port": "1,2", "dbname": "db"}),
        ("postgres:///db?host=/var/run&user=a@b", {"host": "/var/run", "user": "a@b", "dbname": "db"}),
    ],
)
def test_addresses_that_stay_readable(address: str, words: dict[str, str]) -> None:
    assert conninfo_to_dict(driver_address(address)) == words
