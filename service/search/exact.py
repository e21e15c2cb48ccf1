"""The oracle: plain NumPy over everything. Slow, obvious, and what every other index is compared with."""

from __future__ import annotations

import threading

import numpy as np

from service.search.protocol import ANY_SIMILARITY, Candidate, Keys
from service.search.similarity import best_of_users, exact, rounded
from service.values import Embedding, Embeddings


class ExactIndex:
    """Satisfies :class:`service.search.protocol.GroupIndex`."""

    def __init__(self, dimension: int, expected: int = 0) -> None:
        del expected
        self._dimension = dimension
        self._faces: dict[int, tuple[int, Embedding]] = {}
        self._lock = threading.Lock()

    def add(self, face_pk: int, user_pk: int, embedding: Embedding) -> None:
        with self._lock:
            self._faces.setdefault(face_pk, (user_pk, rounded(embedding)))

    def add_many(self, face_pks: Keys, user_pks: Keys, embeddings: Embeddings) -> None:
        for face_pk, user_pk, embedding in zip(face_pks.tolist(), user_pks.tolist(), embeddings, strict=True):
            self.add(face_pk, user_pk, embedding)

    def remove_face(self, face_pk: int) -> None:
        with self._lock:
            self._faces.pop(face_pk, None)

    def remove_user(self, user_pk: int) -> None:
        with self._lock:
            self._faces = {face: kept for face, kept in self._faces.items() if kept[0] != user_pk}

    def __len__(self) -> int:
        return len(self._faces)

    def search(self, probe: Embedding, limit: int, min_similarity: float) -> list[Candidate]:
        with self._lock:
            faces = dict(self._faces)
        face_pks = np.array(list(faces), dtype=np.int64)
        user_pks = np.array([user for user, _ in faces.values()], dtype=np.int64)
        embeddings = np.array([kept for _, kept in faces.values()], dtype=np.float32).reshape(-1, self._dimension)
        return best_of_users(face_pks, user_pks, exact(embeddings, probe), limit, min_similarity)

    def search_user(self, probe: Embedding, user_pk: int) -> Candidate | None:
        everybody = self.search(probe, len(self), ANY_SIMILARITY)
        return next((candidate for candidate in everybody if candidate.user_pk == user_pk), None)

    def nbytes(self) -> int:
        return sum(embedding.nbytes for _, embedding in list(self._faces.values()))
