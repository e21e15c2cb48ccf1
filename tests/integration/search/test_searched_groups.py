"""Several groups searched at once: whom each is asked for, and what changes between one look and the next."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.search.catalog import LOOKS, Catalog
from service.search.flat import FlatIndex
from service.search.milvus import MilvusCatalog
from service.search.protocol import Candidate, FaceSearch
from service.storage.engine import Database
from service.storage.source import PostgresChangeSource
from service.values import App, Embedding, Hit
from tests.fixtures.library import DIMENSION, MODEL, enrol, random_embedding

EVERYTHING = -1.5
WANTED = random_embedding(0)


@pytest.fixture
def catalog(database: Database) -> Catalog:
    return Catalog(PostgresChangeSource(database, MODEL, DIMENSION), DIMENSION)


@pytest.fixture
def after_look(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], list[int]]:
    """Has something done after each look into a group, given its number; the list tells how many each asked for."""

    def arranged(act: Callable[[int], None]) -> list[int]:
        search, asked = FlatIndex.search, list[int]()

        def looking(index: FlatIndex, probe: Embedding, limit: int, least: float) -> list[Candidate]:
            found = search(index, probe, limit, least)
            asked.append(limit)
            act(len(asked))
            return found

        monkeypatch.setattr(FlatIndex, "search", looking)
        return asked

    return arranged


def _groups(database: Database, app: App, *names: str) -> list[int]:
    with database.read() as reader:
        known = reader.groups.pks(app.pk, names)
    return [known[name] for name in names]


def _delete(database: Database, catalog: Catalog, app: App, user_id: str) -> None:
    with database.write(app.pk) as work:
        work.users.delete(work.users.entries(app.pk, user_id)[0].pk)
    catalog.catch_up(app.pk, work.seq)


def test_each_is_asked_for_no_more_than_are_wanted_and_the_best_people_are_among_them(
    database: Database, app: App, catalog: Catalog, after_look: Any
) -> None:
    """Though a person may be in all of the groups, and best in any."""
    limit = 4
    for number in range(60):
        enrol(database, app, f"g{number % 3}", f"u{number // 4}", f"t{number}", random_embedding(number))
    catalog.load()
    groups = _groups(database, app, "g0", "g1", "g2")

    def people(hits: list[Hit]) -> list[str]:
        with database.read() as reader:
            users = reader.users.entries_by_pk([hit.user_pk for hit in hits])
        return [users[hit.user_pk].user_id for hit in hits]

    asked = after_look(lambda _: None)
    everybody = people(catalog.search(app.pk, groups, random_embedding(100), 60, EVERYTHING))
    some = people(catalog.search(app.pk, groups, random_embedding(100), limit, EVERYTHING))
    assert asked == [60] * 3 + [limit] * 3
    assert len(set(everybody)) == 15
    assert len(some) > len(set(some)) >= limit
    assert list(dict.fromkeys(some))[:limit] == list(dict.fromkeys(everybody))[:limit]


def test_milvus_names_as_many_people_though_each_is_in_all_groups(
    database: Database, app: App, catalog: Catalog, tmp_path: Path
) -> None:
    """It is asked once for the users of all groups."""
    people, limit = 15, 10
    for number in range(3 * people):
        enrol(database, app, f"g{number // people}", f"u{number % people}", "t", random_embedding(number % people))
    source = PostgresChangeSource(database, MODEL, DIMENSION)
    milvus = MilvusCatalog(
        source, MODEL, DIMENSION, installation="test", uri=str(tmp_path / "milvus.db"), index_type="FLAT"
    )
    groups, both = _groups(database, app, "g0", "g1", "g2"), list[FaceSearch]((catalog, milvus))
    try:
        for each in both:
            each.load()
        expected, found = (each.search(app.pk, groups, WANTED, limit, EVERYTHING) for each in both)
    finally:
        milvus.close()
    assert [hit.face_pk for hit in found] == [hit.face_pk for hit in expected]
    assert len(found) == 3 * limit


@pytest.mark.parametrize("alone", [True, False])
def test_a_user_who_is_moved_between_two_looks_is_found(
    database: Database, app: App, catalog: Catalog, after_look: Any, alone: bool
) -> None:
    """Copied into the group that has been looked at, then deleted from the other, which may have no other user."""
    enrol(database, app, "from", "user", "t0", WANTED)
    enrol(database, app, "into", "another", "t1", random_embedding(1))
    if not alone:
        enrol(database, app, "from", "a third", "t2", random_embedding(2))
    catalog.load()
    groups = _groups(database, app, "into", "from")

    def move(look: int) -> None:
        if look == 1:
            with database.write(app.pk) as work:
                (user,) = work.users.entries(app.pk, "user")
                work.faces.copy(user.pk, work.users.insert(groups[0], "user"))
                work.users.delete(user.pk)
            catalog.catch_up(app.pk, work.seq)

    looks = after_look(move)
    (hit,) = catalog.search(app.pk, groups, WANTED, 1, 0.99)
    assert hit.group_pk == groups[0]
    assert len(looks) == (2 if alone else 4)  # of groups that are there


def test_who_is_found_among_some_users_is_found_though_moved(
    database: Database, app: App, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for a search that is narrowed to one person's users."""
    enrol(database, app, "from", "user", "t0", WANTED)
    enrol(database, app, "into", "user", "t1", random_embedding(1))
    catalog.load()
    groups = _groups(database, app, "into", "from")
    with database.read() as reader:
        here, there = reader.users.pks(groups[:1], "user")[0], reader.users.pks(groups[1:], "user")[0]
    search, looks = FlatIndex.search_user, list[int]()

    def looking(index: FlatIndex, probe: Embedding, user_pk: int) -> Candidate | None:
        found = search(index, probe, user_pk)
        looks.append(user_pk)
        if len(looks) == 1:
            with database.write(app.pk) as work:
                work.faces.copy(there, here)
                work.users.delete(there)
            catalog.catch_up(app.pk, work.seq)
        return found

    monkeypatch.setattr(FlatIndex, "search_user", looking)
    assert catalog.search_user(app.pk, groups, [here, there], WANTED)[0].similarity > 0.99


