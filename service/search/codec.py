"""Short codes of embeddings whose dot product with a full probe can be estimated very quickly.

Embeddings of faces lie close to a subspace with fewer dimensions than they have numbers: the leading principal axes
carry nearly all of their similarities. Pairs of these axes are coded with 4 bits each (product quantisation: Jégou,
Douze, Schmid 2011), and FAISS scans the codes in registers (André, Kermarrec, Le Scouarnec 2015; ``IndexPQFastScan``).
The probe is not coded: with codes on both sides, mates just above the threshold would be lost among a million
strangers.

Before coding, each axis is multiplied by the standard deviation of probes along it, and the probe is divided by it.
That leaves dot products unchanged. But k-means, which minimises squared distances, then minimises errors of dot
products.

A code also shortens a vector: a mate's similarity is estimated too low, by the part of the face that its code does not
keep. Mates whose faces are coded badly would be lost. So codes are chosen that keep about the same part of every face,
at the least cost to all dot products. That is the trade-off of anisotropic quantisation (Guo et al. 2020), with its
parallel part fixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from service.search.precision import singles
from service.values import Embedding, Embeddings

AXES = 128
"""Principal axes that are coded. They carry 90 to 93 % of the variance of the `core` embeddings, 98 % of its square."""
AXES_PER_CODE = 2
BITS = 4
TRAINING_ROWS = 20_000
"""More do not change the codes noticeably."""
LEAST_TRAINING_ROWS = 2**BITS
_LEAST_SHARE = 1e-4
"""Least deviation of an axis, as a share of the first axis' one; axes with less are weighted as if they had this
one."""
_SEED = 7
ALONG = 0.16
"""Weight of the error along the row itself (its parallel part); the rest is the weight of the error in all directions.
It is the square of a similarity just above the usual thresholds."""
SWEEPS = 3
"""How often each pair of axes is revised. Two sweeps leave 2 % more error of dot products (by hand)."""
_TELLING = 1024
"""Rows from which it is learnt which part of a face codes usually keep."""
FINE_AXES = 192
"""Principal axes of a fine code. What two faces share outside them is missing from its estimates: these deviate by .011
with 128 axes, .006 with 160, .004 with 192 and .003 with 224 (512 numbers, by hand)."""
FINE_REACH = 6.0
"""Deviations of an axis that a byte of a fine code reaches to, in steps of a twentieth of one; what is beyond is taken
for its end."""
_FINE_STEP = np.float32(FINE_REACH / np.iinfo(np.int8).max)
_PIECE = 2048
"""Rows at a time: what is computed of them stays in the processor's cache."""

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class CodecState:
    """All that makes a codec; matrices ``(dimension, axes)``, ``(axes, dimension)`` and ``(dimension, fine axes)``.

    ``trained`` is as FAISS writes it.
    """

    population: int
    encode: Matrix
    ask: Matrix
    finely: Matrix
    trained: NDArray[np.uint8]


