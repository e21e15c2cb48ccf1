"""Several processes, and several installations, at one Milvus; and what each of them may believe of it."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymilvus import MilvusClient, MilvusException

from service.errors import ServiceUnavailable
from service.search import milvus as milvus_module
from service.search import milvus_store
from service.search.milvus import MilvusCatalog
from service.search.milvus_store import MilvusStore
from service.search.protocol import NOT_LOADED, Keys
from service.storage.engine import Database
from service.upkeep import pruned
from service.values import App
from tests.fixtures.library import DIMENSION, MODEL, enrol, random_embedding
from tests.fixtures.milvus import own_milvus
from tests.fixtures.waiting import wait_for
from tests.integration.search.test_other_histories import LOST, NEW, Source, is_found, take_over

FIRST, SECOND = random_embedding(1), random_embedding(2)

Started = Callable[..., MilvusCatalog]


@pytest.fixture
def source(database: Database) -> Source:
    return Source(database, MODEL, DIMENSION)


@pytest.fixture
def started(source: Source, tmp_path: Path) -> Iterator[Started]:
    """Makes catalogs over one Milvus, of processes that have loaded."""
    made: list[MilvusCatalog] = []

    def start(installation: str = "test") -> MilvusCatalog:
        uri = str(tmp_path / "m.db")
        made.append(MilvusCatalog(source, MODEL, DIMENSION, installation=installation, uri=uri, index_type="FLAT"))
        made[-1].load()
        return made[-1]

    yield start
    for one in made:
        one.close()


@pytest.fixture
def library(database: Database, app: App) -> App:
    enrol(database, app, "group", "first", "t", FIRST)
    enrol(database, app, "group", "second", "t", SECOND)
    return app


def emptied(catalog: MilvusCatalog) -> None:
    """Take everything out of the collections past the service."""
    for name in (catalog._store._faces, catalog._store._positions):
        catalog._store._client.delete(name, filter="app_pk >= 0")


def dropped(catalog: MilvusCatalog) -> None:
    """Take the collections away."""
    for name in (catalog._store._faces, catalog._store._positions):
        catalog._store._client.drop_collection(name)


# --- what others do to Milvus while no request of ours fails ---


def test_nobody_is_missed_while_another_process_fills_a_milvus_that_was_emptied(
    database: Database, library: App, started: Started, source: Source
) -> None:
    filling, other = started(), started()
    emptied(filling)
    filling._known.clear()
    with ThreadPoolExecutor() as pool:
        asked: list[Any] = []

        def ask() -> None:
            source.meanwhile = None
            asked.append(pool.submit(is_found, database, other, library, FIRST))
            wait(asked, timeout=0.5)

        source.meanwhile = ask
        filling.catch_up(library.pk)
        assert [each.result() for each in asked] == [True]
    assert source.snapshots == 2  # at the start, and once for both


@pytest.mark.parametrize("of_users", [False, True])
def test_a_milvus_that_was_emptied_and_filled_during_a_search_is_searched_again(
    database: Database, library: App, started: Started, monkeypatch: pytest.MonkeyPatch, of_users: bool
) -> None:
    filling, other = started(), started()
    asked = "faces" if of_users else "nearest_users"
    ask = getattr(other._store, asked)

    def in_between(*arguments: Any) -> Any:
        monkeypatch.setattr(other._store, asked, ask)
        emptied(filling)
        found = ask(*arguments)
        filling._known.clear()
        filling.catch_up(library.pk)
        return found

    monkeypatch.setattr(other._store, asked, in_between)
    if of_users:
        with database.read() as reader:
            group_pk = reader.groups.pks(library.pk, ["group"])["group"]
            users = reader.users.pks([group_pk], "first")
        assert other.search_user(library.pk, [group_pk], users, FIRST)
    else:
        assert is_found(database, other, library, FIRST)


@pytest.mark.parametrize("known", [False, True])
def test_nobody_is_missed_by_a_search_while_another_thread_finds_that_milvus_was_emptied(
    database: Database, library: App, started: Started, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    catalog = started()
    catalog._known.clear()
    catch_up = catalog.catch_up

    def and_then_emptied(app_pk: int) -> None:
        monkeypatch.setattr(catalog, "catch_up", catch_up)
        catch_up(app_pk)
        emptied(catalog)
        catalog._known.clear()
        if known:  # what stands there is looked at first
            catalog._known[app_pk] = catalog._store.position(app_pk)

    monkeypatch.setattr(catalog, "catch_up", and_then_emptied)
    assert is_found(database, catalog, library, FIRST)


@pytest.mark.parametrize("same_process", [True, False])
def test_who_enrolled_after_a_standby_took_over_is_found_while_milvus_is_filled_from_it(
    database: Database, library: App, started: Started, source: Source, same_process: bool
) -> None:
    filling, other = started(), started()
    lost = enrol(database, library, "group", "lost", "t", LOST)
    for one in (filling, other):
        one.catch_up(library.pk, lost)
    take_over(database, library)
    head = enrol(database, library, "group", "new", "t", NEW)
    asked = filling if same_process else other

    def request() -> bool:
        asked.catch_up(library.pk, head)
        return is_found(database, asked, library, NEW)

    with ThreadPoolExecutor() as pool:
        answers: list[Any] = []

        def ask() -> None:
            source.meanwhile = None
            pool.submit(other.catch_up_all)  # as when its listener has connected anew
            wait_for(lambda: other._locks[library.pk].locked() and (same_process or other.position(library.pk) < 0))
            answers.append(pool.submit(request))
            wait(answers, timeout=0.5)

        source.meanwhile = ask
        filling.catch_up_all()
        assert [each.result() for each in answers] == [True]


def test_a_milvus_that_was_put_back_to_an_earlier_state_is_brought_up_to_date_by_the_next_search(
    database: Database, library: App, started: Started
) -> None:
    catalog = started()
    head = catalog._known[library.pk]
    with database.read() as reader:
        mark = reader.changes.mark(library.pk, head.seq - 1)
        faces = np.array([reader.changes.since(library.pk, head.seq - 1, 1, MODEL)[0].face_pk])
    catalog._store.delete_faces(faces)
    catalog._store.put_position(library.pk, replace(head, seq=head.seq - 1, mark=mark))
    assert is_found(database, catalog, library, SECOND)
    assert catalog._store.position(library.pk) == head  # by the log: it was not filled from nothing


def test_nobody_is_answered_from_an_earlier_state_while_a_look_brings_milvus_up_to_date(
    library: App, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was told that a change is there may search until then; what stands in Milvus meanwhile lacks it."""
    catalog = started()
    head = catalog._known[library.pk]
    catalog._store.put_position(library.pk, replace(head, seq=head.seq - 1, mark=None))
    known, replay = [], MilvusCatalog._replay

    def noting(*arguments: Any) -> None:
        known.append(catalog.position(library.pk))
        replay(*arguments)

    monkeypatch.setattr(MilvusCatalog, "_replay", noting)
    catalog._look_again()
    assert known == [NOT_LOADED]
    assert catalog.position(library.pk) == head.seq


