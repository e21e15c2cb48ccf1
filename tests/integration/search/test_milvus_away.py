"""A Milvus that is away, and one that comes back with less than it had."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pymilvus import MilvusClient

from service import deadline
from service.errors import DeadlineExceeded, ServiceUnavailable
from service.search.milvus import MilvusCatalog
from service.search.milvus_store import MilvusStore
from service.storage.engine import Database
from service.storage.source import PostgresChangeSource
from service.values import App, Embedding
from tests.fixtures.library import DIMENSION, MODEL, enrol, random_embedding
from tests.fixtures.milvus import Milvus, own_milvus
from tests.fixtures.waiting import wait_for

FIRST, SECOND = random_embedding(1), random_embedding(2)


@pytest.fixture
def milvus(tmp_path: Path) -> Iterator[Milvus]:
    with own_milvus(tmp_path) as server:
        yield server


@pytest.fixture
def catalog(database: Database, milvus: Milvus) -> Iterator[MilvusCatalog]:
    source = PostgresChangeSource(database, MODEL, DIMENSION)
    catalog = MilvusCatalog(source, MODEL, DIMENSION, installation="test", uri=milvus.uri, index_type="FLAT", timeout=1)
    catalog.load()
    yield catalog
    catalog.close()


def _is_found(database: Database, catalog: MilvusCatalog, app: App, probe: Embedding) -> bool:
    """As a search looks: up to the head, then into the index. Who is away finds nobody."""
    with database.read() as reader:
        group_pk, head = reader.groups.pks(app.pk, ["group"])["group"], reader.changes.heads()[app.pk]
    try:
        catalog.catch_up(app.pk, head)
        return bool(catalog.search(app.pk, [group_pk], probe, 5, 0.99))
    except ServiceUnavailable:
        return False


def test_one_that_is_silent_is_away_and_what_it_missed_is_brought_without_a_request(
    database: Database, app: App, milvus: Milvus, catalog: MilvusCatalog, caplog: pytest.LogCaptureFixture
) -> None:
    enrol(database, app, "group", "first", "t", FIRST)
    assert _is_found(database, catalog, app, FIRST)
    with milvus.silent():
        head = enrol(database, app, "group", "second", "t", SECOND)
        for ask in (
            lambda: catalog.search(app.pk, [1], FIRST, 5, 0.99),
            catalog.faces,
            lambda: catalog.catch_up(app.pk),
        ):
            with pytest.raises(ServiceUnavailable, match="the vector database does not answer"):
                ask()
        assert catalog.position(app.pk) == head - 1
    wait_for(lambda: catalog.position(app.pk) == head)
    assert _is_found(database, catalog, app, SECOND)
    told = {(record.name, record.message) for record in caplog.records if record.levelno >= logging.WARNING}
    assert ("service.search.milvus", "the vector database failed: Deadline Exceeded") in told
    assert not [name for name, _ in told if name.startswith("pymilvus")]


def test_one_that_stays_away_is_told_of_ever_more_rarely_and_when_it_is_back(
    catalog: MilvusCatalog, milvus: Milvus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looks: list[None] = []
    is_made = MilvusStore.is_made

    def counted(store: MilvusStore) -> bool:
        looks.append(None)
        return is_made(store)

    def told(thread: str, words: str) -> int:
        records = [each for each in caplog.records if each.name == "service.search.milvus" and words in each.message]
        return sum(record.threadName == thread for record in records)

    monkeypatch.setattr(MilvusStore, "is_made", counted)
    monkeypatch.setattr("service.search.milvus.RETRY_SECONDS", 0.01)
    milvus.end()
    for _ in range(2):
        with pytest.raises(ServiceUnavailable):
            catalog.faces()
    assert told(threading.current_thread().name, "failed") == 2  # each request
    wait_for(lambda: len(looks) > 7)
    failures = told("vector-database", "failed")
    assert failures
    assert 2 ** (failures - 1) <= len(looks)  # the first, second, fourth and eighth look
    assert told("vector-database", "answers again") == 0
    milvus.begin()
    wait_for(lambda: told("vector-database", "answers again") == 1)


def test_one_that_comes_back_empty_is_filled_without_a_restart(
    database: Database, app: App, milvus: Milvus, catalog: MilvusCatalog
) -> None:
    enrol(database, app, "group", "first", "t", FIRST)
    assert _is_found(database, catalog, app, FIRST)
    milvus.end()
    milvus.begin("empty")
    wait_for(lambda: _is_found(database, catalog, app, FIRST))


def test_one_that_comes_back_as_it_was_before_is_brought_up_to_date(
    database: Database, app: App, milvus: Milvus, catalog: MilvusCatalog
) -> None:
    enrol(database, app, "group", "first", "t", FIRST)
    assert _is_found(database, catalog, app, FIRST)
    milvus.end()
    (milvus.folder / "data").rename(milvus.folder / "earlier")
    milvus.begin("other")
    wait_for(lambda: _is_found(database, catalog, app, FIRST))
    enrol(database, app, "group", "second", "t", SECOND)
    assert _is_found(database, catalog, app, SECOND)
    milvus.end()
    with pytest.raises(ServiceUnavailable):
        catalog.faces()
    milvus.begin("earlier")
    wait_for(lambda: _is_found(database, catalog, app, SECOND))


def test_an_address_whose_port_is_none_is_told(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    source = PostgresChangeSource(database, MODEL, DIMENSION)
    with pytest.raises(ServiceUnavailable, match="the vector database does not answer"):
        MilvusCatalog(source, MODEL, DIMENSION, installation="test", uri="http://host:port")
    assert "the vector database failed: Port could not be cast" in caplog.text


def test_positions_do_not_outlive_the_faces_they_tell_of(
    database: Database, app: App, milvus: Milvus, catalog: MilvusCatalog
) -> None:
    enrol(database, app, "group", "first", "t", FIRST)
    assert _is_found(database, catalog, app, FIRST)
    client = MilvusClient(milvus.uri)
    faces = min(client.list_collections(), key=len)
    client.drop_collection(faces)
    client.close()
    wait_for(lambda: _is_found(database, catalog, app, FIRST))


def test_a_request_waits_for_a_replay_no_longer_than_it_has_time(
    database: Database, app: App, catalog: MilvusCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with indexes of our own: filling Milvus may take minutes."""
    head = enrol(database, app, "group", "first", "t", FIRST)
    replay, replaying, go_on = MilvusCatalog._replay, threading.Event(), threading.Event()

    def stopping(*arguments: Any) -> None:
        replaying.set()
        assert go_on.wait(10)
        replay(*arguments)

    monkeypatch.setattr(MilvusCatalog, "_replay", stopping)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(catalog.catch_up, app.pk, head)
        try:
            assert replaying.wait(60)
            with deadline.within(0.05), pytest.raises(DeadlineExceeded):
                catalog.catch_up(app.pk, head)
        finally:
            go_on.set()
        slow.result(60)
    assert _is_found(database, catalog, app, FIRST)
