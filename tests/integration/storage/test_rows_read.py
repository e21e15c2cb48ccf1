"""A page and a batch read about what they give, however much there is beside it."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest
import sqlalchemy as sa

from service.storage.engine import Database, Reader
from service.storage.urls import driver_address
from service.values import App
from tests.fixtures.library import MODEL, new_app
from tests.fixtures.sealing import execute

OTHERS, OURS = 100_000, 10
EMBEDDED, BATCH = 10_000, 128
NEW = "new-8-000000000000"

_USERS = "INSERT INTO users (app_pk, group_pk, name) SELECT %s, %s, 'user_' || n FROM generate_series(1, %s) AS n"
_FACES = """
    INSERT INTO faces (app_pk, group_pk, user_pk, token, model_id, embedding, location, angles, confidence, points,
        portrait)
    SELECT app_pk, group_pk, pk, 'token', %s, '', '{"left": 1, "top": 2, "width": 3, "height": 4, "rotation": 0}',
        '{"yaw": 0, "pitch": 0, "roll": 0}', .9, decode(repeat('00', 616), 'hex'), 'crop' FROM users
"""
_EMBED = """
    INSERT INTO face_embeddings (face_pk, model_id, app_pk, embedding)
    SELECT pk, %s, app_pk, '' FROM faces ORDER BY pk LIMIT %s
"""
_READ = """
    SELECT (SELECT coalesce(sum(idx_tup_read), 0) FROM pg_stat_user_indexes WHERE relname = %(table)s)
         + (SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = %(table)s)
"""


def _filled(database: Database, app: App, count: int) -> int:
    """A new group with users; its number."""
    with database.write(app.pk) as work:
        group = work.groups.insert("group")
    with database.bulk() as connection:
        connection.execute(_USERS, (app.pk, group, count))
    return group


def _rows_read(database: Database, url: str, table: str, ask: Callable[[Reader], object]) -> int:
    """Rows and entries of indexes of a table that PostgreSQL read for an answer."""

    def read() -> int:
        with psycopg.connect(driver_address(url), autocommit=True) as connection:
            row = connection.execute(_READ, {"table": table}).fetchone()
            assert row is not None
            return int(row[0])

    with database.read() as reader:
        tell = sa.text("SELECT pg_stat_force_next_flush()")
        reader.models._execution.run(tell)
        before = read()
        ask(reader)
        reader.models._execution.run(tell)
        return read() - before


@pytest.mark.parametrize("page", ["groups.users", "users.entries_in_group"])
def test_a_page_of_a_small_group_is_not_sought_among_everybody(
    database: Database, app: App, database_url: str, page: str
) -> None:
    _filled(database, new_app(database, "large"), OTHERS)
    group = _filled(database, app, OURS)
    execute(database_url, "VACUUM users")  # which tells how many rows there are, and not of which groups
    room, _, call = page.partition(".")

    def ask(reader: Reader) -> None:
        assert len(getattr(getattr(reader, room), call)(group, 0, 3 * OURS)) == OURS

    assert _rows_read(database, database_url, "users", ask) <= 5 * OURS


def test_a_batch_to_embed_reads_no_embeddings_before_it(database: Database, app: App, database_url: str) -> None:
    _filled(database, app, 2 * EMBEDDED)
    execute(database_url, _FACES, MODEL)
    execute(database_url, _EMBED, NEW, EMBEDDED)
    for table in ("faces", "face_embeddings"):
        execute(database_url, f"ANALYZE {table}")
    ((last,),) = execute(database_url, "SELECT max(face_pk)::text FROM face_embeddings")

    def ask(reader: Reader) -> None:
        assert len(reader.models.unembedded(NEW, int(str(last)), BATCH)) == BATCH

    assert _rows_read(database, database_url, "face_embeddings", ask) <= 5 * BATCH
