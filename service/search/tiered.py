"""An index for groups of any size: new faces exactly, the many old ones in sealed and coded segments.

A small group is a :class:`FlatIndex`. When that has grown, it is frozen and a new one takes further faces; the frozen
one is rewritten as a :class:`Segment`, together with older segments that are not much larger, and with those that have
lost many faces (the log-structured merge of O'Neil et al. 1996). All of it happens beside searches, which see one list
of parts or the other; both have the same content at any time.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from service.beside import together
from service.search.codec import LEAST_TRAINING_ROWS
from service.search.flat import FlatIndex
from service.search.maintenance import Maintenance
from service.search.pooled import CommonList, Pool, scored
from service.search.precision import halves
from service.search.protocol import Candidate, Faces, Keys
from service.search.sealing import Sealer
from service.search.segment import USERS_LIMIT, Segment
from service.search.similarity import best_of_lists
from service.values import Embedding, Embeddings

logger = logging.getLogger(__name__)

SEAL_AT = 20_000
"""Faces in the tail at which it is frozen: an exact search of so many takes about as long as a coded search."""
WAITING, WAITING_BESIDE = 3, 10
"""Frozen indexes that may always wait for maintenance: the second number where maintenance has its own thread. They
slow a search down less than waiting for a writer that seals them would (:meth:`Catalog.catch_up`)."""
MOST_WAITING = 500_000
"""Further frozen indexes may wait while all that wait hold no more faces than are sealed, and no more than this. Beyond
that the thread that adds faces seals them itself. So a million faces added at once are rewritten twice on average.
"""
TAIL_SHARE = 0.25
"""Where there are segments, the tail is frozen at this share of :data:`SEAL_AT` already: it is scanned in addition to
them."""
LARGEST_SEGMENT = 1_000_000
"""Larger segments are not merged any more, since a merge needs memory for two more copies of what it merges."""
MERGE_RATIO = 4.0
"""A segment takes part in a merge when it is at most this many times as large as everything that is merged before
it."""
REMOVED_SHARE = 0.2
"""A segment with a larger share of removed rows is rewritten without them."""
_PAUSE = 0.0005
"""Seconds between blocks of background work, in which a waiting search gets the interpreter and the caches."""


@dataclass(frozen=True, slots=True)
class IndexState:
    """What an index holds as of one moment. ``loose`` faces are copied when they are asked for.

    With each segment come the marks of removed rows ``(n,)``; ``common`` is the measured length of their common list.
    """

    loose: tuple[Callable[[], Faces], ...]
    segments: tuple[tuple[Segment, NDArray[np.bool_]], ...]
    common: CommonList | None = None


class Stopped(Exception):
    """Maintenance was told to stop; nothing has changed."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """Where the faces are. Each face is in one part."""

    tail: FlatIndex
    frozen: tuple[FlatIndex, ...] = ()
    segments: tuple[Segment, ...] = ()

    def __iter__(self) -> itertools.chain[FlatIndex | Segment]:
        return itertools.chain((self.tail,), self.frozen, self.segments)


class TieredIndex:
    """Satisfies :class:`service.search.protocol.GroupIndex`."""

    def __init__(
        self,
        dimension: int,
        expected: int = 0,
        maintenance: Maintenance | None = None,
        *,
        exact: bool = False,
        seal_at: int = SEAL_AT,
    ) -> None:
        """Without ``maintenance`` the thread that changes the index maintains it.

        ``exact``: searches compare every face, though segments and their codes are made all the same.
        """
        self._dimension = dimension
        self._maintenance = maintenance
        self.exact = exact
        self._seal_at = max(seal_at, LEAST_TRAINING_ROWS)
        self._parts = _Parts(FlatIndex(dimension, min(expected, self._seal_at)))
        self._sealer = Sealer()
        self._pool = Pool()
        self._lock = threading.RLock()  # changes
        self._reorganising = threading.Lock()
        self._removals = 0
        """Odd while a removal that concerns several parts is under way."""
        self._version = 0
        """Counts removals from segments; what they mark is gone for whoever searches as of then or later."""
        self._asked = False
        self._loading = False
        self._promised = 0
        """Faces that a load has left to maintenance; nobody else has to wait for them."""

    # --- loading ---

    def begin_load(self) -> None:
        """Very many faces follow until :meth:`end_load`: up to :data:`LARGEST_SEGMENT` of them stay unsealed."""
        self._loading = True

    def end_load(self) -> None:
        """Everything is searchable, and maintenance, if there is any, begins to seal it."""
        self._loading = False
        if self._maintenance is not None and self._is_due():
            self._promised = sum(len(part) for part in self._parts.frozen)
            self._asked = True
            self._maintenance.due(self)
        else:
            self._see_to_it()

    # --- changes ---

    def add(self, face_pk: int, user_pk: int, embedding: Embedding) -> None:
        self.add_many(np.array([face_pk]), np.array([user_pk]), np.asarray(embedding)[np.newaxis])

    def add_many(self, face_pks: Keys, user_pks: Keys, embeddings: Embeddings) -> None:
        with self._lock:
            parts = self._parts
            known = np.zeros(len(face_pks), dtype=np.bool_)
            for segment in parts.segments:
                known |= segment.places_of(face_pks) >= 0
            for frozen in parts.frozen:
                known |= frozen.holds(face_pks)
            if known.any():
                face_pks, user_pks, embeddings = face_pks[~known], user_pks[~known], embeddings[~known]
            parts.tail.add_many(face_pks, user_pks, embeddings)
            if len(parts.tail) >= self._seal_at * (TAIL_SHARE if parts.segments else 1):
                # With room from the start: growing copies all rows while the next ones wait.
                room = self._seal_at if self._loading else int(TAIL_SHARE * self._seal_at)
                tail = FlatIndex(self._dimension, room + len(face_pks))
                self._parts = replace(parts, tail=tail, frozen=(*parts.frozen, parts.tail))
        self._see_to_it()

    def remove_face(self, face_pk: int) -> None:
        key = np.array([face_pk])
        with self._lock:
            self._parts.tail.remove_face(face_pk)
            for frozen in self._parts.frozen:
                frozen.remove_face(face_pk)
            for segment in self._parts.segments:
                rows = segment.places_of(key)
                if rows[0] >= 0:
                    segment.mark(rows, self._version + 1)
            self._version += 1
        self._see_to_it()

    def remove_user(self, user_pk: int) -> None:
        with self._lock:
            self._removals += 1
            try:
                self._parts.tail.remove_user(user_pk)
                for frozen in self._parts.frozen:
                    frozen.remove_user(user_pk)
                for segment in self._parts.segments:
                    segment.mark(segment.rows_of(user_pk), self._version + 1)
                self._version += 1
            finally:
                self._removals += 1
        self._see_to_it()

    # --- snapshots ---

    def state(self) -> IndexState:
        """Everything as of now; embeddings are not copied."""
        with self._lock:
            parts = self._parts
            return IndexState(
                loose=tuple(part.held() for part in (parts.tail, *parts.frozen)),
                segments=tuple((segment, segment.removed) for segment in parts.segments),
                common=self._pool.measured,
            )

    def sealed(self) -> tuple[int, int]:
        """How many faces segments were made of, and how many wait to be sealed."""
        parts = self._parts
        return sum(len(segment.face_pks) for segment in parts.segments), sum(len(part) for part in parts.frozen)

    def adopt(self, segments: Sequence[Segment], common: CommonList | None = None) -> None:
        """Take over segments of a snapshot and the measured length of their list. Only for an empty index."""
        with self._lock:
            self._parts = replace(self._parts, segments=tuple(segments))
            self._pool = Pool(common)
            codecs = [segment.codec for segment in segments if segment.codec is not None]
            self._sealer.codec = max(codecs, key=lambda codec: codec.population, default=None)

    # --- searches ---

    def __len__(self) -> int:
        with self._lock:
            return sum(len(part) for part in self._parts)

    def search(self, probe: Embedding, limit: int, min_similarity: float) -> list[Candidate]:
        if limit < 1:
            return []
        begun, tail = self._removals, self._parts.tail
        found = self._search(probe, limit, min_similarity)
        if begun % 2 or begun != self._removals or tail is not self._parts.tail:
            # Search again: a user may have been removed from only some parts when they were searched, or a replacement
            # may have gone to a new tail because the one of this search was frozen.
            with self._lock:
                found = self._search(probe, limit, min_similarity)
        return found

    def search_user(self, probe: Embedding, user_pk: int) -> Candidate | None:
        with self._lock:
            found = [one for part in self._parts if (one := part.search_user(probe, user_pk)) is not None]
        return min(found, key=lambda one: (-one.similarity, one.face_pk), default=None)

    def coded_faces(self) -> int:
        """How many faces are searched by their codes."""
        return sum(map(len, _coded(self._parts)))

    def nbytes(self) -> int:
        return sum(part.nbytes() for part in self._parts)

    def probe_recall(self) -> tuple[int, int]:
        """Look for a stored face among those that are searched by codes, at any similarity.

        Returns how many users an exact search finds, and how many of those the usual search finds.
        """
        coded = _coded(self._parts)
        # Of a face that was removed nothing may be left but zeros, and all faces are equally like those.
        living = [np.flatnonzero(~segment.removed) for segment in coded]
        sizes = np.array(list(map(len, living)))
        if not sizes.any():
            return 0, 0
        rng = np.random.default_rng()
        chosen = int(rng.choice(len(coded), p=sizes / sizes.sum()))
        probe = coded[chosen].embeddings[int(rng.choice(living[chosen]))].astype(np.float32)
        usual = self._pool.search(coded, probe, USERS_LIMIT, -np.inf)
        exact = [one.compare_all(probe, USERS_LIMIT, -np.inf) for one in coded]
        best, found = ({one.user_pk for one in best_of_lists(each, USERS_LIMIT, -np.inf)} for each in (exact, usual))
        return len(best), len(best & found)

    # --- maintenance ---

    def maintain(self, stopping: threading.Event) -> None:
        """Seal what is frozen and merge what is due; searches and changes go on meanwhile."""
        self._asked = False
        try:
            while self._is_due() and not stopping.is_set():
                self._reorganise(stopping)
                coded = _coded(self._parts)
                if self._pool.is_due(coded):
                    self._pool.measure(coded, lambda: _pause(stopping))
        except Stopped:
            logger.info("maintenance of an index of %d faces was given up", len(self))
        self._promised = 0

    def _search(self, probe: Embedding, limit: int, min_similarity: float) -> list[Candidate]:
        # The order matters. A replacement is added to the tail before the old face is removed. So a search that looks
        # at the other parts as of a version first, and at the tail last, finds the old face, the new one, or both.
        version = self._version
        parts = self._parts
        coded = [] if self.exact else [one for one in parts.segments if one.list_length(limit)]
        pooled = self._pool.search(coded, probe, limit, min_similarity, version) if coded else []
        whole = [one for one in parts.segments if one not in coded]
        others = [partial(part.search, probe, limit, min_similarity) for part in parts.frozen]
        others += [partial(one.compare_all, probe, limit, min_similarity, version) for one in whole]
        each = [*pooled, *together(others), parts.tail.search(probe, limit, min_similarity)]
        some = [its for its in each if its]  # nearly always one list: of a large group's tail hardly anybody is found
        found = best_of_lists(some, limit, min_similarity) if len(some) > 1 else next(iter(some), [])
        # A user who was found only outside of the coded parts may have a better face in them that the list missed.
        listed = {one.user_pk for its in pooled for one in its}
        elsewhere = sorted(one.user_pk for one in found if one.user_pk not in listed) if coded else []
        if not elsewhere:
            return found
        more = scored(coded, np.array(elsewhere, dtype=np.int64), probe, limit, min_similarity, version)
        return best_of_lists([found, more], limit, min_similarity)

    def _is_due(self) -> bool:
        parts = self._parts
        return bool(parts.frozen) or any(map(_worn, parts.segments)) or self._pool.is_due(_coded(parts))

    def _see_to_it(self) -> None:
        """After a change: have maintenance done, or do it."""
        if not self._is_due():
            return
        parts = self._parts
        waiting = sum(len(part) for part in parts.frozen)
        sealed = sum(len(part) for part in parts.segments)
        always = WAITING if self._maintenance is None else WAITING_BESIDE
        allowed = max(always * self._seal_at, min(sealed, MOST_WAITING)) + self._promised
        if self._loading:
            allowed = max(allowed, LARGEST_SEGMENT)
        elif self._maintenance is not None and not self._asked:
            self._asked = True
            self._maintenance.due(self)
        if waiting > allowed or (self._maintenance is None and any(map(_worn, parts.segments))):
            self.maintain(threading.Event())

    def _reorganise(self, stopping: threading.Event) -> None:
        """Write one segment out of several parts, and put it in their place."""
        with self._reorganising:
            with self._lock:
                frozen, segments = self._parts.frozen, _merged(self._parts)
            if not frozen and not segments:
                return
            marks = [segment.removed for segment in segments]
            loose = [part.faces() for part in frozen]
            taken = [*loose, *(_unmarked(old, removed) for old, removed in zip(segments, marks, strict=True))]
            segment = self._sealed(_concatenated(taken), stopping) if any(len(one.face_pks) for one in taken) else None
            with self._lock:
                kept = [part for part in self._parts.segments if part not in segments]
                if segment is not None:
                    # What has been removed from the old parts since they were copied.
                    gone = [one.face_pks[~part.holds(one.face_pks)] for part, one in zip(frozen, loose, strict=True)]
                    gone += [old.face_pks[old.removed & ~was] for old, was in zip(segments, marks, strict=True)]
                    segment.mark(segment.places_of(np.concatenate(gone)))
                    kept.append(segment)
                still = tuple(part for part in self._parts.frozen if part not in frozen)
                self._parts = replace(self._parts, frozen=still, segments=tuple(kept))

    def _sealed(self, faces: Faces, stopping: threading.Event) -> Segment:
        segment = self._sealer.sealed(faces, lambda: _pause(stopping))
        total = len(segment.face_pks)
        if segment.short_list == 0 and total > self._seal_at:
            logger.warning("codes are too coarse for a segment of %d faces; it is compared as a whole", total)
        return segment


def _coded(parts: _Parts) -> list[Segment]:
    """The segments that are searched by their codes."""
    return [segment for segment in parts.segments if segment.list_length(USERS_LIMIT)]


def _pause(stopping: threading.Event) -> None:
    """Let searches go first, or raise :class:`Stopped`."""
    if stopping.wait(_PAUSE):
        raise Stopped


def _worn(segment: Segment) -> bool:
    return segment.removals > REMOVED_SHARE * len(segment.face_pks)


def _merged(parts: _Parts) -> list[Segment]:
    """The segments that are rewritten together with everything frozen."""
    chosen = [segment for segment in parts.segments if _worn(segment)]
    size = sum(len(part) for part in parts.frozen) + sum(len(segment) for segment in chosen)
    for segment in sorted(parts.segments, key=len):
        if segment in chosen:
            continue
        if len(segment) > MERGE_RATIO * size or len(segment) + size > LARGEST_SEGMENT:
            break
        chosen.append(segment)
        size += len(segment)
    return chosen


def _unmarked(segment: Segment, removed: NDArray[np.bool_]) -> Faces:
    """The faces that ``removed`` does not mark."""
    if not removed.any():
        return Faces(segment.face_pks, segment.user_pks, segment.embeddings)
    return Faces(segment.face_pks[~removed], segment.user_pks[~removed], segment.embeddings[~removed])


def _concatenated(parts: Sequence[Faces]) -> Faces:
    return Faces(
        np.concatenate([part.face_pks for part in parts]),
        np.concatenate([part.user_pks for part in parts]),
        np.concatenate([halves(part.embeddings) for part in parts]),
    )
