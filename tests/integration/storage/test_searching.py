"""What a search reads stays little, however much there is and whatever PostgreSQL knows about it."""

from __future__ import annotations

import psycopg

from service.storage import searching
from service.storage.engine import Database
from service.storage.urls import driver_address
from service.values import App
from tests.fixtures.library import MODEL

PEOPLE, FACES_EACH = 2_000, 5
FOUND = 50
PAGES_EACH = 15
"""Of a face, its user and its group, each by its number: the pages of three small indexes and three rows."""

_FILL = """
    WITH home AS (INSERT INTO groups (app_pk, name) VALUES (%(app)s, 'group') RETURNING pk),
    people AS (
        INSERT INTO users (app_pk, group_pk, name)
        SELECT %(app)s, home.pk, 'user_' || n FROM home, generate_series(1, %(people)s) AS n RETURNING pk, group_pk
    )
    INSERT INTO faces (app_pk, group_pk, user_pk, token, model_id, embedding, location, angles, confidence, points)
    SELECT %(app)s, group_pk, pk, turn || '-' || pk, %(model)s, %(embedding)s, '{}', '{}', .9, %(points)s
    FROM people, generate_series(1, %(each)s) AS turn RETURNING pk
"""


def test_whom_a_search_found_is_read_row_by_row(database: Database, app: App, database_url: str) -> None:
    """Nobody has counted the rows of a library that was just filled; plans are made without knowing them."""
    values = {"app": app.pk, "people": PEOPLE, "each": FACES_EACH, "model": MODEL}
    values |= {"embedding": bytes(768), "points": bytes(600)}
    with psycopg.connect(driver_address(database_url)) as connection:
        pks = [pk for (pk,) in connection.execute(_FILL, values)][:: PEOPLE * FACES_EACH // FOUND]
    with database.read(app.pk) as reader:
        assert len(reader.searching.found(pks)) == FOUND
        statement = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + searching._FOUND
        ((explained,),) = reader.searching._execution.direct(statement, {"pks": pks})
    plan = explained[0]["Plan"]
    assert plan["Actual Rows"] == FOUND
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= PAGES_EACH * FOUND


def test_the_plan_for_one_face_is_kept(database: Database, app: App, database_url: str) -> None:
    """After a few times it is no longer made anew, which takes longer than what it is for."""
    values = {"app": app.pk, "people": 1, "each": 20, "model": MODEL, "embedding": bytes(768), "points": bytes(600)}
    with psycopg.connect(driver_address(database_url)) as connection:
        pks = [pk for (pk,) in connection.execute(_FILL, values)]
    with database.read(app.pk) as reader:
        assert all(list(reader.searching.found([pk])) == [pk] for pk in pks)
        asked = "SELECT generic_plans FROM pg_prepared_statements WHERE statement LIKE %(like)s"
        kept = reader.searching._execution.direct(asked, {"like": "%FROM faces WHERE faces.pk = $1::bigint%"})
    assert kept
    assert kept[0][0] > 0
