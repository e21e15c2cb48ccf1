"""Every group's index, built from a snapshot of the database and kept current by each app's change log.

The database is the truth. A catalog can be thrown away at any time, and any number of processes have one each.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from service.metrics import measured
from service.search.flat import FlatIndex
from service.search.protocol import NEVER, Block, ChangeSource, GroupIndex, IndexFactory, IndexSize
from service.search.replay import apply_changes, fill
from service.values import Embedding, Hit

BATCH = 2000
"""Changes read at a time."""


@dataclass(frozen=True, slots=True)
class CatalogStats:
    """How much the catalog holds; ``nbytes`` is the memory of the indexes."""

    apps: int
    groups: int
    faces: int
    nbytes: int


@dataclass(slots=True, eq=False)
class _Library:
    """The indexes of one app. Who holds ``lock`` may change it; searches take no lock."""

    groups: dict[int, GroupIndex] = field(default_factory=dict)
    position: int = NEVER
    begun: int = 0
    """How many replays have begun and did not fail."""
    lock: threading.Lock = field(default_factory=threading.Lock)


class Catalog:
    """Searches over all apps and groups; safe to share between threads.

    Methods that read the database raise what ``source`` raises; what was applied until then stays, and the next call
    goes on from there.
    """

    def __init__(self, source: ChangeSource, dimension: int, index_factory: IndexFactory = FlatIndex) -> None:
        self._source = source
        self._dimension = dimension
        self._index_factory = index_factory
        self._libraries: dict[int, _Library] = {}
        self._lock = threading.Lock()

    # --- keeping current ---

    def load(self) -> None:
        """Load every app as of one moment. Apps that are current already stay as they are."""
        known = set(self._libraries)
        with contextlib.closing(self._source.snapshot()) as snapshot:
            for app_pk, seq, blocks in snapshot:
                known.discard(app_pk)
                library = self._library(app_pk)
                with library.lock:
                    self._fill(library, seq, blocks)
        for app_pk in known:
            self.catch_up(app_pk)

    def catch_up(self, app_pk: int, seq: int | None = None) -> None:
        """Return when every change up to ``seq``, or up to the head of the log as of now, has been applied.

        Callers that wait for the same app share one replay. An app that has been deleted is forgotten.
        """
        while True:
            library = self._library(app_pk)
            if seq is not None and library.position >= seq:
                return
            begun = library.begun
            with library.lock:
                if self._libraries.get(app_pk) is not library:
                    # Forgotten while we waited.
                    continue
                if library.begun > begun or (seq is not None and library.position >= seq):
                    # A replay that began after our call has ended, or an earlier one went far enough.
                    return
                library.begun += 1
                try:
                    self._replay(app_pk, library, seq)
                except BaseException:
                    library.begun -= 1
                    raise
                return

    def catch_up_all(self) -> None:
        """Catch up with every app, including those that have appeared or gone."""
        heads = self._source.heads()
        for app_pk in {*heads, *self._libraries}:
            library = self._libraries.get(app_pk)
            if library is None or library.position != heads.get(app_pk):
                self.catch_up(app_pk)

    def position(self, app_pk: int) -> int:
        """Number of the app's last change that searches see; -1 when the app is not loaded."""
        library = self._libraries.get(app_pk)
        return NEVER if library is None else library.position

    # --- searching ---

    @measured("search")
    def search(
        self, app_pk: int, group_pks: Sequence[int], probe: Embedding, limit: int, min_similarity: float
    ) -> list[Hit]:
        """The ``limit`` best users of several groups with at least ``min_similarity``, by (-similarity, face_pk)."""
        hits = [
            Hit(group_pk, found.user_pk, found.face_pk, found.similarity)
            for group_pk, index in self._indexes(app_pk, group_pks)
            for found in index.search(probe, limit, min_similarity)
        ]
        return _ranked(hits)[:limit]

    @measured("search")
    def search_user(
        self, app_pk: int, group_pks: Sequence[int], user_pks: Sequence[int], probe: Embedding
    ) -> list[Hit]:
        """The best face of each of the users, as far as they are in the groups, by (-similarity, face_pk)."""
        hits = [
            Hit(group_pk, found.user_pk, found.face_pk, found.similarity)
            for group_pk, index in self._indexes(app_pk, group_pks)
            for user_pk in dict.fromkeys(user_pks)
            if (found := index.search_user(probe, user_pk)) is not None
        ]
        return _ranked(hits)

    def faces(self) -> int:
        """How many faces are searchable."""
        return self.stats().faces

    def size(self) -> IndexSize:
        """How much there is, and the memory that it takes."""
        stats = self.stats()
        return IndexSize(stats.faces, stats.groups, stats.nbytes)

    def indexes(self) -> list[GroupIndex]:
        """The index of every group of every app."""
        return [index for library in list(self._libraries.values()) for index in list(library.groups.values())]

    def stats(self) -> CatalogStats:
        libraries = list(self._libraries.values())
        indexes = self.indexes()
        faces = sum(len(index) for index in indexes)
        return CatalogStats(len(libraries), len(indexes), faces, sum(index.nbytes() for index in indexes))

    # --- inside ---

    def _library(self, app_pk: int) -> _Library:
        with self._lock:
            return self._libraries.setdefault(app_pk, _Library())

    def _indexes(self, app_pk: int, group_pks: Sequence[int]) -> Iterator[tuple[int, GroupIndex]]:
        library = self._libraries.get(app_pk)
        groups = {} if library is None else library.groups
        for group_pk in dict.fromkeys(group_pks):
            index = groups.get(group_pk)
            if index is not None:
                yield group_pk, index

    def _replay(self, app_pk: int, library: _Library, seq: int | None) -> None:
        """Apply the log to its end, which is known to be at ``seq`` or later.

        Loads the library anew when the log does not continue where the library stands: it was pruned, the database
        was put back to an earlier state, or the app is gone.
        """
        head = self._source.head(app_pk) if seq is None else seq
        if library.position == NEVER or head is None or library.position > head:
            self._reload(app_pk, library)
            return
        full = False
        while library.position < head or full:
            changes = self._source.changes_since(app_pk, library.position, BATCH)
            if full and not changes:
                return
            if not changes or changes[0].seq != library.position + 1:
                self._reload(app_pk, library)
                return
            apply_changes(library.groups, changes, self._new_index)
            library.position = changes[-1].seq
            full = len(changes) == BATCH

    def _reload(self, app_pk: int, library: _Library) -> None:
        library.position = NEVER
        with contextlib.closing(self._source.snapshot(app_pk)) as snapshot:
            for _, seq, blocks in snapshot:
                self._fill(library, seq, blocks)
        if library.position == NEVER:
            library.groups = {}
            with self._lock:
                self._libraries.pop(app_pk, None)

    def _fill(self, library: _Library, seq: int, blocks: Iterable[Block]) -> None:
        groups: dict[int, GroupIndex] = {}
        for block in blocks:
            fill(groups, block, self._new_index)
        if seq > library.position:
            library.groups = groups
            library.position = seq

    def _new_index(self, expected: int) -> GroupIndex:
        return self._index_factory(self._dimension, expected)


def _ranked(hits: list[Hit]) -> list[Hit]:
    return sorted(hits, key=lambda hit: (-hit.similarity, hit.face_pk))
