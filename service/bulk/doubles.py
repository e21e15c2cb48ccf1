"""Who is in a group twice under two ids, and which id holds two people: told from embeddings alone."""

from __future__ import annotations

import contextlib
import enum
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from service.calibration.scores import ScoreTable
from service.storage.engine import Database
from service.storage.source import PostgresChangeSource
from service.values import Embeddings, UserEntry

SAME_SCORE = 90.0
"""Score from which faces of two ids look like one person: a false accept rate of 1e-5 a pair."""
OTHER_SCORE = 60.0
"""A face that scores less than this with every other face of its user looks like somebody else's. 0.3 % of genuine
pairs score less."""
MOST_PAIRS = 10_000
"""Most suspicions reported of each kind, the strongest first."""

_MOST_ROWS, _MOST_COSINES = 512, 2**24
"""Of one product, faces that are compared with all others of their group, and numbers: they bound memory."""

Keys = NDArray[np.int64]


class Suspicion(str, enum.Enum):
    """What two faces give reason to believe."""

    SAME_PERSON = "same_person_two_ids"
    TWO_PEOPLE = "two_people_one_id"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two faces and the score between them (0..100). The users are one and the same for ``TWO_PEOPLE``."""

    suspicion: Suspicion
    score: float
    user_pks: tuple[int, int]
    face_pks: tuple[int, int]


@dataclass(frozen=True, slots=True)
class NamedPair:
    """A pair with what people call it; ``tokens`` and portraits belong to the two faces in order."""

    pair: Pair
    users: tuple[UserEntry, UserEntry]
    tokens: tuple[str, str]


class DoubleSearch:
    """Compares faces of an app within each group."""

    def __init__(self, database: Database, model_id: str, dimension: int, scores: ScoreTable) -> None:
        self._database = database
        self._source = PostgresChangeSource(database, model_id, dimension)
        self._scores = scores

    def run(
        self,
        app_pk: int,
        touched: Collection[int] | None = None,
        *,
        same_score: float = SAME_SCORE,
        other_score: float = OTHER_SCORE,
    ) -> list[NamedPair]:
        """Suspicious pairs: two ids most alike first, then faces least like their user's others.

        ``touched``: users of whom at least one must be in a pair; ``None`` compares all with all, which takes time
        that grows with the square of a group's faces. The embeddings of the compared groups are held in memory.
        """
        limits = self._scores.similarity(same_score), self._scores.similarity(other_score)
        found: list[Pair] = []
        chosen = None if touched is None else np.array(sorted(touched), np.int64)
        for faces, users, vectors in self._groups(app_pk, touched):
            rows = np.arange(len(users)) if chosen is None else np.flatnonzero(np.isin(users, chosen))
            told = pairs_of(faces, users, vectors, rows, limits)
            found += [replace(pair, score=self._scores.score(pair.score)) for pair in told]
        same = sorted((pair for pair in found if pair.suspicion is Suspicion.SAME_PERSON), key=lambda p: -p.score)
        other = sorted((pair for pair in found if pair.suspicion is Suspicion.TWO_PEOPLE), key=lambda p: p.score)
        return self._named(app_pk, [*same[:MOST_PAIRS], *other[:MOST_PAIRS]])

    def count(self, app_pk: int) -> int:
        """Faces of the app."""
        with self._database.read(app_pk) as reader:
            return reader.faces.count_of_app(app_pk)

    def _groups(self, app_pk: int, touched: Collection[int] | None) -> Iterator[tuple[Keys, Keys, Embeddings]]:
        """Faces ``(n,)``, their users ``(n,)`` and embeddings ``(n, dimension)`` of each group, or each with touched.

        What was given is not held any more.
        """
        wanted = None
        if touched is not None:
            with self._database.read(app_pk) as reader:
                wanted = reader.users.groups_of(touched)
        parts: defaultdict[int, list[tuple[Keys, Keys, Embeddings]]] = defaultdict(list)
        with contextlib.closing(self._source.snapshot(app_pk, groups=wanted)) as snapshot:
            for _, _, blocks in snapshot:
                for faces, users, groups, vectors in blocks:
                    for places in _by_group(groups):
                        parts[int(groups[places[0]])].append((faces[places], users[places], vectors[places]))
        for group in sorted(parts):
            columns = zip(*parts.pop(group), strict=True)
            faces, users, vectors = (np.concatenate(column) for column in columns)
            yield faces, users, vectors

    def _named(self, app_pk: int, pairs: list[Pair]) -> list[NamedPair]:
        with self._database.read(app_pk) as reader:
            users = reader.users.entries_by_pk(list({pk for pair in pairs for pk in pair.user_pks}))
            known = reader.searching.found(list({pk for pair in pairs for pk in pair.face_pks}))
        return [
            NamedPair(
                pair,
                (users[pair.user_pks[0]], users[pair.user_pks[1]]),
                (known[pair.face_pks[0]].token, known[pair.face_pks[1]].token),
            )
            for pair in pairs
            # Somebody may have been deleted meanwhile.
            if users.keys() >= set(pair.user_pks) and known.keys() >= set(pair.face_pks)
        ]


def _by_group(groups: Keys) -> list[Keys]:
    """The places of each group's rows, in their order."""
    if not len(groups):
        return []
    order = np.argsort(groups, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)


def pairs_of(faces: Keys, users: Keys, vectors: Embeddings, rows: Keys, limits: tuple[float, float]) -> list[Pair]:
    """Suspicious pairs of one group, with the cosine for their score.

    ``rows``: places of the faces that are compared with all. Of two users their most alike faces are told once; of a
    user each face whose nearest other face of the same user is less alike than the second of ``limits``.
    """
    at_least, below = limits
    best: dict[tuple[int, int], tuple[float, int, int]] = {}
    strangers: list[Pair] = []
    at_once = max(1, min(_MOST_ROWS, _MOST_COSINES // max(1, len(vectors))))
    for start in range(0, len(rows), at_once):
        part = rows[start : start + at_once]
        cosines = vectors[part] @ vectors.T
        own = users[part][:, None] == users[None, :]
        for row, column in zip(*np.nonzero((cosines >= at_least) & ~own), strict=True):
            places = sorted((int(part[row]), int(column)), key=lambda place: int(users[place]))
            key = (int(users[places[0]]), int(users[places[1]]))
            if key not in best or cosines[row, column] > best[key][0]:
                best[key] = (float(cosines[row, column]), places[0], places[1])
        cosines[np.arange(len(part)), part] = -np.inf  # a face is no other face
        kin = np.where(own, cosines, -np.inf)
        nearest = kin.argmax(axis=1)
        for row, column in enumerate(nearest):
            value = float(kin[row, column])
            if -np.inf < value < below:
                place, user = int(part[row]), int(users[part[row]])
                ends = (int(faces[place]), int(faces[column]))
                strangers.append(Pair(Suspicion.TWO_PEOPLE, value, (user, user), ends))
    same = [
        Pair(Suspicion.SAME_PERSON, value, owners, (int(faces[first]), int(faces[second])))
        for owners, (value, first, second) in best.items()
    ]
    return same + _each_once(strangers)


def _each_once(pairs: list[Pair]) -> list[Pair]:
    """Two faces that are each other's nearest are one pair."""
    return list({tuple(sorted(pair.face_pks)): pair for pair in pairs}.values())
