"""An exact index for groups of any size that one scan is fast enough for: FAISS over arrays of our own.

Writers take turns; readers take no lock. A row, once written, is never changed: new rows go behind those that readers
know of, removed rows are marked, and when too many are marked the rest is copied into new arrays, which take the place
of the old ones in a single assignment while searches under way finish on the old.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

import faiss
import numpy as np

from service.search.protocol import Candidate, Keys
from service.search.similarity import SLACK, best_of_users, exact
from service.values import Embedding, Embeddings

FIRST_CAPACITY = 8
GROWTH = 1.5
MARKED_SHARE = 0.25
"""Share of marked rows at which they are cleared away: a scan then takes a third more time than it would have to."""
MARKED_FLOOR = 256
"""So many marked rows are not worth the copying."""
FACES_PER_USER = 4
"""How many rows to ask FAISS for per wanted user, at first."""
REMOVED = -1


class _Rows:
    """Arrays with room for more rows; rows from ``count`` on are nobody's business."""

    __slots__ = ("count", "embeddings", "face_pks", "user_pks")

    def __init__(self, dimension: int, capacity: int) -> None:
        self.count = 0
        self.face_pks = np.empty(capacity, dtype=np.int64)
        self.user_pks = np.empty(capacity, dtype=np.int64)
        self.embeddings = np.empty((capacity, dimension), dtype=np.float32)

    def append(self, face_pks: Keys, user_pks: Keys, embeddings: Embeddings) -> None:
        """Write rows behind the last, then let readers know of them."""
        end = self.count + len(face_pks)
        self.face_pks[self.count : end] = face_pks
        self.user_pks[self.count : end] = user_pks
        self.embeddings[self.count : end] = embeddings
        self.count = end

    def copied(self, capacity: int) -> _Rows:
        """The rows that are not marked, in their order, in new arrays."""
        rows = _Rows(self.embeddings.shape[1], capacity)
        kept = np.flatnonzero(self.user_pks[: self.count] != REMOVED)
        if len(kept) == self.count:
            rows.append(self.face_pks[: self.count], self.user_pks[: self.count], self.embeddings[: self.count])
        else:
            rows.append(self.face_pks[kept], self.user_pks[kept], self.embeddings[kept])
        return rows


class FlatIndex:
    """Satisfies :class:`service.search.protocol.GroupIndex`."""

    def __init__(self, dimension: int, expected: int = 0) -> None:
        self._dimension = dimension
        self._rows = _Rows(dimension, max(FIRST_CAPACITY, expected))
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
            place = self._rows.count
            self._rows.append(face_pks, user_pks, embeddings)
            for face_pk, user_pk in zip(face_pks.tolist(), user_pks.tolist(), strict=True):
                self._places[face_pk] = place
                self._faces[user_pk] = (*self._faces.get(user_pk, ()), face_pk)
                place += 1

    def remove_face(self, face_pk: int) -> None:
        with self._lock:
            place = self._places.get(face_pk)
            if place is not None:
                user_pk = int(self._rows.user_pks[place])
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
        rows = self._rows
        count = rows.count
        if count == 0 or limit < 1:
            return []
        query = np.ascontiguousarray(probe, dtype=np.float32)[np.newaxis]
        wanted = min(count, FACES_PER_USER * limit)
        while True:
            found, nearest = faiss.knn(query, rows.embeddings[:count], wanted, metric=faiss.METRIC_INNER_PRODUCT)
            places = nearest[0]
            # Read once: the rows counted here have to be those scored below, whatever is removed meanwhile.
            user_pks = rows.user_pks[places]
            last = float(found[0, -1])
            if wanted == count or last < min_similarity - SLACK:
                break
            # What was not returned is no better than the last; decided are only those that beat it beyond rounding.
            decided = user_pks[(found[0] > last + 2 * SLACK) & (user_pks != REMOVED)]
            if len(np.unique(decided)) >= limit:
                break
            wanted = min(count, 8 * wanted)
        return _scored(rows, places, user_pks, probe, limit, min_similarity)

    def search_user(self, probe: Embedding, user_pk: int) -> Candidate | None:
        with self._lock:
            places = np.array([self._places[face] for face in self._faces.get(user_pk, ())], dtype=np.int64)
            rows = self._rows
        user_pks = np.full(len(places), user_pk)
        return next(iter(_scored(rows, places, user_pks, probe, 1, -np.inf)), None)

    def nbytes(self) -> int:
        rows = self._rows
        return rows.face_pks.nbytes + rows.user_pks.nbytes + rows.embeddings.nbytes

    # --- under the lock ---

    def _unknown(self, face_pks: Keys) -> Keys:
        """Places of the first row of each face that is not here yet."""
        _, first = np.unique(face_pks, return_index=True)
        return np.array([row for row in np.sort(first).tolist() if int(face_pks[row]) not in self._places], np.intp)

    def _make_room(self, more: int) -> None:
        capacity = len(self._rows.face_pks)
        if self._rows.count + more > capacity:
            self._replace(max(len(self._places) + more, int(GROWTH * capacity)))

    def _mark(self, face_pks: Iterable[int]) -> None:
        places = [self._places.pop(face_pk) for face_pk in face_pks]
        self._rows.user_pks[places] = REMOVED
        marked = self._rows.count - len(self._places)
        if marked > max(MARKED_FLOOR, MARKED_SHARE * self._rows.count):
            self._replace(max(FIRST_CAPACITY, int(GROWTH * len(self._places))))

    def _replace(self, capacity: int) -> None:
        rows = self._rows.copied(capacity)
        self._places = {face: place for place, face in enumerate(rows.face_pks[: rows.count].tolist())}
        self._rows = rows


def _scored(
    rows: _Rows, places: Keys, user_pks: Keys, probe: Embedding, limit: int, min_similarity: float
) -> list[Candidate]:
    live = user_pks != REMOVED
    similarities = exact(rows.embeddings[places[live]], probe)
    return best_of_users(rows.face_pks[places[live]], user_pks[live], similarities, limit, min_similarity)
