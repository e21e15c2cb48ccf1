"""A database whose audit log is kept."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from service.storage.engine import Database

KEY = bytes(range(32))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, audit_keys=[KEY])
    yield database
    database.close()