def test_collections_are_not_made_anew_under_a_thread_that_fills_those_of_before(
    database: Database, library: App, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would tell of faces that went with them."""
    catalog = started()
    emptied(catalog)
    catalog._known.clear()
    remove_others = MilvusCatalog._remove_others

    def and_before(*arguments: Any) -> None:
        monkeypatch.setattr(MilvusCatalog, "_remove_others", remove_others)
        dropped(catalog)
        catalog._doubted.set()
        until = time.monotonic() + 2
        while time.monotonic() < until and not catalog._store.is_made():
            time.sleep(0.01)
        remove_others(*arguments)

    monkeypatch.setattr(MilvusCatalog, "_remove_others", and_before)
    with pytest.raises(ServiceUnavailable):
        catalog.catch_up(library.pk)
    wait_for(lambda: catalog.position(library.pk) != NOT_LOADED)
    assert is_found(database, catalog, library, FIRST)


@pytest.mark.parametrize("from_nothing", [True, False])
def test_who_brings_collections_up_to_date_does_not_go_on_in_those_that_another_process_made_after_them(
    database: Database, library: App, started: Started, monkeypatch: pytest.MonkeyPatch, from_nothing: bool
) -> None:
    """Neither of its requests fails for want of collections; its position would tell of faces that went with them."""
    filling, other = started(), started()
    head = enrol(database, library, "group", "new", "t", NEW)
    if from_nothing:
        emptied(filling)
        filling._known.clear()
    reach = MilvusCatalog._reach

    def and_before(*arguments: Any) -> None:
        monkeypatch.setattr(MilvusCatalog, "_reach", reach)
        dropped(other)
        other._store.make()
        reach(*arguments)

    monkeypatch.setattr(MilvusCatalog, "_reach", and_before)
    with pytest.raises(ServiceUnavailable):
        filling.catch_up(library.pk, head)
    wait_for(lambda: filling.position(library.pk) == head and is_found(database, filling, library, NEW))
    assert is_found(database, other, library, FIRST)


def test_one_process_finds_the_collections_that_another_has_made_anew(
    database: Database, library: App, started: Started
) -> None:
    one, other = started(), started()
    before = one._store._faces
    dropped(other)
    other._store.make()
    with pytest.raises(ServiceUnavailable):
        is_found(database, one, library, FIRST)
    wait_for(lambda: one.position(library.pk) != NOT_LOADED and one._store._faces != before)
    assert is_found(database, one, library, FIRST)
    assert (one._store._faces, one.faces()) == (other._store._faces, 2)


def test_a_milvus_that_forgets_at_once_what_it_is_given_is_given_up(
    database: Database, library: App, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = started()
    monkeypatch.setattr(MilvusStore, "holds", lambda *_: False)
    with pytest.raises(ServiceUnavailable, match="keeps losing"):
        is_found(database, catalog, library, FIRST)


def test_an_app_that_is_gone_has_nobody(database: Database, library: App, started: Started) -> None:
    catalog = started()
    with database.admin() as admin:
        admin.apps.delete(library.pk)
    catalog.catch_up(library.pk)
    assert catalog.search(library.pk, [1], FIRST, 5, 0.5) == []
    assert catalog._store.positions() == {}


def test_of_an_app_that_is_erased_while_it_is_filled_nothing_stays(
    database: Database, library: App, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = started()
    emptied(catalog)
    catalog._known.clear()

    def stopped(*_: object) -> None:
        raise ServiceUnavailable("stopped")

    monkeypatch.setattr(catalog, "_remove_others", stopped)
    with pytest.raises(ServiceUnavailable, match="stopped"):
        catalog.catch_up(library.pk)
    assert catalog.faces() == 2
    with database.admin() as admin:
        admin.apps.delete(library.pk)
    assert started().faces() == 0


# --- one that was never there, and several who come at once ---


def test_processes_that_start_at_the_same_time_make_the_collections_once(
    database: Database, library: App, source: Source, tmp_path: Path
) -> None:
    with own_milvus(tmp_path) as milvus, ThreadPoolExecutor() as pool:
        catalogs = [
            MilvusCatalog(source, MODEL, DIMENSION, installation="test", uri=milvus.uri, index_type="FLAT")
            for _ in range(4)
        ]
        barrier = threading.Barrier(len(catalogs))

        def load(catalog: MilvusCatalog) -> bool:
            barrier.wait()
            catalog.load()
            return is_found(database, catalog, library, FIRST)

        try:
            assert all(pool.map(load, catalogs))
        finally:
            for catalog in catalogs:
                catalog.close()
    assert source.snapshots == 1


def test_installations_at_one_milvus_have_collections_of_their_own(
    database: Database, library: App, started: Started, tmp_path: Path
) -> None:
    one, other = started("one"), started("other")
    emptied(other)
    assert is_found(database, one, library, FIRST)
    client = MilvusClient(str(tmp_path / "m.db"))
    names = sorted(name for made in (one, other) for name in (made._store._faces, made._store._positions))
    assert sorted(client.list_collections()) == names
    own = MODEL.replace("-", "_")
    assert all(re.fullmatch(f"aipface_(one|other)_{own}_[0-9a-f]{{8}}(_marks)?", name) for name in names)


# --- the log ---


def test_a_log_that_was_pruned_up_to_where_milvus_stands_is_followed_to_its_end(
    database: Database, library: App, started: Started, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = started()
    monkeypatch.setattr(milvus_module, "BATCH", 4)
    for number in range(10):
        head = enrol(database, library, "group", f"later{number}", "t", random_embedding(20 + number))
    list(pruned(database, library.pk, keep=10))
    catalog.catch_up(library.pk, head)
    assert (catalog.position(library.pk), source.snapshots) == (head, 1)
    assert is_found(database, catalog, library, random_embedding(29))


@pytest.mark.parametrize("what", ["group", "app"])
def test_very_many_are_deleted_some_at_a_time_and_what_is_done_stays_done(
    database: Database, library: App, started: Started, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    catalog = started()
    for number in range(10):
        enrol(database, library, "group", f"later{number}", "t", random_embedding(20 + number))
    catalog.catch_up(library.pk)
    monkeypatch.setattr(milvus_store, "ROWS", 5)
    delete, asked = MilvusClient.delete, []

    def slow(client: MilvusClient, name: str, ids: Keys, **rest: Any) -> Any:
        if name.endswith("_marks"):
            return delete(client, name, ids, **rest)
        asked.append(len(ids))
        if len(asked) == 3:
            raise MilvusException(message="Deadline Exceeded")
        return delete(client, name, ids=ids, **rest)

    monkeypatch.setattr(MilvusClient, "delete", slow)
    if what == "app":
        with database.admin() as admin:
            admin.apps.delete(library.pk)
    else:
        with database.write(library.pk) as work:
            work.groups.delete(work.groups.get_or_create("group"))
    with pytest.raises(ServiceUnavailable):
        catalog.catch_up(library.pk)
    assert catalog.faces() == 2
    catalog.catch_up(library.pk)
    assert (catalog.faces(), asked) == (0, [5, 5, 2, 2])
