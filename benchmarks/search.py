"""1:N search in large groups: latency, recall, memory and rates of change, beside other ways to search.

On one made gallery (``benchmarks.gallery``), five faces a person, with the same probes and one thread:

    python -m benchmarks.search [--quick] [--json] [--faces 1000000] [--dimension 512]

Recall of users is counted against comparing everything. Peers get the same task, the best 50 people of faces that reach
the score of 80: each is asked for 400 faces, and the best face of each person is kept. Those that build slowly get a
part of the gallery only, named by ``faces``; pgvector and the Python packages ``hnswlib``, ``usearch`` and
``milvus-lite`` take part where they are installed. hnswlib and the like answer from memory of their own choice.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.gallery import DIMENSIONS, Gallery, Statistics
from benchmarks.harness import Report, in_one_thread, parser
from benchmarks.search_groups import measure_groups
from benchmarks.search_peers import PEERS, Find
from service.beside import helped
from service.search.protocol import Candidate
from service.search.tiered import REMOVED_SHARE, TieredIndex
from service.values import Embeddings

FACES_EACH = 5
LIMIT = 50
BLOCK = 8192
PROBE_TURN = 1000
HARD_TURN = 2000
HARD_POORNESS = 1.6
"""Makes more pictures so poor that they just reach the threshold."""
HARD_BAND = 0.03
SMALL = 10_000
SLOW_BUILDERS_GET = 50_000

FASTER_THAN_FLAT = {512: 29.0, 192: 18.0}
"""Targets of 2.5 and 1.5 ms for a million faces on the machine where flat float32 takes 72 and 27 ms."""
MEMORY = 1.3
RECALL_1 = 0.999
RECALL_50 = 0.99
PAUSE = 0.04
COMPUTED = 5.0
"""Milliseconds: caches that are cold after a pause, and no thread that goes on in it."""
GROWTH = 4.0
TURNS = 10
RATE = 5_000


@dataclass(frozen=True)
class Task:
    """A gallery, faces ``(n, dimension)`` ordered by turn, and probes of ``people`` in it."""

    gallery: Gallery
    statistics: Statistics
    people: int
    faces: Embeddings
    probes: Embeddings
    wanted: NDArray[np.int64]
    """Person of each probe."""

    @property
    def users(self) -> NDArray[np.int64]:
        """Person of each face."""
        return np.arange(len(self.faces)) % self.people


def make_task(faces: int, dimension: int, probes: int) -> Task:
    """The same gallery and probes every time."""
    statistics = Statistics.load(dimension)
    people = faces // FACES_EACH
    gallery = Gallery(statistics, people)
    rows = np.empty((people * FACES_EACH, dimension), dtype=np.float32)
    for turn in range(FACES_EACH):
        rows[turn * people : (turn + 1) * people] = gallery.faces(np.arange(people), turn)
    wanted = np.random.default_rng(5).choice(people, min(probes, people), replace=False)
    return Task(gallery, statistics, people, rows, gallery.faces(wanted, PROBE_TURN), wanted)


def milliseconds(work: Callable[[int], object], count: int) -> NDArray[np.float64]:
    """Wall times of ``work(0)`` to ``work(count - 1)``, after two to warm up."""
    work(0)
    work(min(1, count - 1))
    times = np.empty(count)
    for number in range(count):
        begin = time.perf_counter()
        work(number)
        times[number] = time.perf_counter() - begin
    return times * 1000


def latency(work: Callable[[int], object], count: int) -> dict[str, float]:
    """Median, 99th percentile and minimum in milliseconds."""
    return summary(milliseconds(work, count))


def summary(times: NDArray[np.float64]) -> dict[str, float]:
    """The same of ``(n,)`` times."""
    return {
        "p50": round(float(np.median(times)), 3),
        "p99": round(float(np.percentile(times, 99)), 3),
        "best": round(float(times.min()), 3),
    }


def computed_ms(work: Callable[[int], object], count: int) -> float:
    """Milliseconds of processors that a call takes, in all threads, when calls come one by one with pauses; the median.

    Libraries whose threads wait actively go on in the pauses.
    """
    times = []
    for number in range(count):
        begun = time.process_time()
        work(number)
        time.sleep(PAUSE)
        times.append(1000 * (time.process_time() - begun))
    return float(np.median(times))


def fill(index: TieredIndex, task: Task) -> float:
    """Enrol everybody, in blocks as the database delivers them; faces a second, maintenance included."""
    users = task.users
    begin = time.perf_counter()
    for start in range(0, len(task.faces), BLOCK):
        end = min(start + BLOCK, len(task.faces))
        index.add_many(np.arange(start, end), users[start:end], task.faces[start:end])
    index.maintain(threading.Event())
    return len(task.faces) / (time.perf_counter() - begin)


def exactly(index: TieredIndex, probe: NDArray[np.float32], limit: int, least: float) -> list[Candidate]:
    """The same index comparing everything."""
    index.exact = True
    try:
        return index.search(probe, limit, least)
    finally:
        index.exact = False


def recalls(index: TieredIndex, probes: Embeddings, least: float) -> tuple[float, float, int]:
    """Share of probes whose best user is the exact one, share of the best 50 users, and scores that differ."""
    first = share = differing = 0.0
    asked = 0
    for probe in probes:
        expected = {one.user_pk: one for one in exactly(index, probe, LIMIT, least)}
        found = {one.user_pk: one for one in index.search(probe, LIMIT, least)}
        both = found.keys() & expected.keys()
        differing += sum(found[user] != expected[user] for user in both)
        first += list(found)[:1] == list(expected)[:1]
        if expected:
            asked += 1
            share += len(both) / len(expected)
    return first / len(probes), share / max(asked, 1), int(differing)


def is_lost(index: TieredIndex, person: int, own: Candidate, probe: NDArray[np.float32], threshold: float) -> bool:
    """Whether a person whose own best face reaches the threshold is not among the users found.

    Not lost is who is no better than the last of a full list.
    """
    found = index.search(probe, LIMIT, threshold)
    full = len(found) == LIMIT and found[-1].similarity >= own.similarity
    return not full and all(one.user_pk != person for one in found)


def lost_mates(index: TieredIndex, task: Task, count: int) -> tuple[int, int, int]:
    """Mated probes whose own best face reaches the threshold: how many, how many just so, how many were lost.

    Half of them are as poor as measured, half are poorer, so that many just reach it.
    """
    threshold = task.statistics.threshold
    asked = hard = lost = turn = 0
    while asked < count:
        turn += 1
        poorness = HARD_POORNESS if turn % 2 else 1.0
        who = np.random.default_rng(turn).choice(task.people, min(500, task.people), replace=False)
        for person, probe in zip(who.tolist(), task.gallery.faces(who, HARD_TURN + turn, poorness), strict=True):
            own = index.search_user(probe, person)
            if own is None or own.similarity < threshold:
                continue
            asked += 1
            hard += own.similarity < threshold + HARD_BAND
            lost += is_lost(index, person, own, probe, threshold)
    return asked, hard, lost


class IdleProcessor:
    """Lends a second thread to every search, as an idle server does."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(1)

    def borrow(self) -> bool:
        return True

    def repay(self) -> None:
        """Nothing was taken."""

    def helping(self) -> AbstractContextManager[None]:
        """For one search."""
        return helped(self, self._threads)


