"""Uploads are kept for a time and up to a size, for one app, unreadable in the database."""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest

from service.access.keys import Keyring
from service.library.uploads import Uploads
from service.storage.engine import Database
from service.storage.urls import driver_address
from service.values import App
from tests.fixtures.library import new_app

DAY = timedelta(days=1)
OVERHEAD = 29
"""Bytes that sealing adds."""


def made(database: Database, *, lifetime: timedelta = DAY, most_bytes: int = 10_000) -> Uploads:
    return Uploads(database, Keyring(b"k" * 32), lifetime=lifetime, most_bytes=most_bytes)


def rows(database_url: str) -> list[tuple[object, ...]]:
    with psycopg.connect(driver_address(database_url)) as connection:
        return connection.execute("SELECT content, size FROM uploads").fetchall()


def test_a_file_comes_back_under_its_id(database: Database, database_url: str, app: App) -> None:
    uploads = made(database)
    first = uploads.store(app, "selfie", b"content of a picture")
    assert first is not None
    assert uploads.content(app, "selfie", first) == b"content of a picture"
    assert uploads.store(app, "selfie", b"content of a picture") == first
    ((content, size),) = rows(database_url)
    assert isinstance(content, bytes)
    assert b"picture" not in content
    assert size == len(content)


def test_an_id_means_nothing_elsewhere(database: Database, app: App) -> None:
    uploads = made(database)
    stored = uploads.store(app, "selfie", b"x")
    assert stored is not None
    other = new_app(database)
    assert uploads.content(other, "selfie", stored) is None
    assert uploads.content(app, "liveness_data", stored) is None
    assert uploads.store(other, "selfie", b"x") != stored
    assert uploads.store(app, "liveness_data", b"x") != stored
    for unknown in ("", "0" * 32, "'; --", stored.upper() + "0", "é" * 32):
        assert uploads.content(app, "selfie", unknown) is None


def test_time_ends_it(database: Database, database_url: str, app: App) -> None:
    uploads = made(database)
    names = [uploads.store(app, "selfie", bytes([number])) for number in range(3)]
    with psycopg.connect(driver_address(database_url)) as connection:
        connection.execute("UPDATE uploads SET expires = now() - interval '1 second'")
    assert names[0] is not None
    assert uploads.content(app, "selfie", names[0]) is None
    assert uploads.store(app, "selfie", b"\x00") == names[0]
    assert uploads.content(app, "selfie", names[0]) == b"\x00"
    with database.admin() as work:
        assert work.uploads.purge_expired(1) == 1
        assert work.uploads.purge_expired(5) == 1
    assert len(rows(database_url)) == 1


def test_the_oldest_give_way(database: Database, app: App) -> None:
    uploads = made(database, most_bytes=3 * (100 + OVERHEAD))
    other = new_app(database)
    elsewhere = uploads.store(other, "selfie", bytes(100))
    names = [uploads.store(app, "selfie", bytes([number]) * 100) for number in range(5)]
    kept = [name is not None and uploads.content(app, "selfie", name) is not None for name in names]
    assert kept == [False, False, True, True, True]
    assert elsewhere is not None
    assert uploads.content(other, "selfie", elsewhere) == bytes(100)
    assert uploads.store(app, "selfie", bytes(1000)) is None


def test_keeping_can_be_turned_off(database: Database, database_url: str, app: App) -> None:
    assert made(database, lifetime=timedelta(0)).store(app, "selfie", b"x") is None
    assert rows(database_url) == []


def test_it_goes_with_its_app(database: Database, database_url: str, app: App) -> None:
    made(database).store(app, "selfie", b"x")
    with database.admin() as work:
        work.apps.delete(app.pk)
    assert rows(database_url) == []


def test_many_at_once_stay_within_the_bound(database: Database, database_url: str, app: App) -> None:
    uploads = made(database, most_bytes=4 * (100 + OVERHEAD))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: uploads.store(app, "selfie", secrets.token_bytes(100)), range(24)))
    uploads.store(app, "selfie", bytes(100))
    assert len(rows(database_url)) <= 4


def test_another_master_key_reads_nothing(database: Database, app: App, caplog: pytest.LogCaptureFixture) -> None:
    stored = made(database).store(app, "selfie", b"x")
    assert stored is not None
    stranger = Uploads(database, Keyring(b"l" * 32), lifetime=DAY, most_bytes=10_000)
    assert stranger.content(app, "selfie", stored) is None
    assert "master key" in caplog.text
