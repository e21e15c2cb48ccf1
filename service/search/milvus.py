"""Search beyond one machine's memory: the faces lie in Milvus, kept current from the same change log.

Nothing of a library is held in this process, so replicas cost no memory. Milvus is an index like any other: it can be
dropped at any time and is filled again from the database. How far it has come stands beside the faces in Milvus
itself, so that losing one loses both. Whoever finds it behind the log brings it up to date, one process per app at a
time (``SharedChangeSource.applying``); replaying a row twice changes nothing. Faces are put in before others go, so
that those who search meanwhile miss nobody. Where it was emptied, and another process is filling it, a search cannot
see that: so after each search it is asked how far Milvus has come, and a result that it cannot vouch for is not used.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from service import deadline
from service.errors import ServiceUnavailable
from service.metrics import measured
from service.search.milvus_store import ROWS, MilvusStore, Position, listed
from service.search.protocol import ANY_SIMILARITY, NOT_LOADED, Block, ChangeSource, IndexSize, Keys
from service.search.replay import continued, surviving_additions
from service.search.similarity import best_of_users, exact
from service.values import Change, ChangeKind, Embedding, Hit

BATCH = ROWS
"""Changes read at a time."""

SPARE_USERS = 8
"""Users asked for beyond those wanted: Milvus ranks in single precision, the last places are settled exactly."""

LOOKS = 3
"""Times that a search is made before it is given up, because Milvus is emptied again and again meanwhile."""

RETRY_SECONDS = 2.0
"""How soon Milvus is looked at again that was away."""

PARTING_SECONDS = 10.0
"""How long the end waits for that; whoever fills Milvus may be stopped in the middle."""

_NO_APP = 0
"""No app has this number; apps count from 1."""

logger = logging.getLogger(__name__)


class SharedChangeSource(ChangeSource, Protocol):
    """A change source that also says whose turn it is to write to an index that processes share."""

    def applying(self, app_pk: int) -> contextlib.AbstractContextManager[None]:
        """Keeps every other process from applying changes of this app meanwhile; waits for its turn."""
        ...


class MilvusCatalog:
    """The faces of all apps in one Milvus collection; as ``service.search.catalog.Catalog`` to its callers.

    Milvus may come back from an absence with less than it had, or with nothing: after every failure a thread looks
    at how far it has come, until it answers, and brings it up to date.

    Methods raise ``ServiceUnavailable`` when Milvus does not answer, and what ``source`` raises.
    """

    def __init__(
        self,
        source: SharedChangeSource,
        model_id: str,
        dimension: int,
        *,
        installation: str,
        uri: str,
        token: str = "",
        index_type: str = "AUTOINDEX",
        timeout: float = 10.0,
    ) -> None:
        """Connect. ``uri`` as pymilvus takes it: ``http://host:19530``, or a file of milvus-lite.

        ``installation`` is a name of letters, digits and underscores that no other installation at this Milvus has:
        each numbers its apps and faces from 1.
        ``index_type`` is Milvus' name of an index; ``FLAT`` is exact. ``timeout`` in seconds, of every request.
        """
        self._source = source
        self._known: dict[int, Position] = {}
        self._locks: dict[int, threading.Lock] = {}
        self._lock = threading.Lock()
        self._doubted = threading.Event()
        self._in_vain = 0  # looks at a Milvus that is away
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vector-database", daemon=True)
        self._store = MilvusStore(
            installation,
            model_id,
            dimension,
            uri=uri,
            token=token,
            index_type=index_type,
            timeout=timeout,
            failed=self._failed,
        )

    def close(self) -> None:
        """Let go of the connection."""
        self._closing.set()
        self._doubted.set()
        if self._thread.ident is not None:
            self._thread.join(PARTING_SECONDS)
        self._store.close()

    # --- keeping current ---

    def load(self) -> None:
        """Make the collections that are missing and bring every app up to date."""
        self._make()
        self._known.update(self._store.positions())
        self.catch_up_all()
        if self._thread.ident is None:
            self._thread.start()

    def catch_up(self, app_pk: int, seq: int | None = None) -> None:
        """Return when every change up to ``seq``, or up to the head of the log as of now, is in Milvus."""
        if seq is None and self.position(app_pk) == self._source.head(app_pk) and self._knows(app_pk):
            return
        if self._reached(app_pk, seq):
            return
        with self._own_turn(app_pk):
            if self._reached(app_pk, seq):
                return
            if seq is None:
                self._doubt(app_pk)
            with self._source.applying(app_pk):
                stored = self._store.position(app_pk)
                if seq is not None and stored.seq >= seq:
                    self._known[app_pk] = stored
                else:
                    # As of now: by our turn others may have gone further than we were told of.
                    self._replay(app_pk, stored, self._source.head(app_pk))

    def catch_up_all(self) -> None:
        """Catch up with every app, including those that have appeared or gone, or whose log is another one now."""
        heads = self._source.heads()
        for app_pk in {*heads, *self._known}:
            if self.position(app_pk) != heads.get(app_pk) or not self._knows(app_pk):
                self.catch_up(app_pk)

    def position(self, app_pk: int) -> int:
        """Number of the app's last change that is known to be in Milvus; -1 when nothing is."""
        known = self._known.get(app_pk)
        return NOT_LOADED if known is None else known.seq

    # --- searching ---

    @measured("search")
    def search(
        self, app_pk: int, group_pks: Sequence[int], probe: Embedding, limit: int, min_similarity: float
    ) -> list[Hit]:
        """As ``FaceSearch``: of whom there are enough for ``limit`` people who are users of all the groups.

        Milvus names the users, and their faces are scored here: what is told is what the exact index tells. Which of
        several users of *equal* similarity comes last, or not any more, is Milvus' choice.
        """
        if not group_pks:
            return []
        scope = f"app_pk == {app_pk} and group_pk in {listed(group_pks)}"
        most = limit * len(group_pks)

        def look() -> list[Hit]:
            users = self._store.nearest_users(probe, scope, most + SPARE_USERS)
            return self._settled(f"{scope} and user_pk in", users, probe, most, min_similarity)

        return self._believed(app_pk, look)

    @measured("search")
    def search_user(
        self, app_pk: int, group_pks: Sequence[int], user_pks: Sequence[int], probe: Embedding
    ) -> list[Hit]:
        """The best face of each of the users, as far as they are in the groups, by (-similarity, face_pk)."""
        if not group_pks:
            return []
        scope = f"app_pk == {app_pk} and group_pk in {listed(group_pks)} and user_pk in"
        users = list(dict.fromkeys(user_pks))
        return self._believed(app_pk, lambda: self._settled(scope, users, probe, len(users), ANY_SIMILARITY))

    def faces(self) -> int:
        """How many faces are searchable."""
        return self._store.count()

    def origin(self) -> str:
        return ""

    def size(self) -> IndexSize:
        """Milvus keeps the memory it takes to itself."""
        return IndexSize(self.faces(), None, None)

    # --- inside: searching ---

    def _believed(self, app_pk: int, look: Callable[[], list[Hit]]) -> list[Hit]:
        """What ``look`` finds while Milvus has all faces that it is known to have; of an app that is gone, nothing.

        Milvus is asked for its position after the look. Asked before, it could be emptied in between; and one that was
        emptied before or in between, and filled again since, tells of another filling than the one we know.
        """
        for _ in range(LOOKS):
            if self.position(app_pk) == NOT_LOADED:
                self.catch_up(app_pk)
            known = self._known.get(app_pk)
            if known is None or not known.filling:
                if self._source.head(app_pk) is None:
                    return []
                continue  # another thread has just found that Milvus lost it
            found = look()
            if self._store.holds(app_pk, known):
                return found
            logger.warning("the vector database has lost faces; they are put in again", extra={"app_pk": app_pk})
            with self._own_turn(app_pk):
                if self._known.get(app_pk) == known:
                    del self._known[app_pk]
        raise ServiceUnavailable("the vector database keeps losing what it is given")

    def _settled(
        self, scope: str, users: Sequence[int], probe: Embedding, limit: int, min_similarity: float
    ) -> list[Hit]:
        """The best faces of ``users``, scored exactly; ``scope`` is a filter that lacks their list."""
        if not users:
            return []
        face_pks, user_pks, group_pks, embeddings = self._store.faces(f"{scope} {listed(users)}")
        groups = dict(zip(user_pks.tolist(), group_pks.tolist(), strict=True))
        found = best_of_users(face_pks, user_pks, exact(embeddings, probe), limit, min_similarity)
        return [Hit(groups[each.user_pk], each.user_pk, each.face_pk, each.similarity) for each in found]

    # --- inside: replaying ---

    @contextlib.contextmanager
    def _own_turn(self, app_pk: int) -> Iterator[None]:
        """One thread of this process at a time; a request waits for its turn no longer than it has time."""
        with self._lock:
            lock = self._locks.setdefault(app_pk, threading.Lock())
        with deadline.held(lock):
            yield

    def _reached(self, app_pk: int, seq: int | None) -> bool:
        """Whether Milvus is known to have a change; no position is known to be the end of the log (``None``)."""
        return seq is not None and self.position(app_pk) >= seq

    def _knows(self, app_pk: int) -> bool:
        """Whether no other change stands in the place of the one that Milvus is known to have come to."""
        known = self._known.get(app_pk)
        mark = None if known is None else known.mark
        return mark is None or self._source.mark(app_pk, mark.seq) in (mark, None)

    def _doubt(self, app_pk: int) -> None:
        """Where Milvus follows a log that is no more, nobody may take its position for one of the log that there is."""
        known = self._known.get(app_pk)
        if known is None:
            return
        head = self._source.head(app_pk)
        if head is None or known.seq > head or not self._knows(app_pk):
            self._known[app_pk] = Position(NOT_LOADED, filling=known.filling)

    def _replay(self, app_pk: int, position: Position, head: int | None) -> None:
        """Apply the log from ``position`` to its end, which is at ``head`` or later by now; as ``Catalog`` does."""
        if position.seq == NOT_LOADED or head is None or position.seq > head:
            self._reload(app_pk, position.filling)
            return
        known = position.mark  # to be found again, once
        # Not until a batch is short: the row that we stand at, and ask for too, may have been pruned.
        while (at := position.seq) < head or known is not None:
            changes = self._source.changes_since(app_pk, at - (known is not None), BATCH)
            further = continued(changes, at, known, missing=at < head)
            if further is None:
                self._reload(app_pk, position.filling)
                return
            known = None
            if further:
                self._apply(app_pk, further)
                position = Position(further[-1].seq, further[-1].mark, position.filling)
                self._reach(app_pk, position)
        self._known[app_pk] = position

    def _reload(self, app_pk: int, filling: str) -> None:
        """Put the app in anew: the log does not continue where Milvus stands, or the app is gone.

        Whoever is stopped in the middle leaves a row without a position, so that the next one does it again, and finds
        what there is of an app that is gone by then. What was there before stays meanwhile, and with it the name of
        its filling, so that searches of other processes go on; those of this one wait, as what they ask for may be of
        another log.
        """
        logger.info("filling the vector database", extra={"app_pk": app_pk})
        self._known[app_pk] = Position(NOT_LOADED, filling=filling)
        self._store.put_position(app_pk, self._known[app_pk])
        with contextlib.closing(self._source.snapshot(app_pk)) as snapshot:
            for _, head, blocks in snapshot:
                there = [self._put_block(app_pk, block) for block in blocks]
                self._remove_others(app_pk, np.concatenate([np.empty(0, dtype=np.int64), *there]))
                self._reach(app_pk, Position(head.seq, head.mark, filling or secrets.token_hex(8)))
                return
        self._store.delete(f"app_pk == {app_pk}")
        self._store.delete_position(app_pk)
        self._known.pop(app_pk, None)

    def _remove_others(self, app_pk: int, face_pks: Keys) -> None:
        """Delete the app's faces that are not among these."""
        scope = f"app_pk == {app_pk}"
        known = np.append(np.sort(face_pks), np.iinfo(np.int64).max)
        gone = [found[known[np.searchsorted(known, found)] != found] for found in self._store.face_pks(scope)]
        for part in gone:
            self._store.delete_faces(part)

    def _apply(self, app_pk: int, changes: Sequence[Change]) -> None:
        """Additions first: a replaced face is never missing in between."""
        added = surviving_additions(changes)
        if added:
            self._store.put(
                app_pk,
                ((change.face_pk, change.user_pk, change.group_pk) for change in added),
                np.stack([change.embedding for change in added if change.embedding is not None]),
            )
        gone = [change.face_pk for change in changes if change.kind is ChangeKind.REMOVE_FACE]
        self._store.delete_faces(np.array(gone, dtype=np.int64))
        for kind, field in ((ChangeKind.REMOVE_USER, "user_pk"), (ChangeKind.REMOVE_GROUP, "group_pk")):
            parents = [getattr(change, field) for change in changes if change.kind is kind]
            if parents:
                self._store.delete(f"app_pk == {app_pk} and {field} in {listed(parents)}")

    def _put_block(self, app_pk: int, block: Block) -> Keys:
        """Put faces in; returns their numbers."""
        face_pks, user_pks, group_pks, embeddings = block
        for start in range(0, len(face_pks), ROWS):
            part = slice(start, start + ROWS)
            keys = zip(face_pks[part].tolist(), user_pks[part].tolist(), group_pks[part].tolist(), strict=True)
            self._store.put(app_pk, keys, embeddings[part])
        return face_pks

    def _reach(self, app_pk: int, position: Position) -> None:
        """Milvus has come so far with an app."""
        self._store.put_position(app_pk, position)
        self._known[app_pk] = position

    # --- inside: after an absence ---

    def _failed(self, code: str, reason: str) -> None:
        """Have Milvus looked at again, and tell of the failure: of a request each, of the looks some."""
        self._doubted.set()
        if threading.current_thread() is not self._thread or self._is_told():
            logger.warning("the vector database failed: %s", reason, extra={"code": code})

    def _is_told(self) -> bool:
        """Whether a look that fails is told of: the first, and each that doubles their number, so ever more rarely."""
        return not self._in_vain & (self._in_vain + 1)

    def _run(self) -> None:
        while True:
            self._doubted.wait()
            if self._closing.is_set():
                return
            self._doubted.clear()
            try:
                self._look_again()
            except Exception as error:
                if self._closing.is_set():
                    return
                # That Milvus or the database is away was told where it was met.
                if not isinstance(error, ServiceUnavailable) and self._is_told():
                    logger.exception("bringing the vector database up to date failed")
                self._in_vain += 1
                self._doubted.set()
            else:
                self._in_vain = 0
                logger.warning("the vector database answers again and is up to date")
            if self._closing.wait(RETRY_SECONDS):
                return

    def _make(self) -> None:
        """Make what is missing, one process at a time: two would drop and refuse what the other has just made."""
        with self._source.applying(_NO_APP):
            self._store.make()

    def _look_again(self) -> None:
        """Believe what stands in Milvus now, not what stood there, and bring it up to date.

        Nothing is known of an app that lost something, until the log is in: no answers come from an earlier state.
        """
        if not self._store.is_made():
            for app_pk in list(self._known):
                with self._own_turn(app_pk):  # who is filling it fails, and does not go on in what is made here
                    self._known.pop(app_pk, None)
        self._make()
        stored = self._store.positions()
        for app_pk, known in list(self._known.items()):
            if app_pk not in stored or not stored[app_pk].holds(known):
                with self._own_turn(app_pk):
                    self._known.pop(app_pk, None)
        for app_pk in stored.keys() - self._known.keys():
            self.catch_up(app_pk)
        self.catch_up_all()
