"""The one function that computes the similarities of answers.

Every index finds candidates in its own way and scores them here, so that all indexes agree to the last bit: sums are in
double precision and in an order that depends only on the row itself. (A matrix product would not do: its kernels sum a
row differently depending on its place in the matrix, so that equal faces would get different scores.)
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from service.search.precision import halves, singles
from service.search.protocol import Candidate, Keys
from service.values import Embedding, Embeddings

SLACK = 1e-5
"""More than the difference between :func:`exact` and any single precision dot product of unit vectors in use here."""


def rounded(embeddings: Embeddings) -> Embeddings:
    """Embeddings as every index keeps them: rounded to half precision, as float32.

    A large group could not be held otherwise, and scores must not depend on a group's size. It moves a cosine by
    some 1e-5, far less than another JPEG quality does.
    """
    return singles(halves(embeddings))


def exact(embeddings: Embeddings | NDArray[np.float16], probe: Embedding) -> NDArray[np.float64]:
    """Cosines ``(n,)`` of unit vectors ``(n, dimension)`` with ``probe``."""
    products = np.multiply(singles(embeddings), probe, dtype=np.float64, order="C")
    return cast("NDArray[np.float64]", products.sum(axis=1))


def nearest_of_users(similarities: NDArray[np.float32], user_pks: Keys, users: Keys) -> NDArray[np.intp]:
    """Places, rising, of the faces of which one is its user's best: no other has to be scored exactly.

    ``similarities`` ``(n,)`` are any single precision ones; ``users`` all those in ``user_pks``, rising.
    """
    whose = np.searchsorted(users, user_pks)
    best = np.full(len(users), -np.inf, dtype=np.float32)
    np.maximum.at(best, whose, similarities)
    return np.flatnonzero(similarities >= best[whose] - np.float32(2 * SLACK))


def best_of_users(
    face_pks: Keys, user_pks: Keys, similarities: NDArray[np.float64], limit: int, min_similarity: float
) -> list[Candidate]:
    """Each user's best face of at least ``min_similarity``, best users first, ties by ``face_pk``."""
    order = np.lexsort((face_pks, -similarities))
    found: dict[int, Candidate] = {}
    for row in order.tolist():
        similarity = float(similarities[row])
        if similarity < min_similarity or len(found) == limit:
            break
        user_pk = int(user_pks[row])
        if user_pk not in found:
            found[user_pk] = Candidate(user_pk, int(face_pks[row]), similarity)
    return list(found.values())


def best_of_lists(lists: Iterable[Sequence[Candidate]], limit: int, min_similarity: float) -> list[Candidate]:
    """The same out of what several parts of an index found."""
    found = list(itertools.chain.from_iterable(lists))
    return best_of_users(
        np.array([one.face_pk for one in found], dtype=np.int64),
        np.array([one.user_pk for one in found], dtype=np.int64),
        np.array([one.similarity for one in found]),
        limit,
        min_similarity,
    )
