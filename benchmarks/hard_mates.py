"""Whom a large group's short list loses: mates just above the threshold, and people amid look-alikes.

    python -m benchmarks.hard_mates [--quick] [--json] [--faces 300000] [--dimension 192] [--mates 20000]

A made gallery (``benchmarks.gallery``), probes so poor that many of them just reach the score of 80. How far down the
list a mate's face stands by its estimate says how much longer than measured a list had to be; lost is who is missing
from the best 50 users, or from an answer of one user that names somebody less similar. Afterwards a tenth as many
people join who are alike, and the best 50 of some of them are compared with comparing everything.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.gallery import DIMENSIONS, Gallery, Statistics
from benchmarks.harness import Report, in_one_thread, parser
from benchmarks.search import (
    BLOCK,
    HARD_BAND,
    HARD_POORNESS,
    HARD_TURN,
    Task,
    fill,
    is_lost,
    recalls,
)
from service.search.pooled import Pool
from service.search.protocol import Candidate
from service.search.segment import LONGEST_LIST, USERS_LIMIT, Segment
from service.search.tiered import TieredIndex
from service.values import Embedding, Embeddings

FACTORS = (1.0, 1.25, 1.5, 2.0, 2.5, 4.0)
"""Of the list's measured length: beyond which of them a mate stands."""
CROWD_SHARE = 0.1
ALIKE = 0.5
"""Share of the identity that look-alikes have in common: as people with masks of one kind may."""
CROWD_TURN, CROWD_PROBES = 40, 60
ALIKE_RECALL = 0.97


def mates(index: TieredIndex, task: Task, count: int) -> tuple[int, Counter[float], Counter[str]]:
    """So many mates just above the threshold: how many stand beyond each factor, and how many are lost how."""
    threshold = task.statistics.threshold
    state = index.state()
    coded = [segment for segment, _ in state.segments if segment.list_length(USERS_LIMIT)]
    length = Pool(state.common).length(coded, USERS_LIMIT)
    asked = turn = 0
    beyond, lost = Counter(dict.fromkeys(FACTORS, 0)), Counter({"of 50": 0, "of 1": 0})
    while asked < count:
        turn += 1
        who = np.random.default_rng([turn, 2]).choice(task.people, min(BLOCK, task.people), replace=False)
        for person, probe in zip(who.tolist(), task.gallery.faces(who, HARD_TURN + turn, HARD_POORNESS), strict=True):
            own = index.search_user(probe, person)
            if own is None or not threshold <= own.similarity < threshold + HARD_BAND:
                continue
            asked += 1
            place = place_of(coded, person, probe) / length
            beyond.update(factor for factor in FACTORS if place > factor)
            lost["of 50"] += is_lost(index, person, own, probe, threshold)
            lost["of 1"] += other_is_told(index, person, own, probe, threshold)
            if asked == count:
                break
    return asked, beyond, lost


def place_of(segments: Sequence[Segment], person: int, probe: Embedding) -> int:
    """Where a person's first face stands among all by the estimates: 1 is the best; no farther than a list goes.

    0 where the face has no code: it is compared in any case.
    """
    if not any(len(segment.rows_of(person)) for segment in segments):
        return 0
    everybody, mine = [], -np.inf
    for segment in segments:
        estimates, rows = segment.estimated(probe, min(LONGEST_LIST, len(segment.face_pks)))
        everybody.append(estimates)
        mine = max(mine, float(estimates[segment.user_pks[rows] == person].max(initial=-np.inf)))
    return int(np.count_nonzero(np.concatenate(everybody) > mine)) + 1


def other_is_told(index: TieredIndex, person: int, own: Candidate, probe: Embedding, threshold: float) -> bool:
    """Whether an answer of one user is nobody, or somebody less similar than this person."""
    found = index.search(probe, 1, threshold)
    return not found or (found[0].user_pk != person and found[0].similarity < own.similarity)


def crowd(task: Task) -> tuple[Embeddings, Embeddings]:
    """Faces ``(n, dimension)`` of people who look alike, and other pictures of some of them."""
    people = int(CROWD_SHARE * len(task.faces))
    common = task.faces[0]

    def alike(who: NDArray[np.int64], turn: int) -> Embeddings:
        mixed = np.sqrt(ALIKE) * common + np.sqrt(1 - ALIKE) * task.gallery.faces(who, turn)
        return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), dtype=np.float32)

    who = np.arange(min(people, task.people))
    some = np.random.default_rng(9).choice(who, CROWD_PROBES, replace=False)
    return alike(who, CROWD_TURN), alike(some, CROWD_TURN + 1)


def main() -> int:
    """Run, report, and say by the exit status whether somebody was lost."""
    options = parser(__doc__)
    options.add_argument("--faces", type=int, help="default: 300000, with --quick 50000")
    options.add_argument("--dimension", type=int, choices=DIMENSIONS, default=192)
    options.add_argument("--mates", type=int, help="just above the threshold: default 20000, with --quick 1000")
    chosen: argparse.Namespace = options.parse_args()
    in_one_thread()
    report = Report("hard_mates", chosen.json)
    statistics = Statistics.load(chosen.dimension)
    people = chosen.faces or (50_000 if chosen.quick else 300_000)
    gallery = Gallery(statistics, people)
    faces = gallery.faces(np.arange(people))
    task = Task(gallery, statistics, people, faces, faces[:0], np.arange(0))
    index = TieredIndex(chosen.dimension)
    fill(index, task)
    report.figure("gallery", {"faces": len(task.faces), "dimension": chosen.dimension})
    asked, beyond, lost = mates(index, task, chosen.mates or (1_000 if chosen.quick else 20_000))
    report.figure("mates just above the threshold", asked)
    report.figure("of them beyond the list's length times", {str(factor): beyond[factor] for factor in FACTORS})
    for kind, number in lost.items():
        report.figure(f"lost from an answer {kind}", number)
        report.at_most(f"lost from an answer {kind}", number, 0)
    faces, probes = crowd(task)
    first = len(task.faces)
    users = first + np.arange(len(faces))
    for start in range(0, len(faces), BLOCK):
        rows = slice(start, start + BLOCK)
        index.add_many(users[rows], users[rows], faces[rows])
    index.maintain(threading.Event())
    _, share, differing = recalls(index, probes, task.statistics.threshold)
    report.figure(
        "recall@50 amid look-alikes", {"people": len(faces), "probes": len(probes), "recall": round(share, 4)}
    )
    report.at_most("differing scores amid look-alikes", differing, 0)
    report.at_least("recall@50 amid look-alikes", round(share, 4), ALIKE_RECALL)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
