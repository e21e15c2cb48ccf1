"""Databases that earlier releases left behind come up to date with everything in them."""

from __future__ import annotations

import psycopg
import pytest

from service.search.catalog import Catalog
from service.storage import migrations
from service.storage.engine import Database
from service.storage.rows import embedding_bytes
from service.storage.source import PostgresChangeSource
from service.storage.urls import driver_address
from tests.fixtures.library import DIMENSION, MODEL, enrol, random_embedding, random_embeddings

# As release 0.1.0 wrote them at schema 0001 and after.
ROWS = """
    INSERT INTO apps (app_id, name, api_key, secret) VALUES ('30000001', 'old', 'key', '\\x00');
    INSERT INTO change_heads (app_pk, seq) SELECT pk, 5 FROM apps;
    INSERT INTO groups (app_pk, name) SELECT pk, 'g' FROM apps;
    INSERT INTO users (app_pk, group_pk, name, info) SELECT app_pk, pk, 'ada', 'first' FROM groups;
"""
FACE = """
    INSERT INTO faces (app_pk, group_pk, user_pk, token, model_id, embedding, location, angles, confidence, points)
    SELECT app_pk, group_pk, pk, %s, %s, %s, '{"left":1,"top":2,"width":3,"height":4,"rotation":0}',
        '{"yaw":0,"pitch":0,"roll":0}', 0.9, decode(repeat('00', 616), 'hex') FROM users RETURNING pk
"""
CHANGE = """
    INSERT INTO changes (app_pk, seq, kind, group_pk, user_pk, face_pk)
    SELECT app_pk, %s, 1, group_pk, pk, %s FROM users
"""


@pytest.mark.parametrize("revision", sorted(migrations.known()))
def test_what_an_earlier_schema_holds_is_served(empty_database_url: str, revision: str) -> None:
    migrations.upgrade(empty_database_url, revision)
    embeddings = random_embeddings(5, 1)
    with psycopg.connect(driver_address(empty_database_url)) as connection:
        connection.execute(ROWS)
        for number, embedding in enumerate(embeddings, 1):
            row = connection.execute(FACE, (f"t{number}", MODEL, embedding_bytes(embedding))).fetchone()
            assert row is not None
            connection.execute(CHANGE, (number, row[0]))
    migrations.upgrade(empty_database_url)
    database = Database(empty_database_url, audit_keys=[bytes(32)])
    try:
        with database.read() as reader:
            (app,) = reader.apps.all()
            (entry,) = reader.users.entries(app.pk, "ada")
            assert (entry.group_id, entry.user_info) == ("g", "first")
            remembered = reader.faces.stored_by_token(app.pk, "t3", MODEL)
            assert remembered is not None
            group = reader.groups.pks_in_scene(app.pk, ["g"], None)["g"]
        catalog = Catalog(PostgresChangeSource(database, MODEL, DIMENSION), DIMENSION)
        catalog.load()
        (hit,) = catalog.search(app.pk, [group], embeddings[2], 1, 0.5)
        assert hit.user_pk == entry.pk
        assert hit.similarity == pytest.approx(1, abs=1e-3)  # embeddings are indexed in half precision
        catalog.catch_up(app.pk, enrol(database, app, "g", "new", "new", random_embedding(7)))
        assert len(catalog.search(app.pk, [group], random_embedding(7), 5, 0.99)) == 1
    finally:
        database.close()