def test_additions_hide_nobody_and_are_no_reason_to_look_again(
    database: Database, app: App, catalog: Catalog, after_look: Any
) -> None:
    enrol(database, app, "g0", "user", "t0", WANTED)
    enrol(database, app, "g1", "another", "t1", random_embedding(1))
    catalog.load()
    groups = _groups(database, app, "g0", "g1")

    def enrol_more(look: int) -> None:
        catalog.catch_up(app.pk, enrol(database, app, "g0", f"u{look}", "t", random_embedding(10 + look)))

    looks = after_look(enrol_more)
    assert len(catalog.search(app.pk, groups, WANTED, 1, 0.99)) == 1
    assert len(looks) == 2


def test_while_faces_go_all_the_time_the_search_ends_and_one_group_is_looked_at_once(
    database: Database, app: App, catalog: Catalog, after_look: Any
) -> None:
    enrol(database, app, "g0", "user", "t0", WANTED)
    for number in range(1, 20):
        enrol(database, app, f"g{number % 2}", f"u{number}", f"t{number}", random_embedding(number))
    catalog.load()
    groups = _groups(database, app, "g0", "g1")
    looks = after_look(lambda look: _delete(database, catalog, app, f"u{look}"))
    assert len(catalog.search(app.pk, groups, WANTED, 1, 0.99)) == 1
    assert len(looks) == LOOKS * len(groups)
    assert len(catalog.search(app.pk, groups[:1], WANTED, 1, 0.99)) == 1
    assert len(looks) == LOOKS * len(groups) + 1


def test_a_search_that_begins_or_ends_amid_removals_is_made_again(
    database: Database, app: App, catalog: Catalog, after_look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a batch of changes that is being applied, some removals may have been seen and others not."""
    for number in range(4):
        enrol(database, app, f"g{number % 2}", f"u{number}", f"t{number}", random_embedding(number))
    catalog.load()
    groups, removed = _groups(database, app, "g0", "g1"), list[int]()
    looks = after_look(lambda _: None)
    remove_user = FlatIndex.remove_user

    def removing(index: FlatIndex, user_pk: int) -> None:
        remove_user(index, user_pk)
        catalog.search(app.pk, groups, WANTED, 1, EVERYTHING)
        removed.append(len(looks))

    monkeypatch.setattr(FlatIndex, "remove_user", removing)
    _delete(database, catalog, app, "u3")
    assert removed == [LOOKS * len(groups)]
