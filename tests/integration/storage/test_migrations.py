"""The migrations build what the code maps, and can be taken back."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from service.errors import DatabaseUnavailable
from service.storage import migrations
from service.storage.engine import Database
from service.storage.rows import RememberedFace
from service.storage.tables import metadata
from service.storage.urls import driver_address
from service.values import ChangeKind
from tests.fixtures.library import MODEL, enrol, new_app, random_embedding, stored_face
from tests.fixtures.waiting import wait_for, waiting

COLUMNS = """
    SELECT relname, attname, format_type(atttypid, atttypmod), attstorage, attnotnull, atthasdef OR attidentity <> ''
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
        AND relname <> 'alembic_version'
"""


def _columns(url: str) -> dict[tuple[str, str], tuple[str, str, bool, bool]]:
    """By table and column: type, storage, whether it must have a value, and whether it gets one by itself."""
    with psycopg.connect(driver_address(url)) as connection:
        rows = connection.execute(COLUMNS).fetchall()
    return {(table, column): (kind, storage, filled, default) for table, column, kind, storage, filled, default in rows}


def _tables(url: str) -> set[str]:
    engine = sa.create_engine(url)
    try:
        return set(sa.inspect(engine).get_table_names())
    finally:
        engine.dispose()


def test_mapped_tables_show_no_drift(database_url: str) -> None:
    engine = sa.create_engine(database_url)
    try:
        with engine.connect() as connection:
            options = {"compare_type": True, "compare_server_default": True}
            assert compare_metadata(MigrationContext.configure(connection, opts=options), metadata) == []
    finally:
        engine.dispose()


def test_what_the_comparison_does_not_see(database_url: str) -> None:
    with psycopg.connect(driver_address(database_url)) as connection:
        unlogged = connection.execute("SELECT relname FROM pg_class WHERE relpersistence = 'u' AND relkind = 'r'")
        known = {"face_tokens", "liveness_sessions", "login_failures", "quota_seconds", "quota_slots"}
        assert {name for (name,) in unlogged.fetchall()} == known
        collated = connection.execute(
            "SELECT table_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND collation_name = 'C' ORDER BY table_name"
        )
        assert collated.fetchall() == [("groups",), ("users",)]
        compressed = connection.execute(
            "SELECT relname, attname FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid"
            " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attstorage = 'x'"
            " AND attname IN ('portrait', 'embedding')"
        )
        assert compressed.fetchall() == []


def test_upgrade_downgrade_upgrade(empty_database_url: str) -> None:
    assert migrations.current(empty_database_url) is None
    migrations.upgrade(empty_database_url)
    assert migrations.current(empty_database_url) == migrations.head()
    assert _tables(empty_database_url) == {*metadata.tables, "alembic_version"}
    migrations.downgrade(empty_database_url, "base")
    assert migrations.current(empty_database_url) is None
    assert _tables(empty_database_url) == {"alembic_version"}
    migrations.upgrade(empty_database_url)
    assert migrations.current(empty_database_url) == migrations.head()


def test_every_step_leaves_what_servers_of_the_release_before_read_and_write(empty_database_url: str) -> None:
    before: dict[tuple[str, str], tuple[str, str, bool, bool]] = {}
    for revision in sorted(migrations.known()):
        migrations.upgrade(empty_database_url, revision)
        after, tables = _columns(empty_database_url), {table for table, _ in before}
        assert before.keys() <= after.keys(), revision
        for name, (kind, _, filled, default) in after.items():
            if name in before:  # as it was, or no stricter
                assert kind == before[name][0], (revision, name)
                assert not filled or default or before[name][2], (revision, name)
            else:  # a row can be written without it
                assert name[0] not in tables or default or not filled, (revision, name)
        before = after


def test_every_step_back_restores_what_was_there(empty_database_url: str) -> None:
    revisions = sorted(migrations.known())
    seen = {}
    for revision in revisions:
        migrations.upgrade(empty_database_url, revision)
        seen[revision] = _columns(empty_database_url)
    for revision in reversed(revisions[:-1]):
        migrations.downgrade(empty_database_url, revision)
        assert _columns(empty_database_url) == seen[revision], revision


def test_nobody_stands_behind_a_migration_that_has_to_wait(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup holds every table for minutes, and PostgreSQL lets nobody past who wants to change one."""
    migrations.upgrade(empty_database_url, "0011")
    paused, over = threading.Event(), threading.Event()

    def pause(_seconds: float) -> None:
        paused.set()
        assert over.wait(60)

    monkeypatch.setattr(migrations, "QUEUED_SECONDS", 0.1)
    monkeypatch.setattr(migrations, "sleep", pause)
    address = driver_address(empty_database_url)
    with psycopg.connect(address) as backup, ThreadPoolExecutor(1) as pool:
        backup.execute("SELECT count(*) FROM faces")
        migrating = pool.submit(migrations.upgrade, empty_database_url)
        try:
            assert paused.wait(60)
            with psycopg.connect(address) as search:
                search.execute("SET lock_timeout = '10s'")
                assert search.execute("SELECT count(*) FROM faces").fetchone() == (0,)
            assert migrations.current(empty_database_url) == "0011"
        finally:
            backup.rollback()
            over.set()
        migrating.result()
    assert migrations.current(empty_database_url) == migrations.head()


