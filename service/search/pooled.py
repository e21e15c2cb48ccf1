"""Searches all sealed segments of a group together: one short list holds the best rows of all of them by their codes.

With a list per segment, each million faces would need a list about as long as ten million need together.
"""

from __future__ import annotations

import enum
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.beside import together
from service.search.codes import Rows
from service.search.precision import singles
from service.search.protocol import NOW, Candidate, Keys
from service.search.segment import LONGEST_LIST, USERS_LIMIT, WIDEN, Segment
from service.search.similarity import SLACK, best_of_users, exact, nearest_of_users
from service.search.tuning import short_list
from service.values import Embedding

logger = logging.getLogger(__name__)

R = TypeVar("R")

SPREAD, CHANCE, LEAST_EACH = 1.2, 4.0, 32
"""Rows that a scan is asked for at first, of ``share`` that it would contribute on average: ``SPREAD * share`` since
people who were enrolled together are alike, plus ``CHANCE * sqrt(share)`` for chance, plus ``LEAST_EACH``. Where that
turns out too few, more are asked for."""
WORTH_SHARING = 150_000
"""Fewer codes than this are scanned by one thread: a second one would not have begun before the scan was done."""
PIECE = 768
"""Rows of a list that are compared at a time; two threads may compare different pieces."""
THOROUGH = 2.5
"""Where fewer users are found than were asked for, the list is made this many times as long as measured. By hand, with
47,000 mates among 300,000 faces: a list of the measured length missed 15 of them, poor pictures just above the
threshold; one of 1.25 times that length found 7 of these, of 1.5 times 12, of 2 times 14, of 2.5 times all. The codes
of then kept more of some faces than of others; with today's fewer are missed."""
AT_ONCE = 1.5
"""A list is made this many times as long as measured from the beginning. Of 20,000 mates with poor pictures just above
the threshold, amid a million faces of 192 numbers, a list of the measured length lacked 11, one of this length 2
(``benchmarks.hard_mates``)."""
FINE_SIGMAS = 9.0
"""Rows are compared whose fine estimate is at most this many standard deviations of such estimates' errors below the
last user of the answer. The errors are mostly those of strangers. Mates are alike outside the axes, too, and estimated
too low: by 1.1 deviations in the median, by 4.0 at most (716 just above the threshold, by hand). Nine leave more than
that again, and cost 242 compared rows of 2,116 in the mean (a million faces of 512 numbers, 300 probes, by hand)."""
FEWEST_COMPARED, COMPARED_EACH = 64, 4
"""Rows that are compared first: the first number, or the second for each user asked for if that is more. Those
deviations are measured on them."""
SPREAD_ROWS = 32
"""Rows from all over the list that are compared with them. Where the first ones are one picture, enrolled many times,
all err by the same; these tell how much the others err, then."""
AFFORDABLE, FEW_FOUND = 500_000, 10
"""Among more than ``AFFORDABLE`` codes that is done only where fewer than ``FEW_FOUND`` users are found, since it takes
another scan."""
MOST_MISSING = 0.04
"""How many of the users of the answer, as a share, may be expected beyond the end of the list before it is lengthened.
Amid a million faces the expectation is usually .01 and seldom .04 (by hand), where .006 are really missing. Amid
look-alikes it is nearly always larger."""
SIGMAS = 4.5
"""A list that is lengthened for that reason goes down to this many standard deviations of the estimates below the last
user of the answer."""
STEEPEST = 4.0
"""Upper bound for how fast rows may become more frequent with falling estimate: this factor for each standard
deviation. A larger measured value is taken for chance."""
GROWTH = 1.5
"""The list's length is measured again when it serves this many times the faces; until then it grows in proportion."""


class Few(enum.Enum):
    """The type of :data:`FEW`, which :func:`search_list` returns where it found too few users."""

    FEW = enum.auto()


FEW = Few.FEW


@dataclass(frozen=True, slots=True)
class CommonList:
    """The measured ``length`` of the short list for a number of ``faces``."""

    faces: int
    length: int


