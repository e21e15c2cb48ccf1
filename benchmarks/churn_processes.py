"""How soon a change that one process has committed is found by another: with the next search, and at what cost.

Two processes over one embedded PostgreSQL, with the server's own storage and catalogs. One writes; as soon as a commit
returns it tells the other, which searches as the server does: where the change log ends, what is missing of it, then
the index. The same search once more has nothing to catch up with, and is what an ordinary one takes.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gallery import Gallery, Statistics
from benchmarks.harness import Report
from service.cli.serve import SWITCH_SECONDS
from service.search.catalog import Catalog
from service.search.maintenance import Maintenance
from service.search.tiered import TieredIndex
from service.storage import migrations
from service.storage.embedded import EmbeddedPostgres
from service.storage.engine import Database, UnitOfWork
from service.storage.faces import NewFace
from service.storage.listener import Listener
from service.storage.source import PostgresChangeSource
from service.values import Angles, App, Embedding, Embeddings, Location, StoredFace

MODEL = "benchmark"
GROUP = "group"
LIMIT = 50
SURE = 0.99
"""Cosine that a face reaches with itself only."""
LOADED_AT_ONCE = 1000
IMPORTED_AT_ONCE = 200
STALENESS_MS = 50.0
ANSWER_SECONDS = 120.0


@dataclass(frozen=True)
class Looked:
    """What the reading process found, and how long it took, in milliseconds: right after the change, and again."""

    user_pks: tuple[int, ...]
    first: float
    again: float


class Library:
    """The writing process: users with one face each."""

    def __init__(self, database: Database, dimension: int, faces: int) -> None:
        self.database = database
        self._people = faces
        self._gallery = Gallery(Statistics.load(dimension), faces)
        self._turns = itertools.count()
        self._names = itertools.count()
        with database.admin() as admin:
            self.app: App = admin.apps.insert(admin.apps.next_app_id(), "benchmark", "key", b"sealed")
        with database.write(self.app.pk) as work:
            self.group_pk = work.groups.get_or_create(GROUP)
        self.enrolled: list[int] = []

    def faces(self, count: int) -> Embeddings:
        """Faces that nobody has yet, of any people."""
        turn = next(self._turns)
        return self._gallery.faces(np.random.default_rng(turn).integers(self._people, size=count), turn)

    def enrol_many(self, rows: Embeddings) -> list[int]:
        """New users in one transaction; returns their numbers."""
        names = [f"u{next(self._names)}" for _ in rows]
        with self.database.write(self.app.pk) as work:
            users = work.users.get_or_create_many(self.group_pk, dict.fromkeys(names))
            new = [NewFace(users[name], _stored(name), MODEL, row) for name, row in zip(names, rows, strict=True)]
            work.faces.insert_many(self.group_pk, new)
        return [users[name] for name in names]

    def replace(self, user_pk: int, row: Embedding) -> None:
        with self.database.write(self.app.pk) as work:
            work.faces.delete_of_users(user_pk)
            self._give(work, user_pk, row)

    def remove(self, user_pk: int) -> None:
        with self.database.write(self.app.pk) as work:
            work.users.delete(user_pk)

    def _give(self, work: UnitOfWork, user_pk: int, row: Embedding) -> None:
        work.faces.insert(user_pk, _stored(f"r{next(self._names)}"), MODEL, row)


def _stored(token: str) -> StoredFace:
    return StoredFace(token, Location(0, 0, 100, 100, 0), Angles(0, 0, 0), 1.0, None, ())


# --- the reading process ---


def read(url: str, app_pk: int, dimension: int, pipe: Connection) -> None:
    """Answer probes with what a search finds, until the pipe is closed."""
    sys.setswitchinterval(SWITCH_SECONDS)  # as in the server
    with contextlib.ExitStack() as stack:
        database = Database(url)
        stack.callback(database.close)
        maintenance = Maintenance()
        stack.callback(maintenance.stop)
        maintenance.start()
        catalog = Catalog(
            PostgresChangeSource(database, MODEL, dimension),
            dimension,
            lambda dimension, expected: TieredIndex(dimension, expected, maintenance),
        )
        catalog.load()
        listener = Listener(url, on_change=catalog.catch_up, on_app=catalog.catch_up, on_connect=catalog.catch_up_all)
        stack.callback(listener.stop)
        listener.start()
        pipe.send(catalog.faces())
        with contextlib.suppress(EOFError):
            while True:
                probe = pipe.recv()
                begun = time.perf_counter()
                found = _search(database, catalog, app_pk, probe)
                between = time.perf_counter()
                _search(database, catalog, app_pk, probe)
                again = time.perf_counter() - between
                pipe.send(Looked(found, 1000 * (between - begun), 1000 * again))


def _search(database: Database, catalog: Catalog, app_pk: int, probe: Embedding) -> tuple[int, ...]:
    """As the server does after it has looked at the picture."""
    with database.read(app_pk) as reader:
        scope = reader.searching.scope(app_pk, [GROUP], None)
    catalog.catch_up(app_pk, scope.head)
    hits = catalog.search(app_pk, list(scope.groups.values()), probe, LIMIT, SURE)
    return tuple(hit.user_pk for hit in hits)


# --- the writing process ---


@contextlib.contextmanager
def _database() -> Iterator[Database]:
    """An empty, migrated database; kept as the server keeps its own, commits wait for the disk."""
    home = Path(tempfile.mkdtemp(prefix="aipface-churn-"))
    server = EmbeddedPostgres(home)
    try:
        url = server.start()
        migrations.upgrade(url)
        with contextlib.closing(Database(url)) as database:
            yield database
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def _reading(library: Library, dimension: int) -> Iterator[Connection]:
    """A process that searches; the pipe takes probes and yields :class:`Looked`."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (library.database.url, library.app.pk, dimension, theirs)
    process = context.Process(target=read, args=arguments, daemon=True)
    process.start()
    theirs.close()
    try:
        _answer(ours)
        yield ours
    finally:
        ours.close()
        process.join(30)
        process.kill()


