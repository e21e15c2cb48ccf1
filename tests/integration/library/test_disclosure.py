"""What an export tells of the audit log: the app's own entries about a person, found without reading all others."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import sqlalchemy as sa

from service.library.disclosure import DOCUMENT, Disclosure
from service.storage.audit import INSTALLATION, AuditDraft
from service.storage.engine import Database
from service.storage.urls import driver_address
from service.values import App
from tests.fixtures.library import enrol, new_app, random_embedding

MANY = """
    INSERT INTO audit SELECT {0}, 1000 + i, now(), 'app:1', 'search', '0', ARRAY['g'], ARRAY['u' || i], i, NULL, '\\x00'
    FROM generate_series(1, 20000) AS i
"""


def exported(database: Database, app: App, user_id: str) -> list[dict[str, Any]]:
    out = io.BytesIO()
    Disclosure(database).write(app, user_id, out)
    with zipfile.ZipFile(out) as archive:
        told: list[dict[str, Any]] = json.loads(archive.read(DOCUMENT))["audit"]
    return told


@contextmanager
def plans(database: Database) -> Iterator[list[str]]:
    """How PostgreSQL would go about each query of the log's entries, as the role that asks it."""
    found: list[str] = []

    @sa.event.listens_for(database._engine, "before_cursor_execute")
    def explain(_connection: object, cursor: Any, statement: str, parameters: Any, *_: object) -> None:
        if "FROM audit" in statement and "audit.users" in statement:
            with cursor.connection.cursor() as another:
                lines = another.execute(f"EXPLAIN {statement}", parameters).fetchall()
            found.append("\n".join(line for (line,) in lines))

    yield found
    sa.event.remove(database._engine, "before_cursor_execute", explain)


def test_an_export_finds_the_entries_of_a_person_by_the_index(database: Database, database_url: str) -> None:
    app = new_app(database)
    enrol(database, app, "g", "u7", "t", random_embedding(7))
    with psycopg.connect(driver_address(database_url)) as connection:
        connection.execute(MANY.format(app.pk).encode())
    with psycopg.connect(driver_address(database_url), autocommit=True) as connection:
        connection.execute("ANALYZE audit")
    with plans(database) as found:
        assert len(exported(database, app, "u7")) >= 1
    (plan,) = found
    assert "audit_users_idx" in plan


def test_an_export_tells_nothing_of_other_apps(database: Database) -> None:
    """Row-level security does not stand behind this query, and apps like to give the same ids."""
    ours, other = new_app(database), new_app(database)
    for chain, actor in ((ours.pk, "app:ours"), (other.pk, "app:other"), (INSTALLATION, "local")):
        with database.admin() as work:
            work.audit.append(chain, [AuditDraft(actor, "search", users=("ada",), groups=(actor,))] * 3)
    told = exported(database, ours, "ada")
    assert {(entry["actor"], *entry["groups"]) for entry in told} == {("app:ours", "app:ours")}
    assert len(told) == 3