class Pool:
    """Searches coded segments together. Keeps the length of their common list once that has been measured."""

    def __init__(self, measured: CommonList | None = None) -> None:
        self._measured = measured

    @property
    def measured(self) -> CommonList | None:
        """What :meth:`measure` found last, to begin another pool with."""
        return self._measured

    def search(
        self, segments: Sequence[Segment], probe: Embedding, limit: int, min_similarity: float, version: int = NOW
    ) -> list[list[Candidate]]:
        """As :meth:`service.search.protocol.GroupIndex.search`, as one list of candidates or as one for each segment.

        Searches the faces as of ``version`` of the index that owns the segments.
        """
        length, longest = self.length(segments, limit), min(LONGEST_LIST * len(segments), _faces(segments))
        few = limit if _faces(segments) <= AFFORDABLE else min(limit, FEW_FOUND)
        length = min(int(AT_ONCE * length), longest)
        if all(segment.fine is not None for segment in segments):
            few = 0
        floor = -np.inf
        while length:
            found = search_list(segments, probe, limit, min_similarity, length, version, few, floor)
            if isinstance(found, list):
                return [found]
            if isinstance(found, Few):
                # A precaution, and no reason to compare everything.
                length, few = min(int(THOROUGH / AT_ONCE * length), longest), 0
            else:
                length, floor = WIDEN * length if WIDEN * length <= longest else 0, found
        return [segment.compare_all(probe, limit, min_similarity, version) for segment in segments]

    def length(self, segments: Sequence[Segment], limit: int) -> int:
        """Rows of the list for ``limit`` users: as measured, or the sum of what each segment alone would need."""
        measured = self._measured
        if len(segments) < 2 or measured is None:
            return sum(segment.list_length(limit) for segment in segments)
        together = int(measured.length * max(1.0, limit / USERS_LIMIT, _faces(segments) / measured.faces))
        # A segment with unusual people needs the list that it would need alone: few of the probes were from it.
        return max(together, *(segment.list_length(limit) for segment in segments))

    def is_due(self, segments: Sequence[Segment]) -> bool:
        """Whether the common list was never measured, or was measured for far fewer faces."""
        return len(segments) > 1 and (self._measured is None or _faces(segments) > GROWTH * self._measured.faces)

    def measure(self, segments: Sequence[Segment], pause: Callable[[], None]) -> None:
        """Measure the list by comparing some fifty faces with everything; ``pause`` is called in between."""
        begun = time.monotonic()
        faces = _faces(segments)
        # Where no list will do, each segment has one that does for its own faces.
        length = short_list(segments, pause) or sum(segment.short_list for segment in segments)
        self._measured = CommonList(faces, length)
        seconds = time.monotonic() - begun
        logger.info("measured a list of %d for %d faces in %d segments, %.1f s", length, faces, len(segments), seconds)


def search_list(
    segments: Sequence[Segment],
    probe: Embedding,
    limit: int,
    min_similarity: float,
    length: int,
    version: int = NOW,
    few: int = 0,
    floor: float = -np.inf,
) -> list[Candidate] | Few | float:
    """The best users by one short list of ``length`` rows, at least one, out of all the segments.

    Returns ``FEW`` where fewer than ``few`` users reach the threshold: a user with a poor picture may be missing.
    Returns a number where the list is too short for an answer: because most of its rows have been removed, or because,
    given the errors of the estimates, rows beyond its end probably belong to the answer. A longer list then has to go
    down to estimates of that number; it is ``floor`` of the next attempt, which compares no row below it.
    """
    rows, estimates = listed(segments, probe, length, floor)
    # Whether no rows are beyond the end of the list, or none that the last attempt was in doubt about.
    whole = len(estimates) < length or len(estimates) == _faces(segments)
    if any(segment.removals for segment in segments):
        # Removed faces take up places of the list.
        there = [one.there(its, version) for one, its in zip(segments, rows, strict=True)]
        kept = np.concatenate(there)
        if 2 * np.count_nonzero(kept) < len(kept):
            return -np.inf
        rows, estimates = [its[still] for its, still in zip(rows, there, strict=True)], estimates[kept]
    users = np.concatenate([one.user_pks[its] for one, its in zip(segments, rows, strict=True)])
    similarities, compared = _compared(segments, probe, rows, users, limit, min_similarity)
    leaders, least = _leaders(similarities[compared], users[compared], limit, min_similarity)
    if not whole:
        if len(leaders) < few:
            return FEW
        errors = similarities - estimates
        # Look-alikes are off by the same, and so are rows that are equal.
        off, sigma = float(errors.mean()), max(float(errors.std()), SLACK)
        missing = _expected_behind((least - off - estimates) / sigma)
        if missing > MOST_MISSING * max(1, len(leaders)) or float(similarities.min()) >= least - 2 * SLACK:
            return min(float(estimates.min()), least - off - SIGMAS * sigma)
    return scored(segments, leaders, probe, limit, min_similarity, version)


