"""Plain faces that servers with ``only`` take for forged: told of as such, and found once they are sealed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from service.access.keys import Keyring
from service.face_keys import reseal_faces
from service.search.catalog import Catalog
from service.storage.engine import Database
from service.storage.face_keys import Wish
from service.storage.listener import Listener
from service.storage.sealing import Mode
from service.storage.source import PostgresChangeSource
from tests.fixtures.library import DIMENSION, MODEL, new_app
from tests.fixtures.sealing import opened
from tests.fixtures.waiting import wait_for
from tests.integration.storage.test_sealing import KEY, enrolled


@contextlib.contextmanager
def telling(database: Database) -> Iterator[None]:
    """A server that tells that it takes no plain faces."""
    listener = Listener(
        database.url,
        on_change=lambda *_: None,
        on_app=lambda _: None,
        on_connect=lambda: None,
        loaded=lambda: [MODEL],
        only_sealed=database.sealing.enrolled.mode is Mode.ONLY,
    )
    listener.start()
    try:
        wait_for(lambda: servers(database) == 1)
        yield
    finally:
        listener.stop()


def servers(database: Database) -> int:
    with database.read() as reader:
        return reader.models.servers(MODEL)[1]


def test_plain_faces_that_a_running_server_refused_are_found_once_they_are_sealed(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(database_url, Mode.ONLY, KEY) as only, opened(database_url, Mode.OFF, KEY) as stray, telling(only):
        app, other = new_app(only), new_app(only)
        catalog = Catalog(PostgresChangeSource(only, MODEL, DIMENSION), DIMENSION)
        enrolled(stray, app, 2)
        enrolled(only, other, 1, 5)
        catalog.load()
        enrolled(stray, app, 1, 2)
        catalog.catch_up_all()
        assert catalog.faces() == 1
        assert "if they are yours: aipface key seal-faces" in caplog.text  # of what was there when it was loaded
        assert "if it is yours: aipface key seal-faces" in caplog.text  # of what came later
        assert "cannot be opened" not in caplog.text
        with only.read() as reader:
            before = reader.changes.heads()
        assert reseal_faces(stray, Keyring(KEY), Wish.SEALED)["faces"].done == 3
        catalog.catch_up_all()
        assert catalog.faces() == 4
        with only.read() as reader:
            assert reader.changes.heads() == before | {app.pk: before[app.pk] + 3}
        again = Catalog(PostgresChangeSource(only, MODEL, DIMENSION), DIMENSION)
        again.load()
        assert again.faces() == 4


def test_nobody_has_to_hear_of_sealing_where_plain_faces_are_taken(database_url: str) -> None:
    """A change for each of a million faces would be read by every index, for nothing."""
    with opened(database_url, Mode.OFF, KEY) as plain, opened(database_url, Mode.ON, KEY) as server, telling(server):
        app = new_app(plain)
        enrolled(plain, app, 2)
        assert reseal_faces(plain, Keyring(KEY), Wish.SEALED)["faces"].done == 2
        with plain.read() as reader:
            assert reader.changes.head(app.pk) == 2
