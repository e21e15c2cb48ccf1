"""Search beyond one machine's memory: the faces lie in Milvus, kept current from the same change log.

Nothing of a library is held in this process, so replicas cost no memory. Milvus is an index like any other: it can be
dropped at any time and is filled again from the database. How far it has come stands beside the faces in Milvus
itself, so that losing one loses both. Whoever finds it behind the log brings it up to date, one process per app at a
time (``SharedChangeSource.applying``); replaying a row twice changes nothing. Faces are put in before others go, so
that those who search meanwhile miss nobody.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from pymilvus import DataType, MilvusClient, MilvusException

from service.errors import ServiceUnavailable
from service.metrics import measured
from service.search.protocol import ANY_SIMILARITY, NOT_LOADED, Block, ChangeSource, IndexSize, Keys
from service.search.replay import continued, surviving_additions
from service.search.similarity import best_of_users, exact, rounded
from service.values import Change, ChangeKind, ChangeMark, Embedding, Embeddings, Hit

BATCH = 2000
"""Changes read, and rows sent to Milvus, at a time."""

SPARE_USERS = 8
"""Users asked for beyond those wanted: Milvus ranks in single precision, the last places are settled exactly."""

MOST_ROWS = 16_384
"""What Milvus answers to one query at most (its documented quota of ``limit`` plus ``offset``)."""

_STRONG = "Strong"
_FACE_FIELDS = ["face_pk", "user_pk", "group_pk", "embedding"]
_POSITION_FIELDS = ["app_pk", "seq", "mark"]

T = TypeVar("T")

logger = logging.getLogger(__name__)


class SharedChangeSource(ChangeSource, Protocol):
    """A change source that also says whose turn it is to write to an index that processes share."""

    def applying(self, app_pk: int) -> contextlib.AbstractContextManager[None]:
        """Keeps every other process from applying changes of this app meanwhile; waits for its turn."""
        ...


@dataclass(frozen=True, slots=True)
class _Position:
    """How far Milvus has come with an app; ``mark`` is ``None`` when the log did not have that change."""

    seq: int
    mark: ChangeMark | None = None

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> _Position:
        """As it stands in Milvus."""
        numbers = [int(number) for number in row["mark"].split(",") if number]
        return cls(int(row["seq"]), ChangeMark._make(numbers) if numbers else None)


class MilvusCatalog:
    """The faces of all apps in one Milvus collection; as ``service.search.catalog.Catalog`` to its callers.

    Methods raise ``ServiceUnavailable`` when Milvus does not answer, and what ``source`` raises.
    """

    def __init__(
        self,
        source: SharedChangeSource,
        model_id: str,
        dimension: int,
        *,
        uri: str,
        token: str = "",
        index_type: str = "AUTOINDEX",
        timeout: float = 10.0,
    ) -> None:
        """Connect. ``uri`` as pymilvus takes it: ``http://host:19530``, or a file of milvus-lite.

        ``index_type`` is Milvus' name of an index; ``FLAT`` is exact. ``timeout`` in seconds, of every request.
        """
        self._source = source
        self._dimension = dimension
        self._index_type = index_type
        self._timeout = timeout
        name = re.sub(r"\W", "_", model_id)
        self._faces, self._positions = f"aipface_{name}", f"aipface_{name}_marks"
        self._known: dict[int, _Position] = {}
        self._locks: dict[int, threading.Lock] = {}
        self._lock = threading.Lock()
        with _translated():
            self._client = MilvusClient(uri=uri, token=token, timeout=timeout)

    def close(self) -> None:
        """Let go of the connection."""
        with contextlib.suppress(MilvusException):
            self._client.close()

    # --- keeping current ---

    def load(self) -> None:
        """Make the collections that are missing and bring every app up to date."""
        with _translated():
            self._make_faces()
            self._make_positions()
            rows = self._client.query(
                self._positions, filter="app_pk >= 0", output_fields=_POSITION_FIELDS, limit=MOST_ROWS
            )
        self._known.update((int(row["app_pk"]), _Position.of(row)) for row in rows)
        self.catch_up_all()

    def catch_up(self, app_pk: int, seq: int | None = None) -> None:
        """Return when every change up to ``seq``, or up to the head of the log as of now, is in Milvus."""
        if seq is None and self.position(app_pk) == self._source.head(app_pk) and self._knows(app_pk):
            return
        if self._reached(app_pk, seq):
            return
        with self._own_turn(app_pk):
            if self._reached(app_pk, seq):
                return
            with self._source.applying(app_pk), _translated():
                self._known[app_pk] = self._stored_position(app_pk)
                if not self._reached(app_pk, seq):
                    # As of now: by our turn others may have gone further than we were told of.
                    self._replay(app_pk, self._source.head(app_pk))

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
        """The ``limit`` best users of several groups with at least ``min_similarity``, by (-similarity, face_pk).

        Milvus names the users, and their faces are scored here: what is told is what the exact index tells. Which of
        several users of *equal* similarity comes last, or not any more, is Milvus' choice.
        """
        if not group_pks:
            return []
        scope = f"app_pk == {app_pk} and group_pk in {_listed(group_pks)}"
        with _translated():
            (found,) = self._client.search(
                self._faces,
                [probe],
                filter=scope,
                limit=min(limit + SPARE_USERS, MOST_ROWS),
                group_by_field="user_pk",
                output_fields=["user_pk"],
                consistency_level=_STRONG,
                timeout=self._timeout,
            )
        users = [int(hit["entity"]["user_pk"]) for hit in found]
        return self._settled(f"{scope} and user_pk in", users, probe, limit, min_similarity)

    @measured("search")
    def search_user(
        self, app_pk: int, group_pks: Sequence[int], user_pks: Sequence[int], probe: Embedding
    ) -> list[Hit]:
        """The best face of each of the users, as far as they are in the groups, by (-similarity, face_pk)."""
        if not group_pks:
            return []
        scope = f"app_pk == {app_pk} and group_pk in {_listed(group_pks)} and user_pk in"
        return self._settled(scope, list(dict.fromkeys(user_pks)), probe, len(user_pks), ANY_SIMILARITY)

    def faces(self) -> int:
        """How many faces are searchable."""
        with _translated():
            (row,) = self._client.query(
                self._faces, filter="app_pk >= 0", output_fields=["count(*)"], consistency_level=_STRONG
            )
        return int(row["count(*)"])

    def origin(self) -> str:
        return ""

    def size(self) -> IndexSize:
        """Milvus keeps the memory it takes to itself."""
        return IndexSize(self.faces(), None, None)

    # --- inside: searching ---

    def _settled(
        self, scope: str, users: Sequence[int], probe: Embedding, limit: int, min_similarity: float
    ) -> list[Hit]:
        """The best faces of ``users``, scored exactly; ``scope`` is a filter that lacks their list."""
        if not users:
            return []
        with _translated():
            rows = self._all_rows(f"{scope} {_listed(users)}")
        face_pks, user_pks, group_pks = (
            np.array([row[name] for row in rows], np.int64) for name in ("face_pk", "user_pk", "group_pk")
        )
        embeddings = np.array([row["embedding"] for row in rows], np.float32).reshape(len(rows), self._dimension)
        groups = dict(zip(user_pks.tolist(), group_pks.tolist(), strict=True))
        found = best_of_users(face_pks, user_pks, exact(embeddings, probe), limit, min_similarity)
        return [Hit(groups[each.user_pk], each.user_pk, each.face_pk, each.similarity) for each in found]

    def _all_rows(self, condition: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        iterator = self._client.query_iterator(
            self._faces, batch_size=1000, filter=condition, output_fields=_FACE_FIELDS, consistency_level=_STRONG
        )
        with contextlib.closing(iterator):
            while batch := iterator.next():
                rows += batch
        return rows

    # --- inside: replaying ---

    @contextlib.contextmanager
    def _own_turn(self, app_pk: int) -> Iterator[None]:
        """One thread of this process at a time."""
        with self._lock:
            lock = self._locks.setdefault(app_pk, threading.Lock())
        with lock:
            yield

    def _reached(self, app_pk: int, seq: int | None) -> bool:
        """Whether Milvus is known to have a change; no position is known to be the end of the log (``None``)."""
        return seq is not None and self.position(app_pk) >= seq

    def _knows(self, app_pk: int) -> bool:
        """Whether no other change stands in the place of the one that Milvus is known to have come to."""
        known = self._known.get(app_pk)
        mark = None if known is None else known.mark
        return mark is None or self._source.mark(app_pk, mark.seq) in (mark, None)

    def _replay(self, app_pk: int, head: int | None) -> None:
        """Apply the log to its end, which is at ``head`` or later by now; as ``Catalog`` does."""
        position = self._known[app_pk]
        if position.seq == NOT_LOADED or head is None or position.seq > head:
            self._reload(app_pk)
            return
        known = position.mark  # to be found again, once
        while True:
            at = self._known[app_pk].seq
            changes = self._source.changes_since(app_pk, at - (known is not None), BATCH)
            further = continued(changes, at, known, missing=at < head)
            if further is None:
                self._reload(app_pk)
                return
            known = None
            if further:
                self._apply(app_pk, further)
                self._store_position(app_pk, further[-1].seq, further[-1].mark)
            if len(changes) < BATCH:
                return

    def _reload(self, app_pk: int) -> None:
        """Put the app in anew: the log does not continue where Milvus stands, or the app is gone.

        Whoever is stopped in the middle leaves no position, so that the next one does it again.
        """
        logger.info("filling the vector database", extra={"app_pk": app_pk})
        self._client.delete(self._positions, ids=[app_pk], timeout=self._timeout)
        self._known.pop(app_pk, None)
        with contextlib.closing(self._source.snapshot(app_pk)) as snapshot:
            for _, head, blocks in snapshot:
                there = [self._put_block(app_pk, block) for block in blocks]
                self._remove_others(app_pk, np.concatenate([np.empty(0, dtype=np.int64), *there]))
                self._store_position(app_pk, head.seq, head.mark)
                return
        self._client.delete(self._faces, filter=f"app_pk == {app_pk}", timeout=self._timeout)

    def _remove_others(self, app_pk: int, face_pks: Keys) -> None:
        """Delete the app's faces that are not among these."""
        scope = f"app_pk == {app_pk}"
        iterator = self._client.query_iterator(
            self._faces, batch_size=BATCH, filter=scope, output_fields=["face_pk"], consistency_level=_STRONG
        )
        gone: list[Keys] = []
        known = np.append(np.sort(face_pks), np.iinfo(np.int64).max)
        with contextlib.closing(iterator):
            while batch := iterator.next():
                found = np.array([row["face_pk"] for row in batch], dtype=np.int64)
                gone.append(found[known[np.searchsorted(known, found)] != found])
        for part in gone:
            if len(part):
                condition = f"{scope} and face_pk in {_listed(part)}"
                self._client.delete(self._faces, filter=condition, timeout=self._timeout)

    def _apply(self, app_pk: int, changes: Sequence[Change]) -> None:
        """Additions first: a replaced face is never missing in between."""
        added = surviving_additions(changes)
        if added:
            self._put(
                app_pk,
                ((change.face_pk, change.user_pk, change.group_pk) for change in added),
                np.stack([change.embedding for change in added if change.embedding is not None]),
            )
        for kind, field in (
            (ChangeKind.REMOVE_FACE, "face_pk"),
            (ChangeKind.REMOVE_USER, "user_pk"),
            (ChangeKind.REMOVE_GROUP, "group_pk"),
        ):
            gone = [getattr(change, field) for change in changes if change.kind is kind]
            if gone:
                condition = f"app_pk == {app_pk} and {field} in {_listed(gone)}"
                self._client.delete(self._faces, filter=condition, timeout=self._timeout)

    def _put_block(self, app_pk: int, block: Block) -> Keys:
        """Put faces in; returns their numbers."""
        face_pks, user_pks, group_pks, embeddings = block
        for start in range(0, len(face_pks), BATCH):
            part = slice(start, start + BATCH)
            keys = zip(face_pks[part].tolist(), user_pks[part].tolist(), group_pks[part].tolist(), strict=True)
            self._put(app_pk, keys, embeddings[part])
        return face_pks

    def _put(self, app_pk: int, keys: Iterable[tuple[int, int, int]], embeddings: Embeddings) -> None:
        rows = [
            {"face_pk": face_pk, "user_pk": user_pk, "group_pk": group_pk, "app_pk": app_pk, "embedding": embedding}
            for (face_pk, user_pk, group_pk), embedding in zip(keys, rounded(embeddings), strict=True)
        ]
        self._client.upsert(self._faces, rows, timeout=self._timeout)

    # --- inside: positions and collections ---

    def _stored_position(self, app_pk: int) -> _Position:
        rows = self._client.query(
            self._positions, filter=f"app_pk == {app_pk}", output_fields=_POSITION_FIELDS, consistency_level=_STRONG
        )
        return _Position.of(rows[0]) if rows else _Position(NOT_LOADED)

    def _store_position(self, app_pk: int, seq: int, mark: ChangeMark | None) -> None:
        numbers = ",".join(map(str, mark or ()))
        row = {"app_pk": app_pk, "seq": seq, "mark": numbers, "unused": [0.0, 0.0]}
        self._client.upsert(self._positions, [row], timeout=self._timeout)
        self._known[app_pk] = _Position(seq, mark)

    def _make_faces(self) -> None:
        """An app's faces share a partition: searches of one tenant do not read the others'."""
        if self._client.has_collection(self._faces):
            self._client.load_collection(self._faces)
            return
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("face_pk", DataType.INT64, is_primary=True)
        schema.add_field("app_pk", DataType.INT64, is_partition_key=True)
        schema.add_field("group_pk", DataType.INT64)
        schema.add_field("user_pk", DataType.INT64)
        schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=self._dimension)
        self._create(self._faces, schema, "embedding", self._index_type)

    def _make_positions(self) -> None:
        """How far each app has come. Milvus wants a vector in every collection; this one's means nothing."""
        if self._client.has_collection(self._positions):
            self._client.load_collection(self._positions)
            return
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("app_pk", DataType.INT64, is_primary=True)
        schema.add_field("seq", DataType.INT64)
        schema.add_field("mark", DataType.VARCHAR, max_length=200)
        schema.add_field("unused", DataType.FLOAT_VECTOR, dim=2)
        self._create(self._positions, schema, "unused", "FLAT")

    def _create(self, name: str, schema: Any, vector: str, index_type: str) -> None:
        indexes = MilvusClient.prepare_index_params()
        indexes.add_index(vector, index_type=index_type, metric_type="IP")
        self._client.create_collection(name, schema=schema, index_params=indexes, consistency_level=_STRONG)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except MilvusException as error:
        logger.warning("the vector database failed", extra={"reason": type(error).__name__, "code": error.code})
        raise ServiceUnavailable("the vector database does not answer") from error


def _listed(numbers: Iterable[int]) -> str:
    """As a list of Milvus' filter language. Numbers of ours, never text from outside."""
    return str([int(number) for number in numbers])
