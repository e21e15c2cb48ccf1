"""Mixed reads and writes in one large group: what changes cost the searches beside them, and whether any is missed.

    python -m benchmarks.churn [--quick] [--json] [--faces 1000000] [--dimension 512] [--rate 2000] [--seconds 60]

First within one process: a thread searches without pause while another adds, replaces and deletes faces at a given
rate, and the index reorganises itself in a third. After every few changes one of them is looked for. Then across
processes (:mod:`benchmarks.churn_processes`): what a commit in one process has acknowledged is looked for in another.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks import churn_processes
from benchmarks.gallery import DIMENSIONS, Gallery
from benchmarks.harness import Report, in_one_thread, parser
from benchmarks.search import BLOCK, FACES_EACH, LIMIT, Task, make_task
from service.cli.serve import SWITCH_SECONDS
from service.search.maintenance import Maintenance
from service.search.tiered import REMOVED_SHARE, TieredIndex
from service.values import Embeddings

PROBES = 300
PIECE = 32
"""Faces that the writer changes before it looks for one of them and waits for its time."""
SURE = 0.99
"""Cosine that a face reaches with itself only."""
NEWCOMERS_TURN = 40
ACROSS, QUICK_ACROSS = 100_000, 5_000
"""Faces of the part across processes: they have to be written to the database first."""
REST_SECONDS = 600.0
"""So long maintenance may take to come to rest."""
BURST = 20_000
"""Faces added as fast as possible."""
BURST_PIECE = 500

SLOWER = 3.0
RATE = 5_000


class Watched(TieredIndex):
    """Notes when it reorganised itself, and how often whoever changed it had to do that work."""

    def __init__(self, dimension: int, maintenance: Maintenance) -> None:
        super().__init__(dimension, 0, maintenance)
        self.spells: list[tuple[float, float]] = []
        self.done_by_writers = 0

    def maintain(self, stopping: threading.Event) -> None:
        begun = time.perf_counter()
        self.done_by_writers += threading.current_thread() is threading.main_thread()
        try:
            super().maintain(stopping)
        finally:
            self.spells.append((begun, time.perf_counter()))

    def rest(self) -> None:
        """Wait until nothing is left to be reorganised."""
        deadline = time.monotonic() + REST_SECONDS
        while self._is_due():
            if time.monotonic() > deadline:
                raise TimeoutError("maintenance does not come to rest")
            time.sleep(0.02)


@dataclass(frozen=True)
class Reading:
    """What is searched for, and how long."""

    probes: Embeddings
    least: float
    seconds: float


class Searches:
    """Searches without pause, and how long each took."""

    def __init__(self, index: TieredIndex, reading: Reading) -> None:
        self._index, self._reading = index, reading
        self._times: list[tuple[float, float]] = []

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        """A thread searches while the block runs."""
        stop = threading.Event()
        thread = threading.Thread(target=self._run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _run(self, stop: threading.Event) -> None:
        for probe in itertools.cycle(self._reading.probes):
            if stop.is_set():
                return
            begun = time.perf_counter()
            self._index.search(probe, LIMIT, self._reading.least)
            self._times.append((begun, time.perf_counter()))

    def milliseconds(self, spells: Sequence[tuple[float, float]] = ()) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Duration of each search, and whether it touched one of the ``spells``."""
        times = np.array(self._times).reshape(-1, 2)
        during = np.zeros(len(times), dtype=np.bool_)
        for begun, ended in spells:
            during |= (times[:, 0] < ended) & (times[:, 1] > begun)
        return (times[:, 1] - times[:, 0]) * 1000, during


