"""What lies in Milvus: faces, and how far each app has come. Its requests, their time limit and their failures.

Two collections for each installation and set of weights: the faces, and beside them the positions in the change logs,
so that losing one loses both. Whenever they are made they get a name that none had before: a process that is filling
collections while others drop them, and make them anew, fails instead of telling of faces that went with them.
"""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc  # type: ignore[import-untyped]
import numpy as np
from pymilvus import DataType, MilvusClient, MilvusException

from service.errors import ServiceUnavailable
from service.search.protocol import NOT_LOADED, Keys
from service.search.similarity import rounded
from service.values import ChangeMark, Embedding, Embeddings

ROWS = 2000
"""Rows sent to Milvus at a time."""

MOST_ROWS = 16_384
"""What Milvus answers to one query at most (its documented quota of ``limit`` plus ``offset``)."""

MOST_LETTERS = 300
"""Of a failure's text that are told."""

_FAILURES = (MilvusException, grpc.RpcError)
"""The client lets some failures through as it got them, a deadline among them."""

_MARKS = "_marks"
_STRONG = "Strong"
_WEAK = "Eventually"
_FACE_FIELDS = ["face_pk", "user_pk", "group_pk", "embedding"]
_POSITION_FIELDS = ["app_pk", "seq", "mark", "filling"]

logger = logging.getLogger(__name__)
# The client writes a traceback of its own for every failure, in a form of its own; ``failed`` is told of them.
logging.getLogger("pymilvus").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class Position:
    """How far Milvus has come with an app; ``mark`` is ``None`` when the log did not have that change.

    ``filling`` names the last time that the app was put in from nothing; it is empty until that has come to its end.
    ``seq`` is ``NOT_LOADED`` while everything is put in, be it from nothing or (with a name) over what there is.
    """

    seq: int
    mark: ChangeMark | None = None
    filling: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Position:
        """As it stands in Milvus."""
        numbers = [int(number) for number in row["mark"].split(",") if number]
        return cls(int(row["seq"]), ChangeMark._make(numbers) if numbers else None, row["filling"])

    def holds(self, known: Position) -> bool:
        """Whether all that was there as of ``known`` still is: it was not filled from nothing since, nor put back."""
        return self.filling == known.filling and (self.seq >= known.seq or self.seq == NOT_LOADED)


