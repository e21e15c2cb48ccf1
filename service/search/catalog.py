"""Every group's index, built from a snapshot of the database and kept current by each app's change log.

The database is the truth. A catalog can be thrown away at any time, and any number of processes have one each.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from service.metrics import INDEX_LOAD_TIME, INDEX_RESTORED, measured
from service.search.app_index import AppIndex
from service.search.flat import FlatIndex
from service.search.protocol import (
    NOT_LOADED,
    Block,
    Blocks,
    Candidate,
    ChangeSource,
    GroupIndex,
    IndexFactory,
    IndexSize,
)
from service.search.replay import Groups, continued, fill
from service.search.snapshot_file import Contents
from service.search.snapshots import Snapshots
from service.search.tiered import TieredIndex
from service.values import ChangeMark, Embedding, Hit, LogHead

logger = logging.getLogger(__name__)

BATCH = 256
"""Changes read and applied at a time. It takes some milliseconds, after which callers that need no more go on."""
MORE = 32
"""Up to this many changes beyond the needed ones are read along with them, which saves a further query."""
CONFIRMATIONS = 3
"""Attempts to compare the face counts of a restored library and the database at the same position of the log."""
LOOKS = 3
"""Most times that several groups are searched for one answer because faces were removed during the search."""


@dataclass(frozen=True, slots=True)
class CatalogStats:
    """How much the catalog holds; ``nbytes`` is the memory of the indexes."""

    apps: int
    groups: int
    faces: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class CodedFaces:
    """How many faces of an app are in segments, and how many are about to be."""

    coded: int
    waiting: int


class Catalog:
    """Searches over all apps and groups; safe to share between threads.

    Methods that read the database raise what ``source`` raises. What was applied before a failure stays, and the next
    call goes on from there.
    """

    def __init__(
        self,
        source: ChangeSource,
        dimension: int,
        index_factory: IndexFactory = FlatIndex,
        snapshots: Snapshots | None = None,
    ) -> None:
        """With ``snapshots``, ``index_factory`` has to make :class:`TieredIndex`: no other index can be saved."""
        self.snapshots = snapshots
        self._origin = ""
        self._source = source
        self._dimension = dimension
        self._index_factory = index_factory
        self._libraries: dict[int, AppIndex] = {}
        self._lock = threading.Lock()

    # --- keeping current ---

    def load(self) -> None:
        """Load every app: from its snapshot and the log, or from the database, as of one moment.

        Apps that are current already stay as they are.
        """
        begun = time.monotonic()
        known = set(self._libraries)
        restored = self._restore()
        with contextlib.closing(self._source.snapshot(without=restored)) as snapshot:
            for app_pk, head, blocks in snapshot:
                known.discard(app_pk)
                library = self._library(app_pk)
                with library.turn():
                    self._fill(library, head, blocks)
        for app_pk in known:
            self.catch_up(app_pk)
        self._tell(sum(restored.values()), time.monotonic() - begun)

    def catch_up(self, app_pk: int, seq: int | None = None) -> None:
        """Return when every change up to ``seq``, or up to the head of the log as of now, has been applied.

        Callers that wait for the same app share one replay, and each goes on as soon as it has come far enough for it.
        An app that has been deleted is forgotten.
        """
        while True:
            library = self._library(app_pk)
            if library.reached(seq):
                return
            begun = library.begun
            with library.turn(seq) as ours:
                if not ours:
                    return
                if self._libraries.get(app_pk) is not library:
                    # Forgotten while we waited.
                    continue
                if seq is None and library.begun > begun:
                    # A replay to the end of the log that began after our call has ended.
                    return
                library.begun += seq is None
                try:
                    self._replay(app_pk, library, seq)
                except BaseException:
                    library.begun -= seq is None
                    raise
                return

    def catch_up_all(self) -> None:
        """Catch up with every app, including those that have appeared or gone, or whose log is another one now."""
        heads = self._source.heads()
        for app_pk in {*heads, *self._libraries}:
            library = self._libraries.get(app_pk)
            if library is None or library.position != heads.get(app_pk) or not self._knows(app_pk, library):
                self.catch_up(app_pk)

    def position(self, app_pk: int) -> int:
        """Number of the app's last change that searches see; -1 when the app is not loaded."""
        library = self._libraries.get(app_pk)
        return NOT_LOADED if library is None else library.position

    # --- searching ---

    @measured("search")
    def search(
        self, app_pk: int, group_pks: Sequence[int], probe: Embedding, limit: int, min_similarity: float
    ) -> list[Hit]:
        """As ``FaceSearch``. Returns the ``limit`` best users of each group.

        That is enough to name the ``limit`` best people: whoever is ahead of a person in the group of that person's
        best face is ahead in the whole result, too.
        """
        return self._found(app_pk, group_pks, lambda index: index.search(probe, limit, min_similarity))

    @measured("search")
    def search_user(
        self, app_pk: int, group_pks: Sequence[int], user_pks: Sequence[int], probe: Embedding
    ) -> list[Hit]:
        """The best face of each of the users, as far as they are in the groups, by (-similarity, face_pk)."""

        def theirs(index: GroupIndex) -> Iterator[Candidate]:
            found = (index.search_user(probe, user_pk) for user_pk in dict.fromkeys(user_pks))
            return (one for one in found if one is not None)

        return self._found(app_pk, group_pks, theirs)

    def faces(self) -> int:
        """How many faces are searchable."""
        return self.stats().faces

    def faces_of_apps(self) -> dict[int, int]:
        """How many faces are searchable, by app; apps of which faces were left out are missing."""
        return {
            app_pk: sum(len(index) for index in list(library.groups.values()))
            for app_pk, library in list(self._libraries.items())
            if library.position != NOT_LOADED and not library.left_out
        }

    def origin(self) -> str:
        """Where the index came from at the start, and how long that took, for people; empty before it is there."""
        return self._origin

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

    # --- snapshots ---

    def contents(self, app_pk: int) -> Contents | None:
        """An app's library as of one moment, for a snapshot; ``None`` where a start could not go on from it.

        That is when the app is not loaded, when the log does not have the row at its position, and when faces were left
        out: if somebody repairs such a face in the database, no row of the log will say so. Embeddings are not copied;
        changes wait for some milliseconds.
        """
        library = self._libraries.get(app_pk)
        if library is None or self.snapshots is None:
            return None
        with library.turn():
            if library.position == NOT_LOADED or library.mark is None or library.left_out:
                return None
            groups = {pk: index.state() for pk, index in library.groups.items() if isinstance(index, TieredIndex)}
            return self.snapshots.contents(app_pk, library.mark, groups)

    def coded_faces(self, app_pk: int) -> CodedFaces:
        """How far the reorganisation of an app's indexes has come."""
        library = self._libraries.get(app_pk)
        groups = [] if library is None else list(library.groups.values())
        sizes = [index.sealed() for index in groups if isinstance(index, TieredIndex)]
        return CodedFaces(sum(coded for coded, _ in sizes), sum(waiting for _, waiting in sizes))

    # --- inside ---

    def _restore(self) -> dict[int, int]:
        """Bring back every app that has a snapshot, and replay the log from there; returns their faces."""
        if self.snapshots is None:
            return {}
        restored = {}
        for app_pk in self._source.heads():
            library = self._library(app_pk)
            if library.position == NOT_LOADED and self._restore_one(self.snapshots, app_pk, library):
                restored[app_pk] = sum(len(index) for index in library.groups.values())
        return restored

    def _restore_one(self, snapshots: Snapshots, app_pk: int, library: AppIndex) -> bool:
        def in_the_log(mark: ChangeMark) -> bool:
            # As the log is now: another process may have written the snapshot since the heads were read.
            return self._source.mark(app_pk, mark.seq) == mark

        with library.turn():
            found = snapshots.restore(app_pk, self._new_tiered_index, in_the_log)
            if found is None:
                return False
            library.groups, library.left_out = dict(found.groups), 0
            library.move(found.mark.seq, found.mark)
            _end_load(library.groups)
        if self._has_every_face(app_pk, library):
            return True
        snapshots.discard(app_pk, "the database has other faces than the log tells of")
        with library.turn():
            library.position = NOT_LOADED
        return False

    def _has_every_face(self, app_pk: int, library: AppIndex) -> bool:
        """Whether index and database have equally many faces. Finds changes that bypassed the log (a change of models).

        The two can be compared only at the same position of the log. If other processes write so much that they never
        are, the log is trusted.
        """
        for _ in range(CONFIRMATIONS):
            seq, count = self._source.count(app_pk)
            self.catch_up(app_pk, seq)
            if library.position == seq:
                return sum(len(index) for index in library.groups.values()) == count
        return True

    def _knows(self, app_pk: int, library: AppIndex) -> bool:
        """Whether the log still has, at the library's position, the row that the library knows."""
        mark = library.mark
        return mark is None or self._source.mark(app_pk, mark.seq) in (mark, None)

    def _tell(self, restored: int, seconds: float) -> None:
        faces = self.faces()
        INDEX_LOAD_TIME.set(seconds)
        INDEX_RESTORED.set(restored)
        self._origin = f"loaded in {seconds:.1f} s"
        if self.snapshots is not None:
            self._origin += f", {min(restored, faces)} of {faces} faces from snapshots"
        logger.info("index of %d faces %s", faces, self._origin)

    def _library(self, app_pk: int) -> AppIndex:
        with self._lock:
            return self._libraries.setdefault(app_pk, AppIndex())

    def _found(
        self, app_pk: int, group_pks: Sequence[int], look: Callable[[GroupIndex], Iterable[Candidate]]
    ) -> list[Hit]:
        """Search each of the groups with ``look``; hits by (-similarity, face_pk).

        Groups are searched one after the other. A user who is moved meanwhile from a group that is still to be searched
        into one that has been would be missed. So all groups are searched again where a face was removed.
        """
        library = self._libraries.get(app_pk)
        if library is None:
            return []
        hits: list[Hit] = []
        for _ in range(LOOKS):
            removals, groups = library.removals, library.groups
            hits = [
                Hit(group_pk, found.user_pk, found.face_pk, found.similarity)
                for group_pk in dict.fromkeys(group_pks)
                if (index := groups.get(group_pk)) is not None
                for found in look(index)
            ]
            if len(group_pks) < 2 or library.is_settled(removals):
                break
        return sorted(hits, key=lambda hit: (-hit.similarity, hit.face_pk))

    def _replay(self, app_pk: int, library: AppIndex, seq: int | None) -> None:
        """Apply the log up to ``seq`` or a little further, or up to where it ends now.

        Loads the library anew when the log does not continue where the library stands: it was pruned, the database
        was put back to an earlier state, lost its last changes when a standby took over, or the app is gone.
        """
        head = self._source.head(app_pk) if seq is None else seq
        if library.position == NOT_LOADED or head is None or library.position > head:
            self._reload(app_pk, library)
            return
        known = library.mark  # the first query has to return this row again, or the log is another one
        while (missing := head - library.position) > 0 or known is not None:
            first = library.position + (known is None)
            changes = self._source.changes_since(app_pk, first - 1, min(BATCH, missing + MORE) + (known is not None))
            further = continued(changes, library.position, known, missing=missing > 0)
            if further is None:
                self._reload(app_pk, library)
                return
            known = None
            if further:
                library.apply(further, self._new_index)

    def _reload(self, app_pk: int, library: AppIndex) -> None:
        library.position = NOT_LOADED
        with contextlib.closing(self._source.snapshot(app_pk)) as snapshot:
            for _, head, blocks in snapshot:
                self._fill(library, head, blocks)
        if library.position == NOT_LOADED:
            library.groups = {}
            with self._lock:
                self._libraries.pop(app_pk, None)

    def _fill(self, library: AppIndex, head: LogHead, blocks: Blocks) -> None:
        groups: dict[int, GroupIndex] = {}
        left_out = 0

        def readable() -> Iterator[Block]:
            nonlocal left_out
            left_out = yield from blocks

        for block in readable():
            fill(groups, block, self._new_loading_index)
        _end_load(groups)
        if head.seq > library.position:
            library.groups, library.left_out = groups, left_out
            library.move(head.seq, head.mark)

    def _new_index(self, expected: int) -> GroupIndex:
        return self._index_factory(self._dimension, expected)

    def _new_loading_index(self, expected: int) -> GroupIndex:
        index = self._new_index(expected)
        if isinstance(index, TieredIndex):
            index.begin_load()
        return index

    def _new_tiered_index(self, expected: int) -> TieredIndex:
        index = self._new_loading_index(expected)
        if not isinstance(index, TieredIndex):
            raise TypeError("snapshots are of tiered indexes")
        return index


def _end_load(groups: Groups) -> None:
    for index in groups.values():
        if isinstance(index, TieredIndex):
            index.end_load()
