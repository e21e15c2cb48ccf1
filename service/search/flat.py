"""An exact index that compares every face: FAISS over our own arrays. For groups that one scan is fast enough for.

Writers take turns; searches take no lock and see the index as of one moment. A written row never changes. New rows are
appended behind those that running searches know. A removed row is only marked, with the version of the index from which
on it is gone. When too many rows are marked, the others are copied into new arrays; running searches finish on the old
ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import faiss
import numpy as np
from numpy.typing import NDArray

from service.search.protocol import NOT_REMOVED, Candidate, Faces, Keys
from service.search.similarity import SLACK, best_of_users, exact, rounded
from service.values import Embedding, Embeddings

FIRST_CAPACITY = 8
GROWTH = 1.5
LARGE = 1024
ROOM = 24_576
"""An index of more than :data:`LARGE` rows has room for so many at once, as many as a group has before it is coded: to
copy them takes much fresh memory, whose pages cost up to half a second on a virtual machine. Unused room costs none."""
MARKED_SHARE = 0.25
"""Share of marked rows at which they are cleared away: a scan then takes a third more time than it would have to."""
MARKED_FLOOR = 256
"""So many marked rows are not worth the copying."""
FACES_PER_USER = 4
"""How many rows to ask FAISS for per wanted user, at first."""
FEW = 1024
"""Up to so many rows whoever reaches the threshold is picked out of all similarities, where those are not many."""


class _Arrays:
    """Rows, with room for more; ``removed`` is the version from which on a row is gone."""

    __slots__ = ("embeddings", "face_pks", "removed", "user_pks")

    def __init__(self, dimension: int, capacity: int) -> None:
        self.face_pks = np.empty(capacity, dtype=np.int64)
        self.user_pks = np.empty(capacity, dtype=np.int64)
        self.removed = np.full(capacity, NOT_REMOVED, dtype=np.int64)
        self.embeddings = np.empty((capacity, dimension), dtype=np.float32)

    def write(self, start: int, face_pks: Keys, user_pks: Keys, embeddings: Embeddings) -> None:
        """Put rows from ``start`` on; embeddings are rounded already."""
        rows = slice(start, start + len(face_pks))
        self.face_pks[rows] = face_pks
        self.user_pks[rows] = user_pks
        self.embeddings[rows] = embeddings


@dataclass(frozen=True, slots=True)
class _Moment:
    """The index at one moment: the first ``count`` rows, less those removed at ``version`` or before."""

    arrays: _Arrays
    count: int = 0
    version: int = 0

    def live(self, places: Keys) -> Keys:
        """Those of the places whose rows were there at this moment."""
        return places[self.arrays.removed[places] > self.version]

    def faces(self) -> Faces:
        """Copies of the rows that were there at this moment."""
        places = self.live(np.arange(self.count))
        return Faces(self.arrays.face_pks[places], self.arrays.user_pks[places], self.arrays.embeddings[places])

    def score(self, places: Keys, probe: Embedding, limit: int, min_similarity: float) -> list[Candidate]:
        """The best users among the rows at ``places``."""
        arrays = self.arrays
        similarities = exact(arrays.embeddings[places], probe)
        return best_of_users(arrays.face_pks[places], arrays.user_pks[places], similarities, limit, min_similarity)


class FlatIndex:
    """Satisfies :class:`service.search.protocol.GroupIndex`."""

    def __init__(self, dimension: int, expected: int = 0) -> None:
        self._dimension = dimension
        self._now = _Moment(_Arrays(dimension, _room(expected)))
        self._places: dict[int, int] = {}
        self._faces: dict[int, tuple[int, ...]] = {}
        self._lock = threading.Lock()

    # --- changes ---

    def add(self, face_pk: int, user_pk: int, embedding: Embedding) -> None:
        self.add_many(np.array([face_pk]), np.array([user_pk]), np.asarray(embedding)[np.newaxis])

    def add_many(self, face_pks: Keys, user_pks: Keys, embeddings: Embeddings) -> None:
        with self._lock:
            if not self._places.keys().isdisjoint(face_pks.tolist()) or len(np.unique(face_pks)) != len(face_pks):
                new = self._unknown(face_pks)
                face_pks, user_pks, embeddings = face_pks[new], user_pks[new], embeddings[new]
            self._make_room(len(face_pks))
            place = self._now.count
            self._now.arrays.write(place, face_pks, user_pks, rounded(embeddings))
            self._now = replace(self._now, count=place + len(face_pks))
            for face_pk, user_pk in zip(face_pks.tolist(), user_pks.tolist(), strict=True):
                self._places[face_pk] = place
                self._faces[user_pk] = (*self._faces.get(user_pk, ()), face_pk)
                place += 1

    def remove_face(self, face_pk: int) -> None:
        with self._lock:
            place = self._places.get(face_pk)
            if place is not None:
                user_pk = int(self._now.arrays.user_pks[place])
                self._mark((face_pk,))
                kept = tuple(face for face in self._faces[user_pk] if face != face_pk)
                if kept:
                    self._faces[user_pk] = kept
                else:
                    del self._faces[user_pk]

    def remove_user(self, user_pk: int) -> None:
        with self._lock:
            self._mark(self._faces.pop(user_pk, ()))

    # --- searches ---

    def __len__(self) -> int:
        return len(self._places)

    def search(self, probe: Embedding, limit: int, min_similarity: float) -> list[Candidate]:
        now = self._now
        if now.count == 0 or limit < 1:
            return []
        arrays = now.arrays
        query = np.ascontiguousarray(probe, dtype=np.float32)[np.newaxis]
        wanted = min(now.count, FACES_PER_USER * limit)
        if now.count <= FEW:
            near = np.flatnonzero(arrays.embeddings[: now.count] @ query[0] >= min_similarity - SLACK)
            if len(near) <= wanted:
                return now.score(now.live(near), probe, limit, min_similarity)
        while True:
            found, places = faiss.knn(query, arrays.embeddings[: now.count], wanted, metric=faiss.METRIC_INNER_PRODUCT)
            last = float(found[0, -1])
            if wanted == now.count or last < min_similarity - SLACK:
                break
            # What was not returned is no better than the last; decided are only those that beat it beyond rounding.
            decided = now.live(places[0, found[0] > last + 2 * SLACK])
            if len(np.unique(arrays.user_pks[decided])) >= limit:
                break
            wanted = min(now.count, 8 * wanted)
        near = places[0, found[0] >= min_similarity - SLACK]
        return now.score(now.live(near), probe, limit, min_similarity)

    def search_user(self, probe: Embedding, user_pk: int) -> Candidate | None:
        with self._lock:
            faces = self._faces.get(user_pk)
            if faces is None:
                return None
            places = np.array([self._places[face] for face in faces], dtype=np.int64)
            now = self._now
        return next(iter(now.score(places, probe, 1, -np.inf)), None)

    def holds(self, face_pks: Keys) -> NDArray[np.bool_]:
        """Which of the faces are here."""
        return np.fromiter(map(self._places.__contains__, face_pks.tolist()), dtype=np.bool_, count=len(face_pks))

    def faces(self) -> Faces:
        """All faces as of one moment."""
        return self._now.faces()

    def held(self) -> Callable[[], Faces]:
        """What :meth:`faces` would return now, to be copied later; until then nothing is."""
        return self._now.faces

    def nbytes(self) -> int:
        arrays, count = self._now.arrays, self._now.count  # room that was never written to takes no memory
        keys = arrays.face_pks.nbytes + arrays.user_pks.nbytes + arrays.removed.nbytes
        return keys + arrays.embeddings[:count].nbytes

    # --- under the lock ---

    def _unknown(self, face_pks: Keys) -> Keys:
        """Places of the first row of each face that is not here yet."""
        _, first = np.unique(face_pks, return_index=True)
        return np.array([row for row in np.sort(first).tolist() if int(face_pks[row]) not in self._places], np.intp)

    def _make_room(self, more: int) -> None:
        capacity = len(self._now.arrays.face_pks)
        if self._now.count + more > capacity:
            self._copy(_room(max(len(self._places) + more, int(GROWTH * capacity))))

    def _mark(self, face_pks: Iterable[int]) -> None:
        places = [self._places.pop(face_pk) for face_pk in face_pks]
        version = self._now.version + 1
        self._now.arrays.removed[places] = version
        self._now = replace(self._now, version=version)
        marked = self._now.count - len(self._places)
        if marked > max(MARKED_FLOOR, MARKED_SHARE * self._now.count):
            self._copy(_room(int(GROWTH * len(self._places))))

    def _copy(self, capacity: int) -> None:
        """Move the rows that are there into new arrays, in their order."""
        old, count = self._now.arrays, self._now.count
        kept = self._now.live(np.arange(count)) if len(self._places) < count else slice(count)
        new = _Arrays(self._dimension, capacity)
        new.write(0, old.face_pks[kept], old.user_pks[kept], old.embeddings[kept])
        if len(self._places) < count:
            self._places = {face_pk: place for place, face_pk in enumerate(old.face_pks[kept].tolist())}
        self._now = _Moment(new, len(self._places), self._now.version)


def _room(rows: int) -> int:
    """How many rows to make room for where ``rows`` are wanted."""
    return max(rows, ROOM if rows > LARGE else FIRST_CAPACITY)