def test_going_back_before_scenes_tells_the_change_log(database_url: str) -> None:
    database = Database(database_url)
    try:
        app, other = new_app(database), new_app(database)
        kept = enrol(database, app, "ordinary", "a", "t1", random_embedding(1))
        with database.write(app.pk) as work:
            scenes = [work.groups.insert(name, "VIDEO") for name in ("first", "second")]
            work.faces.insert(work.users.insert(scenes[0], "b"), stored_face("t2"), MODEL, random_embedding(2))
        before = work.seq
        with database.admin() as admin:
            faces = [RememberedFace(stored_face(token), None) for token in ("t1", "t2")]
            admin.tokens.put(app.pk, faces, MODEL, timedelta(hours=1))
    finally:
        database.close()
    migrations.downgrade(database_url, "0001")
    with psycopg.connect(driver_address(database_url)) as connection:
        written = connection.execute(
            "SELECT app_pk, seq, kind, group_pk FROM changes WHERE seq > %s ORDER BY seq", (before,)
        ).fetchall()
        assert written == [
            (app.pk, before + number, ChangeKind.REMOVE_GROUP, pk) for number, pk in enumerate(scenes, 1)
        ]
        heads: dict[int, int] = dict(connection.execute("SELECT app_pk, seq FROM change_heads").fetchall())
        assert heads == {app.pk: before + 2, other.pk: 0}
        assert kept < before
        assert connection.execute("SELECT name FROM groups").fetchall() == [("ordinary",)]
        assert connection.execute("SELECT token FROM faces").fetchall() == [("t1",)]
        assert connection.execute("SELECT token FROM face_tokens").fetchall() == [("t1",)]


def test_replicas_that_start_together_migrate_once(empty_database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(migrations.upgrade, empty_database_url) for _ in range(4)]:
            future.result()
    assert migrations.current(empty_database_url) == migrations.head()
    assert "tables are in use" not in caplog.text  # by each other


def test_no_database_is_one_clear_failure() -> None:
    with pytest.raises(DatabaseUnavailable):
        migrations.current("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(DatabaseUnavailable, match="only postgresql"):
        migrations.current("mysql://nobody@127.0.0.1/nothing")
    with pytest.raises(DatabaseUnavailable, match="cannot be read") as told:
        migrations.current("postgresql://nobody:half@other:half@127.0.0.1/nothing")  # a password with @ and :
    assert "half" not in str(told.value)
    with pytest.raises(DatabaseUnavailable, match="an option that PostgreSQL does not know"):
        migrations.current("postgresql://nobody@127.0.0.1:1/nothing?ssl=true")


def test_an_index_is_made_beside_writers_and_servers_that_wait_for_their_turn(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for statements that began before; those of earlier releases wait for the lock in one."""
    monkeypatch.setattr(migrations, "PAUSE_SECONDS", 0.1)
    migrations.upgrade(empty_database_url, "0013")
    address, database = driver_address(empty_database_url), Database(empty_database_url)
    earlier = "SELECT pg_advisory_lock(%s)"
    try:
        with psycopg.connect(address) as writer, psycopg.connect(address) as other, ThreadPoolExecutor(2) as pool:
            other.execute("SET deadlock_timeout = '60s'")  # so that it has waited for long
            other.commit()
            writer.execute("LOCK TABLE users IN ROW EXCLUSIVE MODE")
            migrating = pool.submit(migrations.upgrade, empty_database_url)
            try:
                wait_for(lambda: waiting(database) == 1)
                with psycopg.connect(address) as enrolling:
                    enrolling.execute("SET lock_timeout = '10s'")
                    enrolling.execute("UPDATE users SET info = ''")
                starting = pool.submit(other.execute, earlier, (migrations.LOCK,))
                wait_for(lambda: waiting(database) == 2)
            finally:
                writer.rollback()
            starting.result()
            other.close()
            migrating.result()
    finally:
        database.close()
    assert migrations.current(empty_database_url) == migrations.head()
    with psycopg.connect(address) as connection:
        assert connection.execute("SELECT FROM pg_index WHERE NOT indisvalid").rowcount == 0


@pytest.mark.parametrize("before", ["0012", "0013"])
def test_a_connection_that_is_lost_meanwhile_is_one_clear_failure(empty_database_url: str, before: str) -> None:
    """PostgreSQL is restarted while a table is waited for; the next attempt does the work."""
    migrations.upgrade(empty_database_url, before)
    address = driver_address(empty_database_url)
    lost = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted AND pid <> pg_backend_pid()"
    with (
        contextlib.closing(Database(empty_database_url)) as database,
        psycopg.connect(address) as writer,
        ThreadPoolExecutor(1) as pool,
    ):
        for table in metadata.tables:
            writer.execute(f'LOCK TABLE "{table}" IN ROW EXCLUSIVE MODE'.encode())
        migrating = pool.submit(migrations.upgrade, empty_database_url)
        try:
            wait_for(lambda: waiting(database) == 1)
            writer.execute(lost)
            with pytest.raises(DatabaseUnavailable):
                migrating.result(timeout=60)
        finally:
            writer.rollback()
    migrations.upgrade(empty_database_url)
    assert migrations.current(empty_database_url) == migrations.head()


@pytest.mark.parametrize("users", [0, 1])
def test_who_upgrades_a_library_is_told_of_the_index(
    empty_database_url: str, users: int, caplog: pytest.LogCaptureFixture
) -> None:
    """A backup may keep it waiting for a quarter of an hour."""
    migrations.upgrade(empty_database_url, "0013")
    with contextlib.closing(Database(empty_database_url)) as database:
        for number in range(users):
            enrol(database, new_app(database), "group", f"u{number}", "token", random_embedding(1))
    with caplog.at_level("INFO", "service.storage.migrations"):
        migrations.upgrade(empty_database_url)
    assert caplog.text.count("an index over users is made") == users