def measure_index(report: Report, task: Task, probes: int, mates: int) -> tuple[TieredIndex, float]:
    """Our own figures; returns the index and its median at the default threshold."""
    dimension, total = task.faces.shape[1], len(task.faces)
    threshold = task.statistics.threshold
    index = TieredIndex(dimension)
    rate = fill(index, task)
    report.figure("ours: faces added a second", round(rate))
    report.at_least("faces added a second", round(rate), RATE)
    memory = index.nbytes() / (2 * dimension * total)
    report.figure("ours: memory / half precision vectors", round(memory, 3))
    report.at_most("memory / half precision vectors", round(memory, 3), MEMORY)

    def search(limit: int, least: float) -> dict[str, float]:
        return latency(lambda number: index.search(task.probes[number], limit, least), probes)

    default = search(LIMIT, threshold)
    report.figure("ours: 50 users, score 80, ms", default)
    idle = IdleProcessor()

    def with_help(number: int) -> None:
        with idle.helping():
            index.search(task.probes[number], LIMIT, threshold)

    report.figure("ours: 50 users, score 80, in two threads, ms", latency(with_help, probes))
    report.figure("ours: 1 user, score 80, ms", search(1, threshold))
    report.figure("ours: 50 users, any score, ms", search(LIMIT, -2.0))
    report.figure("ours: everything compared, ms", latency(lambda n: exactly(index, task.probes[n], LIMIT, -2.0), 5))
    one = latency(lambda number: index.search_user(task.probes[number], int(task.wanted[number])), probes)
    report.figure("ours: one user, ms", one)
    report.at_most("one user, ms", one["p50"], 0.2)
    computed = computed_ms(lambda number: index.search(task.probes[number], LIMIT, threshold), 30)
    report.figure("ours: processor ms a search, with pauses", round(computed, 2))
    report.at_most("processor ms a search beyond p50, with pauses", round(computed - default["p50"], 2), COMPUTED)
    checked = task.probes[: min(probes, 60)]
    for name, least in (("score 80", threshold), ("any score", -2.0)):
        first, share, differing = recalls(index, checked, least)
        report.figure(f"ours: recall, {name}", {"@1": round(first, 4), "@50": round(share, 4)})
        report.at_least(f"recall@1, {name}", first, RECALL_1)
        report.at_least(f"recall@50, {name}", share, RECALL_50)
        report.at_most(f"differing scores, {name}", differing, 0)
    asked, hard, lost = lost_mates(index, task, mates)
    report.figure("ours: mated probes", {"asked": asked, "just above the threshold": hard, "lost": lost})
    report.at_most("mated probes lost", lost, 0)
    return index, default["p50"]