def _expected_behind(gaps: NDArray[np.float32]) -> float:
    """How many rows beyond the end of a list are expected to be as similar as the last user of the answer.

    ``gaps`` ``(n,)``: by how many standard deviations the estimates of the list's rows lie below that similarity.
    Assumes normal errors, and that rows go on to become more frequent beyond the end as they do before it.
    """
    end = float(gaps.max())
    last, before = (int(np.count_nonzero((gaps > end - k) & (gaps <= end - k + 1))) for k in (1, 2))
    steep = min(STEEPEST, max(1.0, last / max(1, before)))
    return sum(last * steep**k * math.erfc((end + k - 0.5) / math.sqrt(2)) / 2 for k in range(1, 5))


def listed(
    segments: Sequence[Segment], probe: Embedding, length: int, floor: float = -np.inf
) -> tuple[list[Rows], NDArray[np.float32]]:
    """The ``length`` rows with the best estimates in all segments: rows by segment; estimates in that order.

    Rows whose estimate is below ``floor`` are left out.
    """
    scans = [(n, scan) for n, segment in enumerate(segments) for scan in segment.scans(probe)]
    total = sum(scan.rows for _, scan in scans)
    most = [min(length, scan.rows) for _, scan in scans]
    asked = most
    if len(scans) > 1:
        shares = [length * scan.rows / total for _, scan in scans]
        enough = [int(SPREAD * share + CHANCE * share**0.5) + LEAST_EACH for share in shares]
        asked = [min(both) for both in zip(most, enough, strict=True)]
    works = [partial(scan.best, count) for (_, scan), count in zip(scans, asked, strict=True)]
    found = _shared(works, total)
    while True:
        estimates = np.concatenate([its for its, _ in found])
        beyond = len(estimates) - length
        cut = max(floor, float(np.partition(estimates, beyond)[beyond]) if beyond > 0 else -np.inf)
        # What such a scan has not told yet may belong to the list.
        cut_short = [n for n, (its, _) in enumerate(found) if len(its) < most[n] and its[-1] >= cut]
        if not cut_short:
            break
        for n in cut_short:
            found[n] = scans[n][1].best(most[n])
    rows: list[list[Rows]] = [[] for _ in segments]
    kept: list[list[NDArray[np.float32]]] = [[] for _ in segments]
    for (n, _), (its, places) in zip(scans, found, strict=True):
        best = its >= cut
        rows[n].append(places[best])
        kept[n].append(its[best])
    return [np.concatenate(each) for each in rows], np.concatenate([one for each in kept for one in each])


