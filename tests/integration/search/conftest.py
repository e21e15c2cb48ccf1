"""A database of the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.storage.engine import Database
from service.values import App
from tests.fixtures.library import new_app


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def app(database: Database) -> App:
    return new_app(database)
