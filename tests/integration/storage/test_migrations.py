"""The migrations build what the code maps, and can be taken back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from service.errors import DatabaseUnavailable
from service.storage import migrations
from service.storage.tables import metadata
from service.storage.urls import driver_address


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
        assert set(unlogged.fetchall()) == {("face_tokens",), ("quota_seconds",), ("quota_slots",)}
        collated = connection.execute(
            "SELECT table_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND collation_name = 'C' ORDER BY table_name"
        )
        assert collated.fetchall() == [("groups",), ("users",)]


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


def test_replicas_that_start_together_migrate_once(empty_database_url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(migrations.upgrade, empty_database_url) for _ in range(4)]:
            future.result()
    assert migrations.current(empty_database_url) == migrations.head()


def test_no_database_is_one_clear_failure() -> None:
    with pytest.raises(DatabaseUnavailable):
        migrations.current("postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(DatabaseUnavailable, match="only postgresql"):
        migrations.current("mysql://nobody@127.0.0.1/nothing")
