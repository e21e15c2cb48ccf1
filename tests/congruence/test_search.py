"""Oracle, small and large indexes and catalogs agree, whatever is done to the library in whatever order.

A random sequence of enrolments, replacements, copies and deletions runs against a real database. Five catalogs watch
it: one of FAISS indexes, one of indexes for large groups that are reorganised all the time, and one of oracles, which
follow the change log as so many processes would, one that is restarted now and then, and one that is restarted from a
snapshot that was written some steps before. What the tables say at the end
of each step decides who is right. ``make torture`` takes ten times as many steps.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from service.search.catalog import Catalog
from service.search.exact import ExactIndex
from service.search.flat import FlatIndex
from service.search.keeper import SnapshotKeeper
from service.search.milvus import MilvusCatalog
from service.search.protocol import FaceSearch
from service.search.snapshots import Snapshots
from service.search.tiered import TieredIndex
from service.storage.engine import Database, UnitOfWork
from service.storage.source import PostgresChangeSource
from service.upkeep import pruned
from service.values import App, Embedding, Hit
from tests.fixtures.library import DIMENSION, MODEL, new_app, random_embeddings, stored_face
from tests.torture.figures import Figures

STEPS = 2000
MILVUS_STEPS = 108
LONG = 10
"""So many times the steps in the long form."""
EVERY = 9
"""At every so-manieth step it is the turn of each action in its order, so that none is left to chance."""
POOL = 400
"""Different faces in play; more enrolments than that, so that equal embeddings meet."""
GROUPS = ("g0", "g1", "g2")
USERS = tuple(f"u{number}" for number in range(40))
OTHER_MODEL = "other-24-000000000000"

Shown = list[tuple[int, int, int, float]]


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


class Play:
    """The random actions on the libraries of two apps."""

    def __init__(self, database: Database, seed: int) -> None:
        self.database = database
        self.random = random.Random(seed)  # noqa: S311 - to repeat a run, not to keep a secret
        self.faces = random_embeddings(POOL, seed)
        self.apps = [new_app(database), new_app(database)]
        self.done: Counter[str] = Counter()
        self._steps = itertools.count()
        self._tokens = itertools.count()
        self._actions: list[tuple[int, Callable[[UnitOfWork], None]]] = [
            (50, self._enrol),
            (10, self._enrol_many),
            (8, self._replace),
            (12, self._remove_face),
            (8, self._remove_user),
            (6, self._copy),
            (1, self._remove_group),
            (3, self._enrol_for_another_model),
            (2, self._fail),
        ]

    def step(self) -> App:
        """One transaction on one app's library."""
        app = self.random.choices(self.apps, weights=(4, 1))[0]
        weights, actions = zip(*self._actions, strict=True)
        number, turn = next(self._steps), EVERY - 1
        action = self.random.choices(actions, weights=weights)[0]
        if number % EVERY == turn:
            action = actions[number // EVERY % len(actions)]
        self.done[action.__name__] += 1
        try:
            with self.database.write(app.pk) as work:
                action(work)
        except InterruptedError:
            pass
        return app

    def did_everything(self) -> bool:
        """Whether every action has had its turn, those on whole apps included."""
        return {action.__name__ for _, action in self._actions} | {"replace_app"} == set(self.done)

    def replace_app(self) -> None:
        """Delete the smaller app and make another."""
        self.done["replace_app"] += 1
        with self.database.admin() as admin:
            admin.apps.delete(self.apps[1].pk)
        self.apps[1] = new_app(self.database)

    def probe(self) -> Embedding:
        """A face in play, a little changed or not at all."""
        probe: Embedding = self.faces[self.random.randrange(POOL)]
        if self.random.random() < 0.5:
            probe = probe + np.float32(0.2) * random_embeddings(1, self.random.randrange(10**6))[0]
            probe /= np.linalg.norm(probe)
        return probe

    def _user(self, work: UnitOfWork) -> int:
        group_pk = work.groups.get_or_create(self.random.choice(GROUPS))
        user_id = self.random.choice(USERS)
        known = work.users.pk(group_pk, user_id)
        return work.users.insert(group_pk, user_id) if known is None else known

    def _add(self, work: UnitOfWork, user_pk: int, model_id: str = MODEL) -> None:
        face = stored_face(f"t{next(self._tokens)}", portrait=None)
        work.faces.insert(user_pk, face, model_id, self.faces[self.random.randrange(POOL)])

    def _enrol(self, work: UnitOfWork) -> None:
        self._add(work, self._user(work))

    def _enrol_many(self, work: UnitOfWork) -> None:
        for _ in range(self.random.randrange(2, 12)):
            self._enrol(work)

    def _enrol_for_another_model(self, work: UnitOfWork) -> None:
        self._add(work, self._user(work), OTHER_MODEL)

    def _replace(self, work: UnitOfWork) -> None:
        user_pk = self._user(work)
        work.faces.delete_of_users(user_pk)
        self._add(work, user_pk)

    def _remove_face(self, work: UnitOfWork) -> None:
        user_pk = self._user(work)
        entries = work.faces.entries(user_pk)
        if entries:
            work.faces.delete(self.random.choice(entries).pk)
        if len(entries) < 2:
            work.users.delete(user_pk)

    def _remove_user(self, work: UnitOfWork) -> None:
        work.users.delete(self._user(work))

    def _copy(self, work: UnitOfWork) -> None:
        work.faces.copy(self._user(work), self._user(work))

    def _remove_group(self, work: UnitOfWork) -> None:
        work.groups.delete(work.groups.get_or_create(self.random.choice(GROUPS)))

    def _fail(self, work: UnitOfWork) -> None:
        self._enrol_many(work)
        self._remove_user(work)
        raise InterruptedError


def _shown(hits: list[Hit]) -> Shown:
    return [(hit.group_pk, hit.user_pk, hit.face_pk, hit.similarity) for hit in hits]


def _people(play: Play, shown: Shown, limit: int) -> list[str]:
    """Whom an answer names: each person once, in whatever group the best face is."""
    with play.database.read() as reader:
        users = reader.users.entries_by_pk([user_pk for _, user_pk, _, _ in shown])
    return list(dict.fromkeys(users[user_pk].user_id for _, user_pk, _, _ in shown))[:limit]


def _truth(database: Database) -> Catalog:
    """A catalog of oracles made from the tables as they are now."""
    catalog = Catalog(PostgresChangeSource(database, MODEL, DIMENSION), DIMENSION, ExactIndex)
    catalog.load()
    return catalog


def _compare(play: Play, app: App, expected: Catalog, catalogs: Mapping[str, FaceSearch]) -> None:
    with play.database.read() as reader:
        groups = reader.groups.pks(app.pk, GROUPS)
        known = {name: reader.users.pks(list(groups.values()), name) for name in play.random.sample(USERS, 2)}
    probe = play.probe()
    asked = play.random.sample(sorted(groups.values()), play.random.randint(0, len(groups)))
    limit = play.random.choice((1, 3, 20, 50))
    threshold = play.random.choice((-1.5, 0.2, 0.6, 0.99))
    found = _shown(expected.search(app.pk, asked, probe, limit, threshold))
    people = _people(play, found, limit)
    for name, catalog in catalogs.items():
        shown = _shown(catalog.search(app.pk, asked, probe, limit, threshold))
        assert shown[:limit] == found[:limit], name
        assert _people(play, shown, limit) == people, name
        for user_pks in known.values():
            one = _shown(catalog.search_user(app.pk, asked, user_pks, probe))
            assert one == _shown(expected.search_user(app.pk, asked, user_pks, probe)), name


@pytest.mark.parametrize("seed", [1, 2])
def test_all_agree_under_random_change(
    database: Database, seed: int, long: bool, figures: Figures, tmp_path: Path
) -> None:
    play = Play(database, seed)
    source = PostgresChangeSource(database, MODEL, DIMENSION)

    def restarted() -> Catalog:
        catalog = Catalog(source, DIMENSION, FlatIndex)
        catalog.load()
        return catalog

    snapshots = Snapshots(tmp_path / "index", MODEL, DIMENSION)
    large = Catalog(source, DIMENSION, _sealing_early)
    catalogs = {
        "FAISS": restarted(),
        "large": large,
        "oracle": Catalog(source, DIMENSION, ExactIndex),
        "restarted": restarted(),
        "from snapshots": Catalog(source, DIMENSION, _sealing_early, snapshots),
    }
    steps = STEPS // 2 * (LONG if long else 1)
    for step in range(steps):
        app = play.step()
        if step % 7 == 0:
            sum(pruned(database, app.pk, keep=play.random.choice((0, 1, 20))))
        if step % 251 == 250:
            play.replace_app()
        if step % 101 == 100:
            catalogs["restarted"] = restarted()
        catalogs["from snapshots"] = _resumed(step, catalogs["from snapshots"], source, snapshots)
        with database.read() as reader:
            head = reader.changes.head(app.pk)
        catalogs["FAISS"].catch_up(app.pk, head)
        if step % 5 == 0:
            for catalog in catalogs.values():
                catalog.catch_up_all()
            _compare(play, app, catalogs["oracle"], catalogs)
        if step % 100 == 0:
            truth = _truth(database)
            for one in play.apps:
                _compare(play, one, truth, catalogs)
            assert {catalog.faces() for catalog in catalogs.values()} == {truth.faces()}
            assert {catalog.stats().apps for catalog in catalogs.values()} == {2}
    assert play.did_everything()
    figures.add("oracle, small, large and restarted indexes", steps=steps, disagreements=0)


def _sealing_early(dimension: int, expected: int) -> TieredIndex:
    return TieredIndex(dimension, expected, seal_at=64)


def _resumed(step: int, catalog: Catalog, source: PostgresChangeSource, snapshots: Snapshots) -> Catalog:
    """Now and then its snapshot is written, and some steps later it is left for one that begins with that."""
    if step % 41 == 20:
        SnapshotKeeper(catalog, snapshots, interval=1, least_faces=1).round(last=True)
        snapshots.folder.release()
    if step % 41 == 30:
        catalog = Catalog(source, DIMENSION, _sealing_early, snapshots)
        catalog.load()
    return catalog


def test_milvus_agrees_under_random_change(database: Database, tmp_path: Path, long: bool, figures: Figures) -> None:
    """Two catalogs over one Milvus, as two processes have them; each finds what the other brought up to date."""
    play = Play(database, 3)
    source = PostgresChangeSource(database, MODEL, DIMENSION)
    oracle = Catalog(source, DIMENSION, ExactIndex)

    def connected() -> MilvusCatalog:
        catalog = MilvusCatalog(
            source, MODEL, DIMENSION, installation="test", uri=str(tmp_path / "milvus.db"), index_type="FLAT"
        )
        catalog.load()
        return catalog

    catalogs = {"one": connected(), "other": connected()}
    steps = MILVUS_STEPS * (LONG if long else 1)
    for step in range(steps):
        app = play.step()
        if step % 7 == 0:
            sum(pruned(database, app.pk, keep=play.random.choice((0, 1, 20))))
        if step % MILVUS_STEPS == MILVUS_STEPS // 2:
            play.replace_app()
            catalogs["one"].close()
            catalogs["one"] = connected()
        with database.read() as reader:
            head = reader.changes.head(app.pk)
        catalogs[play.random.choice(("one", "other"))].catch_up(app.pk, head)
        if step % 8 == 0:
            oracle.catch_up_all()
            for catalog in catalogs.values():
                catalog.catch_up_all()
            _compare(play, app, oracle, catalogs)
            assert {catalog.faces() for catalog in catalogs.values()} == {oracle.faces()}
    assert play.did_everything()
    figures.add("oracle and Milvus (milvus-lite)", steps=steps, disagreements=0)
    for catalog in catalogs.values():
        catalog.close()
