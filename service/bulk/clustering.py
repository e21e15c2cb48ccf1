"""Sorting faces whose names nobody knows into people, by embeddings alone.

Each face is linked to its nearest neighbours. Each connected component of that graph is then split into people by
average linkage: a single wrong neighbour links two people, but the mean similarity over all their pairs separates them
again. Only the faces of one component are compared all with all, so that memory grows with the number of faces and not
with its square.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from service.calibration.scores import ScoreTable
from service.values import Embeddings

NEIGHBOURS = 32
"""Neighbours that each face is linked to. More change nothing as long as a person's faces are connected."""

LINK_SCORE = 70.0
"""Neighbours that score less are not linked. It is a false accept rate of 1e-3 a pair; few genuine pairs score less."""

PERSON_SCORE = 90.0
"""Two clusters are one person when the mean similarity over their pairs reaches this score. It was the best value on
each half of the people of LFW; values from 85 to 93 make little difference (docs/bulk.md)."""

MOST_TOGETHER = 4000
"""Most faces of a component that are compared all with all (128 MB). A larger component is split by linking only faces
of higher similarity."""

_ROWS = 1024
_STEP = 0.02
_NEARLY_ONE = 0.99

Labels = NDArray[np.int64]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """``labels`` ``(n,)``: each face's person, 0 for the one with most faces.

    ``confidence`` ``(n,)``: the score of the face's mean similarity to the other faces of its person, 0..100; NaN for
    a person of one face.
    """

    labels: Labels
    confidence: NDArray[np.float64]


def people_of(embeddings: Embeddings, scores: ScoreTable, *, threads: int = 1) -> People:
    """Sort faces ``(n, dimension)`` of unit length into people. The same faces give the same people.

    Neighbours are looked for in so many ``threads``.
    """
    if not len(embeddings):
        return People(np.zeros(0, np.int64), np.zeros(0))
    least, together = scores.similarity(LINK_SCORE), scores.similarity(PERSON_SCORE)
    edges = _edges(embeddings, min(NEIGHBOURS, len(embeddings) - 1), min(least, together), threads)
    labels = np.zeros(len(embeddings), np.int64)
    count = 0
    for part in _parts(edges, np.arange(len(embeddings)), min(least, together)):
        own = _told_apart(embeddings[part], together)
        labels[part] = count + own
        count += int(own.max()) + 1
    labels = _largest_first(labels)
    return People(labels, _confidence(embeddings, labels, scores))


@dataclass(frozen=True, slots=True, eq=False)
class _Edges:
    """Pairs of neighbours, by their rows, and their similarity."""

    first: Labels
    second: Labels
    similarity: Floats


def _edges(embeddings: Embeddings, neighbours: int, least: float, threads: int) -> _Edges:
    """Each face with its nearest ones of at least this similarity; exact."""
    index = faiss.IndexFlatIP(embeddings.shape[1])
    index.add(embeddings)

    def of_block(start: int) -> _Edges:
        found, rows = index.search(embeddings[start : start + _ROWS], neighbours + 1)
        own = np.broadcast_to(np.arange(start, start + len(found))[:, np.newaxis], found.shape)
        kept = (found >= least) & (rows != own)
        return _Edges(own[kept], rows[kept], found[kept])

    with ThreadPoolExecutor(threads) as pool:
        blocks = list(pool.map(of_block, range(0, len(embeddings), _ROWS)))
    return _Edges(
        np.concatenate([block.first for block in blocks]),
        np.concatenate([block.second for block in blocks]),
        np.concatenate([block.similarity for block in blocks]),
    )


def _parts(edges: _Edges, rows: Labels, least: float) -> Iterator[Labels]:
    """Connected components among ``rows`` by links of at least ``least``, each of at most ``MOST_TOGETHER`` faces.

    Larger groups of nearly identical pictures are not split; the first of them stands for all.
    """
    place = np.full(int(rows.max()) + 1, -1, np.int64)
    place[rows] = np.arange(len(rows))
    inside = (edges.similarity >= least) & (edges.first < len(place)) & (edges.second < len(place))
    inside[inside] &= (place[edges.first[inside]] >= 0) & (place[edges.second[inside]] >= 0)
    own = _Edges(edges.first[inside], edges.second[inside], edges.similarity[inside])
    graph = coo_matrix(
        (np.ones(len(own.first), np.int8), (place[own.first], place[own.second])), shape=(len(rows), len(rows))
    )
    _, labels = connected_components(graph, directed=False)
    order = np.argsort(labels, kind="stable")
    for part in np.split(rows[order], np.flatnonzero(np.diff(labels[order])) + 1):
        if len(part) <= MOST_TOGETHER:
            yield part
        elif least < _NEARLY_ONE:
            yield from _parts(own, part, least + _STEP)
        else:
            yield from np.split(part, range(MOST_TOGETHER, len(part), MOST_TOGETHER))


def _told_apart(embeddings: Embeddings, together: float) -> Labels:
    """People among faces that hang together, by average linkage on cosines; numbered from 0."""
    if len(embeddings) == 1:
        return np.zeros(1, np.int64)
    upper = np.triu_indices(len(embeddings), 1)
    distances = np.clip(1 - (embeddings @ embeddings.T)[upper], 0, 2).astype(np.float64)
    tree = linkage(distances, method="average")
    return np.asarray(fcluster(tree, 1 - together, criterion="distance"), np.int64) - 1


def _largest_first(labels: Labels) -> Labels:
    """The same people, numbered by how many faces they have, then by their first face."""
    _, first, back, counts = np.unique(labels, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, -counts))
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    return np.asarray(number[back], np.int64)


def _confidence(embeddings: Embeddings, labels: Labels, scores: ScoreTable) -> NDArray[np.float64]:
    counts = np.bincount(labels)
    sums = np.zeros((len(counts), embeddings.shape[1]), np.float64)
    np.add.at(sums, labels, embeddings)
    # The sum of a face's cosines with all faces of its person, less the one with itself.
    cosines = np.einsum("ij,ij->i", sums[labels], embeddings.astype(np.float64)) - 1
    others = counts[labels] - 1
    found = np.full(len(labels), np.nan)
    several = others > 0
    found[several] = [scores.score(float(mean)) for mean in np.clip(cosines[several] / others[several], -1, 1)]
    return found
