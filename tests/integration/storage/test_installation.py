"""What tells one installation from every other."""

from __future__ import annotations

import re

import psycopg
import pytest
from sqlalchemy.engine import make_url

from service.errors import ServiceUnavailable
from service.storage.engine import Database
from service.storage.installation import installation_of
from tests.fixtures.sealing import execute


def test_every_database_has_a_name_that_it_keeps(database_url: str, empty_database_url: str) -> None:
    names = []
    for url in (database_url, empty_database_url, database_url):
        database = Database(url)
        names.append(installation_of(database))
        database.close()
    first, other, again = names
    assert first == again
    assert first != other
    assert all(re.fullmatch("[0-9a-f]{1,16}_[0-9]{1,10}", name) for name in names)


def test_an_account_may_ask_unless_somebody_took_that_from_it(
    empty_database_url: str, operator: psycopg.Connection[tuple[object, ...]]
) -> None:
    operator.execute("CREATE ROLE visitor LOGIN")
    database = Database(make_url(empty_database_url).set(username="visitor").render_as_string(False))
    try:
        assert installation_of(database)
        execute(empty_database_url, "REVOKE EXECUTE ON FUNCTION pg_control_system FROM PUBLIC")
        with pytest.raises(ServiceUnavailable, match="GRANT EXECUTE ON FUNCTION pg_control_system"):
            installation_of(database)
    finally:
        database.close()
        operator.execute("DROP ROLE visitor")