class MilvusStore:
    """The collections of one installation and set of weights, so that several installations may share a Milvus.

    Conditions are in Milvus' filter language, made of numbers of ours.

    Methods raise ``ServiceUnavailable`` when Milvus does not answer or refuses.
    """

    def __init__(
        self,
        installation: str,
        model_id: str,
        dimension: int,
        *,
        uri: str,
        token: str,
        index_type: str,
        timeout: float,
        failed: Callable[[str, str], object],
    ) -> None:
        """Connect. ``timeout`` in seconds, of every request; ``failed`` is called with each failure's code and text."""
        self._dimension = dimension
        self._index_type = index_type
        self._limits = {"timeout": timeout}
        # What has no time limit is tried again for minutes.
        self._reading = {**self._limits, "consistency_level": _STRONG}
        self._failed = failed
        self._stem = re.sub(r"\W", "_", f"aipface_{installation}_{model_id}_")
        self._faces = self._positions = ""  # until ``make``
        with self._translated():
            self._client = _connected(uri, token, timeout)

    def close(self) -> None:
        """Let go of the connection."""
        with contextlib.suppress(MilvusException):
            self._client.close()

    # --- collections ---

    def is_made(self) -> bool:
        """Whether both collections that we know are there still."""
        with self._translated():
            return all(self._client.has_collection(name, **self._limits) for name in (self._faces, self._positions))

    def make(self) -> None:
        """Find the collections, and have them loaded; make them where there are none. One process at a time.

        One without the other goes: every app is put in anew. Of several pairs, which only somebody else can have put
        there, ours is kept.
        """
        with self._translated():
            there = self._client.list_collections(**self._limits)
            ours = {name for name in there if re.fullmatch(f"{self._stem}[0-9a-f]{{8}}({_MARKS})?", name)}
            pairs = sorted(name for name in ours if name + _MARKS in ours)
            for half in ours.difference(*((faces, faces + _MARKS) for faces in pairs)):
                self._client.drop_collection(half, **self._limits)
            if self._faces not in pairs:
                self._faces = pairs[0] if pairs else self._stem + secrets.token_hex(4)
                logger.info("faces are searched in the collection %s of the vector database", self._faces)
            self._positions = self._faces + _MARKS
            self._make_faces()
            self._make_positions()

    # --- positions ---

    def positions(self) -> dict[int, Position]:
        """How far each app has come; those of some apps only, where there are very many."""
        with self._translated():
            rows = self._client.query(
                self._positions,
                filter="app_pk >= 0",
                output_fields=_POSITION_FIELDS,
                limit=MOST_ROWS,
                **self._reading,
            )
        return {int(row["app_pk"]): Position.of(row) for row in rows}

    def position(self, app_pk: int) -> Position:
        """How far one app has come."""
        return self._position(app_pk, _STRONG)

    def holds(self, app_pk: int, known: Position) -> bool:
        """Whether all faces that an app was known to have here are here still.

        First asked without waiting for Milvus' latest writes, which costs a strong reader some of its time ticks. Who
        is told of the same filling by that can believe it: a row that is not the latest is of these collections all
        the same, and they were not emptied since. It may be older than what we know, so a no is asked again.
        """
        return any(self._position(app_pk, consistency).holds(known) for consistency in (_WEAK, _STRONG))

    def put_position(self, app_pk: int, position: Position) -> None:
        numbers = ",".join(map(str, position.mark or ()))
        row = {"app_pk": app_pk, "seq": position.seq, "mark": numbers, "filling": position.filling}
        with self._translated():
            self._client.upsert(self._positions, [{**row, "unused": [0.0, 0.0]}], **self._limits)

    def delete_position(self, app_pk: int) -> None:
        with self._translated():
            self._client.delete(self._positions, ids=[app_pk], **self._limits)

    # --- faces ---

    def nearest_users(self, probe: Embedding, condition: str, limit: int) -> list[int]:
        """The users with the faces most similar to the probe, among those of a condition, best first."""
        with self._translated():
            (found,) = self._client.search(
                self._faces,
                [probe],
                filter=condition,
                limit=min(limit, MOST_ROWS),
                group_by_field="user_pk",
                output_fields=["user_pk"],
                **self._reading,
            )
        return [int(hit["entity"]["user_pk"]) for hit in found]

    def faces(self, condition: str) -> tuple[Keys, Keys, Keys, Embeddings]:
        """All faces of a condition: their numbers, those of users and groups, embeddings ``(n, dimension)``."""
        rows = [row for batch in self._batches(condition, _FACE_FIELDS, 1000) for row in batch]
        face_pks, user_pks, group_pks = (
            np.array([row[name] for row in rows], np.int64) for name in ("face_pk", "user_pk", "group_pk")
        )
        embeddings = np.array([row["embedding"] for row in rows], np.float32).reshape(len(rows), self._dimension)
        return face_pks, user_pks, group_pks, embeddings

    def face_pks(self, condition: str) -> Iterator[Keys]:
        """The numbers of all faces of a condition, some at a time."""
        for batch in self._batches(condition, ["face_pk"], ROWS):
            yield np.array([row["face_pk"] for row in batch], dtype=np.int64)

    def count(self) -> int:
        """How many faces there are."""
        with self._translated():
            (row,) = self._client.query(self._faces, filter="app_pk >= 0", output_fields=["count(*)"], **self._reading)
        return int(row["count(*)"])

    def put(self, app_pk: int, keys: Iterable[tuple[int, int, int]], embeddings: Embeddings) -> None:
        """Put faces in: numbers of face, user and group, and embeddings ``(n, dimension)``."""
        rows = [
            {"face_pk": face_pk, "user_pk": user_pk, "group_pk": group_pk, "app_pk": app_pk, "embedding": embedding}
            for (face_pk, user_pk, group_pk), embedding in zip(keys, rounded(embeddings), strict=True)
        ]
        with self._translated():
            self._client.upsert(self._faces, rows, **self._limits)

    def delete(self, condition: str) -> None:
        """Delete the faces of a condition, some at a time: however many there are, each request ends in its time."""
        for part in list(self.face_pks(condition)):
            self.delete_faces(part)

    def delete_faces(self, face_pks: Keys) -> None:
        """Delete faces by their numbers, as far as they are there."""
        for start in range(0, len(face_pks), ROWS):
            with self._translated():
                self._client.delete(self._faces, ids=face_pks[start : start + ROWS].tolist(), **self._limits)

    # --- inside ---

    def _position(self, app_pk: int, consistency: str) -> Position:
        with self._translated():
            rows = self._client.query(
                self._positions,
                filter=f"app_pk == {app_pk}",
                output_fields=_POSITION_FIELDS,
                **{**self._reading, "consistency_level": consistency},
            )
        return Position.of(rows[0]) if rows else Position(NOT_LOADED)

    def _batches(self, condition: str, fields: Sequence[str], size: int) -> Iterator[list[dict[str, Any]]]:
        with self._translated():
            iterator = self._client.query_iterator(
                self._faces, batch_size=size, filter=condition, output_fields=list(fields), **self._reading
            )
        with contextlib.closing(iterator):
            while True:
                with self._translated():
                    batch = iterator.next()
                if not batch:
                    return
                yield batch

    def _make_faces(self) -> None:
        """An app's faces share a partition: searches of one tenant do not read the others'."""
        if self._client.has_collection(self._faces, **self._limits):
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
        if self._client.has_collection(self._positions, **self._limits):
            self._client.load_collection(self._positions)
            return
        schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("app_pk", DataType.INT64, is_primary=True)
        schema.add_field("seq", DataType.INT64)
        schema.add_field("mark", DataType.VARCHAR, max_length=200)
        schema.add_field("filling", DataType.VARCHAR, max_length=50)
        schema.add_field("unused", DataType.FLOAT_VECTOR, dim=2)
        self._create(self._positions, schema, "unused", "FLAT")

    def _create(self, name: str, schema: Any, vector: str, index_type: str) -> None:
        indexes = MilvusClient.prepare_index_params()
        indexes.add_index(vector, index_type=index_type, metric_type="IP")
        self._client.create_collection(name, schema=schema, index_params=indexes, consistency_level=_STRONG)

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except _FAILURES as error:
            self._failed(*_code_and_reason(error))
            raise ServiceUnavailable("the vector database does not answer") from error


def listed(numbers: Iterable[int]) -> str:
    """As a list of Milvus' filter language. Numbers of ours, never text from outside."""
    return str([int(number) for number in numbers])


def trouble(uri: str, token: str, timeout: float) -> str:
    """Why a Milvus cannot be asked, within ``timeout`` seconds for each request; nothing of one that answers."""
    try:
        client = _connected(uri, token, timeout)
        try:
            client.list_collections(timeout=timeout)
        finally:
            client.close()
    except _FAILURES as error:
        return _code_and_reason(error)[1] or "no reason is given"
    return ""


def _connected(uri: str, token: str, timeout: float) -> MilvusClient:
    """Raises one of ``_FAILURES``."""
    try:
        return MilvusClient(uri=uri, token=token, timeout=timeout)
    except ValueError as error:  # of a port that is no number
        raise MilvusException(message=str(error)) from None


def _code_and_reason(error: Any) -> tuple[str, str]:
    """What one of ``_FAILURES`` says."""
    code, text = (error.code, error.message) if isinstance(error, MilvusException) else (error.code(), error.details())
    return str(code), " ".join(str(text).split())[:MOST_LETTERS]
