"""What an index of one group can do, and where the catalog gets its content from."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from service.values import Change, ChangeMark, Embedding, Embeddings, Hit, LogHead

Keys = NDArray[np.int64]
"""``(n,)`` int64: numbers of faces, users or groups."""

Block = tuple[Keys, Keys, Keys, Embeddings]
"""Face, user and group numbers, each ``(n,)``, and embeddings ``(n, dimension)``."""

Blocks = Generator[Block, None, int]
"""Returns how many faces it left out, because they cannot be read."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A user's best face for a probe, with the cosine as :func:`service.search.similarity.exact` computes it."""

    user_pk: int
    face_pk: int
    similarity: float


@dataclass(frozen=True, slots=True)
class IndexSize:
    """How much is searchable; ``groups`` and ``nbytes`` (memory) are ``None`` where another program holds the index."""

    faces: int
    groups: int | None
    nbytes: int | None


NOT_LOADED = -1
"""Position of an app that has not been loaded yet."""

NOT_REMOVED: int = np.iinfo(np.int64).max
"""The version from which on a row is gone that is not marked."""
NOW = NOT_REMOVED - 1
"""The version as of which all marks count."""

ANY_SIMILARITY = -2.0
"""Less than any cosine, however it was rounded: as the least similarity it leaves nobody out."""


@dataclass(frozen=True, slots=True)
class Faces:
    """Faces of a group: numbers ``(n,)`` and embeddings ``(n, dimension)`` of half or single precision."""

    face_pks: Keys
    user_pks: Keys
    embeddings: Embeddings | NDArray[np.float16]


class GroupIndex(Protocol):
    """The faces of one group.

    Every method may be called from any thread at any time. A search sees each change either whole or not at all; a
    face is found as soon as the call that added it has returned, and not any more once its removal has.
    """

    def add(self, face_pk: int, user_pk: int, embedding: Embedding) -> None:
        """Add one face. A ``face_pk`` that is there already is left as it is: numbers are never given twice."""

    def add_many(self, face_pks: Keys, user_pks: Keys, embeddings: Embeddings) -> None:
        """Add faces ``(n,)``, ``(n,)``, ``(n, dimension)``; the arrays are copied."""

    def remove_face(self, face_pk: int) -> None:
        """Remove a face, if it is there."""

    def remove_user(self, user_pk: int) -> None:
        """Remove all faces of a user, if there are any."""

    def __len__(self) -> int:
        """How many faces there are."""

    def search(self, probe: Embedding, limit: int, min_similarity: float) -> list[Candidate]:
        """The ``limit`` users with the best faces of at least ``min_similarity``, by (-similarity, face_pk)."""

    def search_user(self, probe: Embedding, user_pk: int) -> Candidate | None:
        """The best face of one user; None when there is none."""

    def nbytes(self) -> int:
        """Memory held by the index, in bytes."""


class IndexFactory(Protocol):
    """Makes an empty index for embeddings of ``dimension`` numbers, with room for about ``expected`` faces."""

    def __call__(self, dimension: int, expected: int) -> GroupIndex: ...


class ChangeSource(Protocol):
    """The truth that indexes are made from: a snapshot of everything, and each app's ordered change log.

    All methods raise what the storage raises when it is away; the catalog lets that pass.
    """

    def snapshot(
        self, app_pk: int | None = None, *, without: Collection[int] = ()
    ) -> Generator[tuple[int, LogHead, Blocks], None, None]:
        """``(app_pk, head, blocks)`` for every app but some, or for one, as of one moment; the log ends at ``head``.

        The blocks of an app have to be used up before the next app is asked for.
        """

    def changes_since(self, app_pk: int, seq: int, limit: int) -> list[Change]:
        """The first ``limit`` changes after ``seq`` that the log still has."""

    def head(self, app_pk: int) -> int | None:
        """Number of the last change, 0 before the first, None when there is no such app."""

    def heads(self) -> dict[int, int]:
        """The same for every app."""

    def mark(self, app_pk: int, seq: int) -> ChangeMark | None:
        """The row of one change; ``None`` when the log does not have it, any more or yet."""

    def count(self, app_pk: int) -> tuple[int, int]:
        """The log's head and how many faces there are, those too that cannot be read, as of one moment."""


class FaceSearch(Protocol):
    """Every app's faces, searchable, and following the change log: a ``Catalog`` in memory, or one in Milvus."""

    def load(self) -> None:
        """Bring every app up to date."""

    def catch_up(self, app_pk: int, seq: int | None = None) -> None:
        """Return when every change up to ``seq``, or up to the head of the log as of now, is found by searches."""

    def catch_up_all(self) -> None:
        """Catch up with every app, including those that have appeared or gone."""

    def position(self, app_pk: int) -> int:
        """Number of the app's last change that searches are known to see; ``NOT_LOADED`` when there is none."""

    def search(
        self, app_pk: int, group_pks: Sequence[int], probe: Embedding, limit: int, min_similarity: float
    ) -> list[Hit]:
        """Users of several groups with at least ``min_similarity``, by (-similarity, face_pk).

        The ``limit`` best of them, and more where that is needed to name the ``limit`` best people: a person may be a
        user of each of the groups.
        """

    def search_user(
        self, app_pk: int, group_pks: Sequence[int], user_pks: Sequence[int], probe: Embedding
    ) -> list[Hit]:
        """The best face of each of the users, as far as they are in the groups, by (-similarity, face_pk)."""

    def faces(self) -> int:
        """How many faces are searchable."""

    def origin(self) -> str:
        """Where the index came from at the start, for people; empty where there is nothing to tell."""

    def size(self) -> IndexSize:
        """Faces, groups and memory."""