def scored(
    segments: Sequence[Segment],
    users: Keys,
    probe: Embedding,
    limit: int,
    min_similarity: float,
    version: int = NOW,
) -> list[Candidate]:
    """The best of ``users`` (distinct, ascending) by all their faces in the segments."""
    rows = [segment.rows_of_users(users, version) for segment in segments]
    embeddings = np.concatenate([one.embeddings[its] for one, its in zip(segments, rows, strict=True)])
    face_pks = np.concatenate([one.face_pks[its] for one, its in zip(segments, rows, strict=True)])
    user_pks = np.concatenate([one.user_pks[its] for one, its in zip(segments, rows, strict=True)])
    near = nearest_of_users(singles(embeddings) @ np.asarray(probe, dtype=np.float32), user_pks, users)
    return best_of_users(face_pks[near], user_pks[near], exact(embeddings[near], probe), limit, min_similarity)


def _compared(
    segments: Sequence[Segment],
    probe: Embedding,
    rows: Sequence[Rows],
    users: Keys,
    limit: int,
    min_similarity: float,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Cosines of all the rows; or those of some, which are marked, and of the others what fine codes estimate.

    These others are, by all that fine codes err, behind everybody who is told of.
    """
    fine = [segment.refined(probe, its) for segment, its in zip(segments, rows, strict=True)]
    known = [its for its in fine if its is not None]
    if len(known) < len(segments):
        return _similarities(segments, probe, rows), np.ones(len(users), dtype=np.bool_)
    estimates = np.concatenate(known)
    similarities: NDArray[np.float32] = estimates.copy()
    bounds = np.cumsum([len(its) for its in rows])[:-1]

    def compare(chosen: NDArray[np.bool_]) -> None:
        some = [its[part] for its, part in zip(rows, np.split(chosen, bounds), strict=True)]
        similarities[chosen] = _similarities(segments, probe, some)

    count = min(max(FEWEST_COMPARED, COMPARED_EACH * limit), len(estimates))
    nearest = estimates >= np.partition(estimates, -count)[-count]
    spread = np.zeros_like(nearest)
    spread[:: -(-len(estimates) // SPREAD_ROWS)] = True
    first = nearest | spread
    compare(first)
    _, least = _leaders(similarities[first], users[first], limit, min_similarity)
    off = max(float((similarities[nearest] - estimates[nearest]).mean()), 0.0)
    near, far = (float((similarities[its] - estimates[its]).std()) for its in (nearest, spread))
    sigma = max(near if 2 * near > far else far, SLACK)
    others = ~first & (estimates >= least - off - FINE_SIGMAS * sigma)
    compare(others)
    return similarities, first | others


def _similarities(segments: Sequence[Segment], probe: Embedding, rows: Sequence[Rows]) -> NDArray[np.float32]:
    """Cosines of all the rows, one segment's after the other's."""
    works = [
        partial(segment.similarities, probe, its[start : start + PIECE])
        for segment, its in zip(segments, rows, strict=True)
        for start in range(0, len(its), PIECE)
    ]
    return np.concatenate(_shared(works, _faces(segments))) if works else np.empty(0, dtype=np.float32)


def _shared(works: Sequence[Callable[[], R]], faces: int) -> list[R]:
    """The results of ``works``, parts of a search among ``faces`` faces, by two threads where that is worth it."""
    return together(works) if faces >= WORTH_SHARING else [work() for work in works]


def _leaders(similarities: NDArray[np.float32], users: Keys, limit: int, min_similarity: float) -> tuple[Keys, float]:
    """The first ``limit`` different users and those that may tie with the last of them, in rising order.

    Also the last user's similarity, or ``min_similarity`` when there are fewer.
    """
    near = np.flatnonzero(similarities >= min_similarity - SLACK)
    near = near[np.argsort(-similarities[near], kind="stable")]
    found, first = np.unique(users[near], return_index=True)
    if len(found) < limit:
        return found, min_similarity
    best = similarities[near[first]]  # of each user
    least = float(np.partition(best, len(best) - limit)[len(best) - limit])
    return found[best >= least - 2 * SLACK], max(least, min_similarity)


def _faces(segments: Sequence[Segment]) -> int:
    """Rows that a scan reads, removed ones included."""
    return sum(len(segment.face_pks) for segment in segments)