class Codec:
    """Axes, weights and centroids, learnt from a sample; shared by segments and threads.

    Immutable, except that one restored from a snapshot learns from the first rows that it codes what codes usually
    keep.
    """

    def __init__(self, sample: Embeddings, population: int) -> None:
        """Learn from ``(n, dimension)`` rows, at least :data:`LEAST_TRAINING_ROWS`, out of ``population``."""
        rows = np.asarray(sample, dtype=np.float32)
        every, along = _principal(rows)
        order = _paired(min(AXES, rows.shape[1] // AXES_PER_CODE * AXES_PER_CODE))
        axes, deviations = every[:, order], along[order]
        self.population = population
        self._encode: Matrix = np.ascontiguousarray(axes * deviations)
        self._ask: Matrix = np.ascontiguousarray((axes / deviations).T)
        self._finely: Matrix = np.ascontiguousarray((every * along)[:, :FINE_AXES])
        self._trained = _empty(axes.shape[1])
        self._trained.pq.cp.seed = _SEED
        self._trained.pq.cp.min_points_per_centroid = 1  # says nothing of small samples
        self._trained.train(np.ascontiguousarray(rows @ self._encode))
        self._usual: float | None = float(_dots(*self._nearest(rows)[1:]).mean())

    @classmethod
    def restored(cls, state: CodecState) -> Codec:
        """The codec whose :meth:`state` this is."""
        codec = cls.__new__(cls)
        codec._take(state)  # noqa: SLF001 - ours
        return codec

    def _take(self, state: CodecState) -> None:
        self.population, self._encode, self._ask, self._finely = state.population, state.encode, state.ask, state.finely
        self._trained = faiss.deserialize_index(state.trained)
        self._usual = None  # not among what is kept in snapshots

    def state(self) -> CodecState:
        return CodecState(self.population, self._encode, self._ask, self._finely, faiss.serialize_index(self._trained))

    def encode(self, rows: Embeddings | NDArray[np.float16]) -> Matrix:
        """Rows in the form that is added to :meth:`empty_codes`: ``(n, axes)``."""
        encoded, asked, nearest = self._nearest(rows)
        quantiser = self._trained.pq
        centroids = faiss.vector_to_array(quantiser.centroids).reshape(quantiser.M, -1, AXES_PER_CODE)
        usual = self._usual
        if usual is None:
            usual = float(_dots(asked, nearest).mean()) if len(encoded) else 0.0
            if len(encoded) >= _TELLING:
                self._usual = usual
        for start in range(0, len(encoded), _PIECE):
            its = slice(start, start + _PIECE)
            encoded[its] = _evened(encoded[its], asked[its], nearest[its], centroids, usual)
        return encoded

    @cached_property
    def _step(self) -> Matrix:
        """What one stands for in a fine code ``(axes,)``: rows are coded times the deviation, so this is in squares."""
        step: Matrix = np.square(self._finely).sum(axis=0) * _FINE_STEP
        return step

    def _nearest(self, rows: Embeddings | NDArray[np.float16]) -> tuple[Matrix, Matrix, Matrix]:
        """The weighted rows, the same rows in the form of probes, and the nearest centroids of the former."""
        encoded: Matrix = np.ascontiguousarray(singles(rows) @ self._encode)
        quantiser = self._trained.pq
        # The axes have unit length before they are weighed: this undoes both weights.
        asked = encoded / np.square(self._encode).sum(axis=0)
        return encoded, asked, quantiser.decode(quantiser.compute_codes(encoded))

    @property
    def dimension(self) -> int:
        """Numbers of an embedding."""
        return int(self._encode.shape[0])

    @property
    def axes(self) -> int:
        """How many axes are coded."""
        return int(self._encode.shape[1])

    @property
    def fine_axes(self) -> int:
        """How many axes fine codes have."""
        return int(self._finely.shape[1])

    def fine(self, rows: Embeddings | NDArray[np.float16]) -> NDArray[np.int8]:
        """Each axis of ``(n, dimension)`` rows in a byte: ``(n, fine axes)``."""
        coded = (singles(rows) @ self._finely) / self._step
        most = np.iinfo(np.int8).max
        fine: NDArray[np.int8] = np.clip(np.rint(coded), -most, most).astype(np.int8)
        return fine

    def fine_question(self, probe: Embedding) -> Matrix:
        """What has the estimated similarity as its dot product with a fine code: ``(fine axes,)``."""
        # Along each axis the probe divided by the deviation, times the step, which has it squared.
        question: Matrix = np.asarray(probe, dtype=np.float32) @ self._finely * _FINE_STEP
        return question

    def empty_codes(self) -> Any:
        """A FAISS index for coded rows, without any."""
        return faiss.clone_index(self._trained)

    def question(self, probe: Embedding) -> Matrix:
        """The query ``(1, axes)`` to coded rows for a probe ``(dimension,)``."""
        question: Matrix = self._ask @ np.asarray(probe, dtype=np.float32)
        return question[np.newaxis]


def _evened(rows: Matrix, asked: Matrix, nearest: Matrix, centroids: Matrix, usual: float) -> Matrix:
    """Centroids ``(n, axes)`` for rows, chosen so that they keep about ``usual`` of each, beginning with the nearest.

    ``asked`` is what the rows would be looked for with themselves; ``centroids`` are ``(pairs, centroids, axes of a
    pair)``.
    """
    towards, itself, chosen = (_by_pair(each) for each in (2 * (1 - ALONG) * rows, asked, nearest))
    squares = (1 - ALONG) * np.square(centroids).sum(axis=2)
    kept, every = _dots(asked, nearest), np.arange(len(rows))
    for _ in range(SWEEPS):
        for pair, each in enumerate(centroids):
            others = kept - _dots(itself[pair], chosen[pair])
            keeps = itself[pair] @ each.T + others[:, np.newaxis]
            # Squared distances, but for the rows' own squares, which are the same for all centroids.
            cost = squares[pair] - towards[pair] @ each.T
            cost += ALONG * np.square(keeps - usual)
            best = cost.argmin(axis=1)
            chosen[pair], kept = each[best], keeps[every, best]
    found: Matrix = chosen.transpose(1, 0, 2).reshape(rows.shape)
    return found


def _by_pair(rows: Matrix) -> Matrix:
    """A copy ``(pairs, n, axes of a pair)``: what is looked at together lies together."""
    pairs = rows.reshape(len(rows), -1, AXES_PER_CODE).transpose(1, 0, 2)
    return np.ascontiguousarray(pairs, dtype=np.float32)


def _dots(rows: Matrix, others: Matrix) -> Matrix:
    """Dot products ``(n,)`` of each row with the other one."""
    return np.asarray(np.einsum("ij,ij->i", rows, others), dtype=np.float32)


def _principal(rows: Matrix) -> tuple[Matrix, Matrix]:
    """Principal axes ``(dimension, dimension)``, the strongest first, and the root mean squares along them."""
    second = rows.T @ rows / np.float32(len(rows))
    values, vectors = np.linalg.eigh(second.astype(np.float64))
    values, vectors = values[::-1], vectors[:, ::-1]
    deviations = np.sqrt(np.maximum(values, max(float(values[0]), 1e-12) * _LEAST_SHARE))
    return vectors.astype(np.float32), deviations.astype(np.float32)


def _paired(count: int) -> NDArray[np.int64]:
    """The first ``count`` axes in an order fit for coding in pairs.

    The strongest one is paired with the weakest and so on, so that every pair has about the same to tell.
    """
    half = count // AXES_PER_CODE
    return np.stack([np.arange(half), count - 1 - np.arange(half)], axis=1).ravel()


def _empty(axes: int) -> Any:
    return faiss.IndexPQFastScan(axes, axes // AXES_PER_CODE, BITS, faiss.METRIC_INNER_PRODUCT)
