"""A sealed part of a large group: no faces are added to it any more, they are only marked as removed.

Rows are sorted by user and face, so that a user's faces are adjacent and need no directory. A search
(:mod:`service.search.pooled`) scans short codes (:mod:`service.search.codec`) for a short list, estimates the listed
rows again by fine codes where there are any (:mod:`service.search.fine`), compares the best of them by their half
precision embeddings, takes all faces of the best users, and scores those that may be a user's best face with
:func:`service.search.similarity.exact`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from service.search.codec import Codec
from service.search.codes import Codes, Rows
from service.search.fine import Bytes, refined
from service.search.pages import prefer_huge
from service.search.precision import singles
from service.search.protocol import NOT_REMOVED, NOW, Candidate, Faces, Keys
from service.search.similarity import SLACK, best_of_users, exact
from service.values import Embedding, Embeddings

WIDEN = 4
"""A list that did not suffice is made this many times as long."""
LONGEST_LIST = 16_384
"""Instead of searching by a longer list everything is compared, which takes no longer."""
WORTH_CODING = 8
"""A segment with fewer rows than this many lists is compared as a whole, too."""
USERS_LIMIT = 50
"""Short lists are measured for this many wanted users, and lengthened in proportion for more."""
ROWS_PER_USER = 8
"""Where everything is compared: how many rows FAISS is asked for per wanted user, at first."""
FEW_USERS = 4096
"""For more users than this, rows are counted before they are listed, since :data:`_BEHIND` takes 21 numbers per
user."""
_BEHIND = np.arange(21)
"""Offsets behind a user's first row at which further faces are looked for: the API allows twenty faces a user. That is
faster than counting first."""
BLOCK = 16_384


@dataclass(frozen=True, slots=True)
class Scan:
    """A part of the codes. ``best(count)``: estimated similarities ``(count,)``, descending, and the rows."""

    rows: int
    best: Callable[[int], tuple[NDArray[np.float32], Rows]]


class Segment:
    """A sealed part. Only its marks change, under the owner's lock, while others search.

    A mark is the version of the owner from which on a row is removed. A search looks at marks several times; comparing
    them with the version at its beginning, it sees the same state throughout.
    """

    def __init__(self, faces: Faces) -> None:
        """Copies the faces. Until :meth:`code` has been called every search compares everything."""
        order = np.lexsort((faces.face_pks, faces.user_pks))
        self.face_pks: Keys = faces.face_pks[order]
        self.user_pks: Keys = faces.user_pks[order]
        self._gone = np.full(len(order), NOT_REMOVED, dtype=np.int64)
        self.removals = 0
        self._by_face = np.argsort(self.face_pks).astype(np.int32)
        self._store, self.embeddings = _half_precision(len(order), faces.embeddings.shape[1])
        for start in range(0, len(order), BLOCK):
            self.embeddings[start : start + BLOCK] = faces.embeddings[order[start : start + BLOCK]]
        self._codes: Codes | None = None
        self.short_list = 0

    # --- content ---

    @property
    def codec(self) -> Codec | None:
        """What the rows were coded by; ``None`` while they are not."""
        return None if self._codes is None else self._codes.codec

    def __len__(self) -> int:
        """How many faces are not marked."""
        return len(self.face_pks) - self.removals

    @property
    def removed(self) -> NDArray[np.bool_]:
        """Which rows are marked ``(n,)``, a copy."""
        removed: NDArray[np.bool_] = self._gone != NOT_REMOVED
        return removed

    def there(self, rows: Rows, version: int = NOW) -> NDArray[np.bool_]:
        """Which of the rows were there as of a version."""
        there: NDArray[np.bool_] = self._gone[rows] > version
        return there

    def places_of(self, face_pks: Keys) -> Rows:
        """Row of each face, -1 where it is not here or marked."""
        if not len(self.face_pks):
            return np.full(len(face_pks), -1, dtype=np.int64)
        at = np.searchsorted(self.face_pks, face_pks, sorter=self._by_face)
        rows = self._by_face[np.minimum(at, len(self._by_face) - 1)].astype(np.int64)
        return np.where((self.face_pks[rows] == face_pks) & self.there(rows), rows, -1)

    def rows_of(self, user_pk: int) -> Rows:
        """Rows of a user that are not marked."""
        first, end = np.searchsorted(self.user_pks, (user_pk, user_pk + 1))
        rows = np.arange(first, end)
        return rows[self.there(rows)]

    def mark(self, rows: Rows, version: int = 0) -> None:
        """Remove rows, none of which is marked yet, for whoever searches as of ``version`` or later."""
        self._gone[rows] = version
        self.removals += len(rows)

    def nbytes(self) -> int:
        """Memory of everything that grows with the number of faces."""
        arrays = (self.face_pks, self.user_pks, self._gone, self._by_face, self.embeddings)
        return sum(array.nbytes for array in arrays) + (0 if self._codes is None else self._codes.nbytes())

    # --- searches ---

    def search_user(self, probe: Embedding, user_pk: int) -> Candidate | None:
        """As :meth:`service.search.protocol.GroupIndex.search_user`."""
        rows = self.rows_of(user_pk)
        return next(iter(self._scored(rows, probe, 1, -np.inf)), None) if len(rows) else None

    def scans(self, probe: Embedding) -> list[Scan]:
        """What looks at all the codes, piece by piece, for the rows that are most similar to a probe."""
        codes = self._codes
        if codes is None:
            return []
        question = codes.codec.question(probe)
        return [Scan(len(slab), partial(slab.estimated, question)) for slab in codes.slabs]

    def estimated(self, probe: Embedding, count: int) -> tuple[NDArray[np.float32], Rows]:
        """Estimated similarities ``(count,)``, falling, and rows of the best by their codes, marked ones too.

        ``count`` is at most the number of rows.
        """
        found = [scan.best(min(count, scan.rows)) for scan in self.scans(probe)]
        estimates, rows = (np.concatenate(each) for each in zip(*found, strict=True))
        best = np.argsort(-estimates, kind="stable")[:count]
        return estimates[best], rows[best]

    def refined(self, probe: Embedding, rows: Rows) -> NDArray[np.float32] | None:
        """Similarities ``(n,)`` of some rows as estimated by their fine codes; ``None`` where there are none."""
        codes = self._codes
        if codes is None or codes.fine is None:
            return None
        return refined(codes.fine, codes.codec.fine_question(probe), rows)

    def similarities(self, probe: Embedding, rows: Rows) -> NDArray[np.float32]:
        """Cosines ``(n,)`` of some rows in single precision, for choosing among them."""
        # All rows are there: what looks at each of them first, as another mode does, takes a fifth longer.
        near = singles(self.embeddings.take(rows, axis=0, mode="clip"))
        found: NDArray[np.float32] = near @ np.asarray(probe, dtype=np.float32)
        return found

    def rows_of_users(self, user_pks: Keys, version: int = NOW) -> Rows:
        """All rows of different users in rising order that were there as of a version."""
        rows = self._beside(user_pks) if len(user_pks) <= FEW_USERS else self._of_users(user_pks)
        return rows[self.there(rows, version)] if self.removals else rows

    def list_length(self, limit: int) -> int:
        """How long a short list has to be for so many users; 0 where comparing everything is as good."""
        length = int(self.short_list * max(1.0, limit / USERS_LIMIT))
        return length if length <= LONGEST_LIST and WORTH_CODING * length <= len(self.face_pks) else 0

    def compare_all(self, probe: Embedding, limit: int, min_similarity: float, version: int = NOW) -> list[Candidate]:
        """As :meth:`service.search.protocol.GroupIndex.search`, exactly, of what was there as of a version."""
        query = np.ascontiguousarray(probe, dtype=np.float32)[np.newaxis]
        wanted = min(len(self.face_pks), ROWS_PER_USER * limit)
        while True:
            found, places = self._store.search(query, wanted)
            similarities, rows = found[0], places[0]
            last = float(similarities[-1])
            whole = wanted == len(self.face_pks)
            # What was not returned is no better than the last; decided are only those that beat it beyond rounding.
            decided = rows if whole else rows[similarities > last + 2 * SLACK]
            users = np.unique(self.user_pks[decided[self.there(decided, version)]])
            if whole or last < min_similarity - SLACK or len(users) >= limit:
                users = np.unique(self.user_pks[rows[self.there(rows, version)]])
                return self._scored(self.rows_of_users(users, version), query[0], limit, min_similarity)
            wanted = min(len(self.face_pks), WIDEN * wanted)

    def nearest(self, probes: Embeddings, count: int, pause: Callable[[], None]) -> tuple[NDArray[np.float32], Rows]:
        """Cosines and rows ``(n, count)`` of the most similar rows, marked ones too, for ``(n, dimension)`` probes.

        Each is compared with all rows, in blocks between which ``pause`` is called: FAISS compares many probes fastest
        in single precision. With fewer rows than ``count``, the least of numbers and -1 stand behind the last.
        """
        best = faiss.ResultHeap(len(probes), count, keep_max=True)
        queries = np.ascontiguousarray(probes, dtype=np.float32)
        for start in range(0, len(self.face_pks), BLOCK):
            block = singles(self.embeddings[start : start + BLOCK])
            found, rows = faiss.knn(queries, block, min(count, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
            best.add_result(found, rows + start)
            pause()
        best.finalize()
        return best.D, best.I

    # --- sealing ---

    def code(self, codec: Codec, start: int, end: int) -> None:
        """Code the rows from ``start`` to ``end``, the first of which follows the last one coded."""
        if self._codes is None:
            self._codes = Codes(codec, len(self.face_pks))
        self._codes.add(self.embeddings[start:end])
        if end == len(self.face_pks):
            self._codes.settle()

    def take_codes(self) -> Codes | None:
        """The codes, which are no longer here: others are about to be made."""
        codes, self._codes = self._codes, None
        return codes

    def put_codes(self, codes: Codes | None, short_list: int) -> None:
        """Take codes that were made before, in place of what there is."""
        self._codes, self.short_list = codes, short_list

    # --- snapshots ---

    @classmethod
    def unfilled(cls, count: int, dimension: int) -> Segment:
        """Room for faces that were sealed before; its arrays are to be filled, then :meth:`put_back` is due."""
        keys = np.zeros(count, dtype=np.int64)
        return cls(Faces(keys, keys, np.broadcast_to(np.float16(0), (count, dimension))))

    def put_back(self, removed: NDArray[np.bool_], codes: Codes | None = None, short_list: int = 0) -> None:
        """Take over what goes with the arrays: which rows are marked, and codes made of what :meth:`codes` returned."""
        self._by_face = np.argsort(self.face_pks).astype(np.int32)
        self.mark(np.flatnonzero(removed))
        self.put_codes(codes, short_list)

    def codes(self, blank: Rows) -> NDArray[np.uint8] | None:
        """The codes in FAISS's own form, those of the rows ``blank`` zeroed; ``None`` for a segment without."""
        return None if self._codes is None else self._codes.serialized(blank)

    @property
    def fine(self) -> Bytes | None:
        """Fine codes ``(n, axes)``, those of marked rows too; ``None`` for a segment without."""
        return None if self._codes is None else self._codes.fine

    # --- inside ---

    def _beside(self, users: Keys) -> Rows:
        """As :meth:`_of_users`; users have few faces nearly always."""
        firsts = np.searchsorted(self.user_pks, users)
        near = firsts[:, np.newaxis] + _BEHIND
        theirs = self.user_pks.take(near, mode="clip") == users[:, np.newaxis]
        if theirs[:, -1].any():
            return self._of_users(users)
        # At the end of the segment a row beyond it is taken for the last one.
        rows: Rows = near[theirs & (near < len(self.user_pks))]
        return rows

    def _of_users(self, users: Keys) -> Rows:
        """All rows of ``users``, all different."""
        firsts = np.searchsorted(self.user_pks, users, side="left")
        counts = np.searchsorted(self.user_pks, users, side="right") - firsts
        return np.repeat(firsts - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(counts.sum())

    def _scored(self, rows: Rows, probe: Embedding, limit: int, min_similarity: float) -> list[Candidate]:
        """The best users of ``rows``, which hold all faces of theirs."""
        # In blocks: where all faces are alike, all of them are scored, each number in eight bytes.
        blocks = [rows[start : start + BLOCK] for start in range(0, max(1, len(rows)), BLOCK)]
        similarities = np.concatenate([exact(self.embeddings[block], probe) for block in blocks])
        return best_of_users(self.face_pks[rows], self.user_pks[rows], similarities, limit, min_similarity)


def _half_precision(count: int, dimension: int) -> tuple[Any, NDArray[np.float16]]:
    """A FAISS index of ``count`` rows that are still to be written, and the rows."""
    store = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    store.codes.resize(2 * dimension * count)
    store.ntotal = count
    memory = faiss.rev_swig_ptr(store.codes.data(), 2 * dimension * count)
    prefer_huge(memory.ctypes.data, memory.nbytes)
    return store, memory.view(np.float16).reshape(count, dimension)