class Writer:
    """Changes a gallery and looks for what it changed; people leave in random order, newcomers come."""

    def __init__(self, index: TieredIndex, task: Task, newcomers: int) -> None:
        self._index = index
        self._people = task.people
        everybody = Gallery(task.statistics, task.people + newcomers)
        self._faces = everybody.faces(task.people + np.arange(newcomers), NEWCOMERS_TURN)
        self._used = 0
        self._first_pk = len(task.faces)
        self._leaving = iter(np.random.default_rng(7).permutation(task.people).tolist())
        self.changed = 0
        self.looked = 0
        self.missed = 0

    def run(self, seconds: float, rate: float) -> float:
        """Add, replace and remove by turns, ``rate`` faces a second; returns the rate that was reached."""
        begun, before = time.perf_counter(), self.changed
        for work in itertools.cycle((self.add, self.replace, self.add, self.remove)):
            elapsed = time.perf_counter() - begun
            if elapsed >= seconds:
                break
            time.sleep(max(0.0, (self.changed - before) / rate - elapsed))
            self.look(*work(PIECE))
        return (self.changed - before) / (time.perf_counter() - begun)

    def add(self, count: int) -> tuple[int, int | None]:
        """Newcomers with a face each. Returns a user who changed, and the only face that the user now has."""
        rows = np.arange(self._used, self._used + count)
        self._used += count
        pks = self._first_pk + rows
        self._index.add_many(pks, pks, self._faces[rows])
        self.changed += count
        return int(pks[-1]), int(pks[-1])

    def replace(self, count: int) -> tuple[int, int | None]:
        """A new face for people who had :data:`FACES_EACH`: added first, then the old ones are removed."""
        for _ in range(max(1, count // (FACES_EACH + 1))):
            person, pk = next(self._leaving), self._first_pk + self._used
            self._index.add(pk, person, self._faces[self._used])
            self._used += 1
            for turn in range(FACES_EACH):
                self._index.remove_face(person + turn * self._people)
            self.changed += FACES_EACH + 1
        return person, pk

    def remove(self, count: int) -> tuple[int, int | None]:
        """People with all of their faces."""
        for _ in range(max(1, count // FACES_EACH)):
            person = next(self._leaving)
            self._index.remove_user(person)
            self.changed += FACES_EACH
        return person, None

    def look(self, user: int, face: int | None) -> None:
        """Whether searches tell the truth about a user who has just been changed."""
        probe = self._faces[0 if face is None else face - self._first_pk]
        own = self._index.search_user(probe, user)
        found = [one for one in self._index.search(probe, LIMIT, SURE) if one.user_pk == user]
        self.looked += 1
        if face is None:
            self.missed += own is not None or found != []
        else:
            self.missed += own is None or own.face_pk != face or found != [own]


def filled(task: Task, maintenance: Maintenance) -> Watched:
    """The gallery in an index that is at rest."""
    index = Watched(task.faces.shape[1], maintenance)
    for start in range(0, len(task.faces), BLOCK):
        end = min(start + BLOCK, len(task.faces))
        index.add_many(np.arange(start, end), task.users[start:end], task.faces[start:end])
    index.rest()
    return index


def tails(times: NDArray[np.float64]) -> dict[str, float]:
    """Median and tail in milliseconds."""
    if not len(times):
        return {"p50": 0.0, "p99": 0.0, "searches": 0}
    p50, p99 = np.percentile(times, [50, 99])
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2), "searches": len(times)}


Tagged = tuple[NDArray[np.float64], NDArray[np.bool_]]
"""Durations of searches in milliseconds, and which of them touched maintenance."""


def beside_changes(report: Report, index: Watched, writer: Writer, reading: Reading, rate: float) -> Tagged:
    """Searches while nobody writes, beside a writer, and beside a writer and maintenance."""
    calm, beside_writer = Searches(index, reading), Searches(index, reading)
    with calm.beside():
        time.sleep(reading.seconds / 4)
    report.figure("search, nobody writes, ms", tails(calm.milliseconds()[0]))
    index.spells.clear()
    index.done_by_writers = 0
    with beside_writer.beside():
        reached = writer.run(reading.seconds, rate)
    times, during = beside_writer.milliseconds(index.spells)
    without, beside = tails(times[~during]), tails(times[during])
    report.figure("faces changed a second", round(reached))
    report.figure("search, beside the writer, ms", without)
    report.figure("search, beside writer and maintenance, ms", beside)
    share = sum(ended - begun for begun, ended in index.spells) / reading.seconds
    report.figure("maintenance", {"share of the time": round(share, 2), "done by writers": index.done_by_writers})
    report.figure("changes looked for", {"looked for": writer.looked, "missed": writer.missed})
    return times, during


def at_full_speed(report: Report, index: Watched, writer: Writer, reading: Reading) -> list[Tagged]:
    """Adding and removing without pause, a reader beside; so many are removed that all segments are rewritten."""
    measured: list[Tagged] = []
    people = int((REMOVED_SHARE + 0.05) * len(index) / FACES_EACH)
    work = {
        "added": (writer.add, [BURST_PIECE] * (BURST // BURST_PIECE)),
        "removed": (writer.remove, [FACES_EACH] * people),
    }
    for name, (change, pieces) in work.items():
        index.rest()
        index.spells.clear()
        searches = Searches(index, reading)
        with searches.beside():
            begun = time.perf_counter()
            for piece in pieces:
                changed = change(piece)
            written = time.perf_counter() - begun
            index.rest()
            rested = time.perf_counter() - begun
        writer.look(*changed)
        times, during = searches.milliseconds(index.spells)
        rates = {"until it was found": sum(pieces) / written, "until at rest": sum(pieces) / rested}
        report.figure(f"faces {name} a second", {key: round(value) for key, value in rates.items()})
        report.figure(f"search, segments rewritten ({name}), ms", tails(times[during]))
        report.at_least(f"faces {name} a second beside a reader", round(sum(pieces) / written), RATE)
        measured.append((times, during))
    return measured


def compare(report: Report, measured: Sequence[Tagged]) -> None:
    """The tail of all searches that touched maintenance against the tail of all others beside the writer."""
    beside = tails(np.concatenate([times[during] for times, during in measured]))
    without = tails(np.concatenate([times[~during] for times, during in measured]))
    report.figure("all searches during maintenance, ms", beside)
    report.figure("all searches without, ms", without)
    report.at_most("p99 during maintenance / without", round(beside["p99"] / without["p99"], 2), SLOWER)


def in_process(report: Report, chosen: argparse.Namespace) -> None:
    """One group, a reader, a writer, and maintenance."""
    task = make_task(chosen.faces, chosen.dimension, PROBES)
    report.figure("gallery", {"faces": len(task.faces), "people": task.people, "dimension": chosen.dimension})
    maintenance = Maintenance()
    maintenance.start()
    try:
        index = filled(task, maintenance)
        writer = Writer(index, task, int(chosen.rate * chosen.seconds) + BURST + PIECE)
        reading = Reading(task.probes, task.statistics.threshold, chosen.seconds)
        mixed = beside_changes(report, index, writer, reading, chosen.rate)
        compare(report, [mixed, *at_full_speed(report, index, writer, reading)])
    finally:
        maintenance.stop()
    report.at_most("changes missed in one process", writer.missed, 0)


def main() -> int:
    """Run, report, and say by the exit status whether the targets were met."""
    options = parser(__doc__)
    options.add_argument("--faces", type=int, help="default: 1000000, with --quick 40000")
    options.add_argument("--dimension", type=int, choices=DIMENSIONS, default=512)
    options.add_argument("--rate", type=float, default=2000.0, help="faces changed a second (default: 2000)")
    options.add_argument("--seconds", type=float, help="of mixed reads and writes; default: 60, with --quick 5")
    options.add_argument("--only", choices=("process", "processes"), help="one of the two parts")
    chosen = options.parse_args()
    chosen.faces = chosen.faces or (40_000 if chosen.quick else 1_000_000)
    chosen.seconds = chosen.seconds or (5.0 if chosen.quick else 60.0)
    in_one_thread()
    sys.setswitchinterval(SWITCH_SECONDS)  # as in the server
    report = Report("churn", chosen.json)
    if chosen.only != "processes":
        in_process(report, chosen)
    if chosen.only != "process":
        across = min(chosen.faces, QUICK_ACROSS if chosen.quick else ACROSS)
        churn_processes.across_processes(report, across, chosen.dimension, chosen.seconds)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