def _answer(pipe: Connection) -> Any:
    if not pipe.poll(ANSWER_SECONDS):
        raise TimeoutError("the reading process does not answer")
    return pipe.recv()


def _change(library: Library, turn: int, order: random.Random) -> tuple[Embedding, int, bool]:
    """One committed change: the face to look for, its user, and whether it is to be found."""
    (row,) = library.faces(1)
    if turn % 3 == 0 or not library.enrolled:
        (user_pk,) = library.enrol_many(row[np.newaxis])
        library.enrolled.append(user_pk)
        return row, user_pk, True
    place = order.randrange(len(library.enrolled))
    user_pk = library.enrolled[place]
    library.replace(user_pk, row)
    if turn % 3 == 1:
        return row, user_pk, True
    library.enrolled.pop(place)
    library.remove(user_pk)
    return row, user_pk, False


def _mixed(library: Library, pipe: Connection, seconds: float) -> tuple[list[Looked], int]:
    """Change and look by turns; also how often the truth was not found."""
    order = random.Random(1)  # noqa: S311 (to repeat a run, not to keep a secret)
    looked: list[Looked] = []
    wrong = 0
    end = time.monotonic() + seconds
    for turn in itertools.count():
        if time.monotonic() >= end:
            return looked, wrong
        row, user_pk, there = _change(library, turn, order)
        pipe.send(row)
        found: Looked = _answer(pipe)
        wrong += (user_pk in found.user_pks) != there
        looked.append(found)
    raise AssertionError


@contextlib.contextmanager
def _importing(library: Library) -> Iterator[list[int]]:
    """Meanwhile a thread enrols blocks of new users without pause; the list counts their faces."""
    stop = threading.Event()
    blocks: list[int] = []

    def run() -> None:
        while not stop.is_set():
            blocks.append(len(library.enrol_many(library.faces(IMPORTED_AT_ONCE))))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield blocks
    finally:
        stop.set()
        thread.join()


def across_processes(report: Report, faces: int, dimension: int, seconds: float) -> None:
    """Changes one by one, and one by one beside an import; half of the time each."""
    with _database() as database:
        library = Library(database, dimension, LOADED_AT_ONCE)
        begun = time.perf_counter()
        for _ in range(0, faces, LOADED_AT_ONCE):
            library.enrol_many(library.faces(LOADED_AT_ONCE))
        rate = faces / (time.perf_counter() - begun)
        report.figure("two processes: faces", {"before": faces, "written a second": round(rate)})
        with _reading(library, dimension) as pipe:
            _report(report, "one by one", *_mixed(library, pipe, seconds / 2))
            begun = time.perf_counter()
            with _importing(library) as blocks:
                outcome = _mixed(library, pipe, seconds / 2)
            report.figure("two processes: imported a second", round(sum(blocks) / (time.perf_counter() - begun)))
            _report(report, "beside an import", *outcome)


def _report(report: Report, name: str, looked: list[Looked], wrong: int) -> None:
    first = np.array([one.first for one in looked])
    again = np.array([one.again for one in looked])
    p50, p99 = np.percentile(first - again, [50, 99]).round(2).tolist()
    for what, times in (("right after a change", first), ("again", again)):
        told = np.percentile(times, [50, 99, 100]).round(2).tolist()
        figures = {"p50": told[0], "p99": told[1], "worst": told[2], "searches": len(times)}
        report.figure(f"{name}: search {what}, ms", figures)
    report.figure(f"{name}: catching up takes, ms", {"p50": p50, "p99": p99})
    report.at_most(f"{name}: changes not found by the other process", wrong, 0)
    report.at_most(f"{name}: catching up, p99, ms", p99, STALENESS_MS)