def measure_growth(report: Report, task: Task, probes: int, large: TieredIndex) -> None:
    """The median in the large group against a small one's, by turns: a machine is not always as fast."""
    small = TieredIndex(task.faces.shape[1])
    rows = np.arange(SMALL // FACES_EACH)
    for turn in range(FACES_EACH):
        faces = task.faces[turn * task.people + rows]
        small.add_many(turn * task.people + rows, rows, faces)
    each = -(-probes // TURNS)
    times: dict[str, list[NDArray[np.float64]]] = {"large": [], "small": []}
    for turn in range(TURNS):
        its = task.probes[turn * each : (turn + 1) * each]
        for name, index in (("large", large), ("small", small)):
            if len(its):
                asked = partial(_asked, index, its, task.statistics.threshold)
                times[name].append(milliseconds(asked, len(its)))
    found = {name: summary(np.concatenate(turns)) for name, turns in times.items()}
    report.figure(f"ours: {SMALL} faces, ms", found["small"])
    report.figure("ours: all faces, by turns with those, ms", found["large"])
    report.at_most(f"growth of p50 from {SMALL}", round(found["large"]["p50"] / found["small"]["p50"], 2), GROWTH)


def _asked(index: TieredIndex, probes: Embeddings, least: float, number: int) -> list[Candidate]:
    return index.search(probes[number], LIMIT, least)


def measure_removal(report: Report, index: TieredIndex, task: Task) -> None:
    """Users removed one by one in random order: so many that every segment is rewritten, and half of them before."""
    leaving = np.random.default_rng(7).permutation(task.people)[: int((REMOVED_SHARE + 0.05) * task.people)].tolist()
    half = len(leaving) // 2
    begin = time.perf_counter()
    for person in leaving[:half]:
        index.remove_user(person)
    marked = half * FACES_EACH / (time.perf_counter() - begin)
    for person in leaving[half:]:
        index.remove_user(person)
    index.maintain(threading.Event())
    rewritten = len(leaving) * FACES_EACH / (time.perf_counter() - begin)
    report.figure("ours: faces removed a second", {"marked": round(marked), "rewritten": round(rewritten)})
    report.at_least("faces removed a second, segments rewritten", round(rewritten), RATE)


def peer_recall(find: Find, task: Task, faces: int, probes: int) -> float:
    """Share of the best 50 people that reach the threshold, against comparing the same faces in float32."""
    users, threshold = task.users, task.statistics.threshold
    shares = []
    for probe in task.probes[: min(probes, 60)]:
        similarities = task.faces[:faces] @ probe
        best = np.argsort(-similarities)[:400]
        expected = _people(users, best[similarities[best] >= threshold])
        found = find(probe)
        if expected:
            kept = found[task.faces[found] @ probe >= threshold]
            shares.append(len(set(expected) & set(_people(users, kept))) / len(expected))
    return float(np.mean(shares)) if shares else 1.0


def _people(users: NDArray[np.int64], faces: NDArray[np.int64]) -> list[int]:
    return list(dict.fromkeys(users[faces].tolist()))[:LIMIT]


def measure_peers(report: Report, task: Task, probes: int, names: Sequence[str]) -> float:
    """Every peer's latency and recall; returns the median of flat float32."""
    flat = 0.0
    for name in names:
        peer = PEERS[name]
        if peer.needs is not None and importlib.util.find_spec(peer.needs) is None:
            report.figure(name, f"{peer.needs} is not installed")
            continue
        faces = min(len(task.faces), SLOW_BUILDERS_GET) if peer.slow else len(task.faces)
        begin = time.perf_counter()
        with peer.open(task.faces[:faces]) as find:
            if find is None:
                report.figure(name, "is not to be had here")
                continue
            built = time.perf_counter() - begin
            count = min(probes, 7 if name.startswith("flat") else 40)
            found = latency(lambda number, find=find: find(task.probes[number]), count)  # type: ignore[misc]
            recall = round(peer_recall(find, task, faces, count), 4)
        report.figure(name, {"faces": faces, "built s": round(built, 1), **found, "recall@50": recall})
        if name == "flat float32":
            flat = found["p50"]
    return flat


def main() -> int:
    """Run, report, and say by the exit status whether the targets were met."""
    options = parser(__doc__)
    options.add_argument("--faces", type=int, help="default: 1000000, with --quick 100000")
    options.add_argument("--dimension", type=int, choices=DIMENSIONS, default=512)
    options.add_argument("--mates", type=int, help="mated probes: default 10000, with --quick 400")
    options.add_argument("--peers", default=None, help=f"comma separated: {', '.join(PEERS)}")
    chosen: argparse.Namespace = options.parse_args()
    in_one_thread()
    report = Report("search", chosen.json)
    faces = chosen.faces or (100_000 if chosen.quick else 1_000_000)
    names = [name for name in PEERS if not (chosen.quick and PEERS[name].slow)]
    if chosen.peers is not None:
        names = [name.strip() for name in chosen.peers.split(",") if name.strip()]
    probes = 60 if chosen.quick else 300
    task = make_task(faces, chosen.dimension, probes)
    report.figure("gallery", {"faces": len(task.faces), "people": task.people, "dimension": chosen.dimension})
    index, median = measure_index(report, task, probes, chosen.mates or (400 if chosen.quick else 10_000))
    measure_growth(report, task, probes, index)
    flat = measure_peers(report, task, probes, names)
    if flat:
        report.figure("flat float32 / ours", round(flat / median, 1))
        if faces >= 1_000_000:
            report.at_least("flat float32 / ours", round(flat / median, 1), FASTER_THAN_FLAT[chosen.dimension])
    measure_removal(report, index, task)
    del index
    measure_groups(report, task.faces, task.users, task.probes[:60], task.statistics.threshold)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
