"""The codes of many rows: short ones in slabs that two threads may scan beside each other, and fine ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from service.search.codec import Codec, Matrix
from service.search.fine import Bytes, room_for
from service.search.pages import prefer_huge

SLAB = 2**19
"""Most rows of a slab: a million make two. The second costs who scans alone .1 to .2 ms, for its own short list."""

_BLOCK = 32
"""Rows that FAISS packs together, the ``bbs`` of its fast scan."""

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Slab:
    """Rows from ``first`` on, as FAISS scans them."""

    first: int
    packed: Any

    def __len__(self) -> int:
        return int(self.packed.ntotal)

    def estimated(self, question: Matrix, count: int) -> tuple[NDArray[np.float32], Rows]:
        """Estimated similarities ``(count,)``, falling, and rows of the best for what :meth:`Codec.question` made.

        ``count`` is at most the number of rows.
        """
        estimates, rows = self.packed.search(question, count)
        return estimates[0], rows[0] + self.first


class Codes:
    """Codes of so many rows by one codec, row after row, in slabs of one size but for the last."""

    def __init__(self, codec: Codec, rows: int, fine: Bytes | None = None) -> None:
        """Without codes yet, but for ``fine`` ones that are known already."""
        self.codec = codec
        self.slabs: list[Slab] = []
        self.fine = room_for(codec, rows) if fine is None else fine
        even = -(-rows // max(1, -(-rows // SLAB)))
        self._size = -(-even // _BLOCK) * _BLOCK

    @classmethod
    def restored(cls, codec: Codec, serialized: NDArray[np.uint8], fine: Bytes | None) -> Codes:
        """What :meth:`serialized` was asked of, and its fine codes. Raises what FAISS raises for anything else."""
        whole: Any = faiss.deserialize_index(serialized)
        codes, packed, total = cls(codec, whole.ntotal, fine), _packed(whole), int(whole.ntotal)
        for first in range(0, total, codes._size):
            end = min(first + codes._size, total)
            codes._append(end - first, packed[_blocks(first) : _blocks(end)])
        codes.settle()
        return codes

    def __len__(self) -> int:
        return sum(map(len, self.slabs))

    def nbytes(self) -> int:
        """Memory of the codes, in bytes."""
        short = sum(int(slab.packed.codes.size()) for slab in self.slabs)
        return short + (0 if self.fine is None else self.fine.nbytes)

    def add(self, rows: NDArray[np.float16]) -> None:
        """Code ``(n, dimension)`` more rows; :meth:`settle` is due after the last of them."""
        if self.fine is not None:
            self.fine[len(self) : len(self) + len(rows)] = self.codec.fine(rows)
        encoded = self.codec.encode(rows)
        while len(encoded):
            if not self.slabs or len(self.slabs[-1]) == self._size:
                self._append(0, np.empty(0, dtype=np.uint8))
            room = self._size - len(self.slabs[-1])
            self.slabs[-1].packed.add(encoded[:room])
            encoded = encoded[room:]

    def settle(self) -> None:
        """There will be no more rows: have them where they are read fastest."""
        for slab in self.slabs:
            packed = _packed(slab.packed)
            prefer_huge(packed.ctypes.data, packed.nbytes)

    def serialized(self, blank: NDArray[np.int64]) -> NDArray[np.uint8]:
        """All codes as one index in FAISS's own form, those of the rows ``blank`` zeroed."""
        whole = self._index(len(self), np.concatenate([_packed(slab.packed) for slab in self.slabs]))
        packer, packed = whole.get_CodePacker(), _packed(whole)
        zeros = np.zeros(packer.code_size, dtype=np.uint8)
        for row in blank.tolist():
            # In its own block: FAISS takes what it is handed for one block, and looks no further.
            packer.pack_1(zeros, row % _BLOCK, packed[row // _BLOCK : row // _BLOCK + 1])
        return faiss.serialize_index(whole)

    def _append(self, count: int, packed: NDArray[np.uint8]) -> None:
        self.slabs.append(Slab(len(self), self._index(count, packed)))

    def _index(self, count: int, packed: NDArray[np.uint8]) -> Any:
        index = self.codec.empty_codes()
        if count:
            faiss.copy_array_to_AlignedTable(packed.ravel(), index.codes)
            index.ntotal, index.ntotal2 = count, _blocks(count) * _BLOCK
        return index


def _packed(index: Any) -> NDArray[np.uint8]:
    """The codes of an index where they lie, a row of ``(blocks, bytes)`` for :data:`_BLOCK` of its rows."""
    memory: NDArray[np.uint8] = faiss.rev_swig_ptr(index.codes.get(), index.codes.size())
    return memory.reshape(_blocks(index.ntotal), -1)


def _blocks(rows: int) -> int:
    """How many blocks so many rows fill, the last perhaps in part."""
    return -(-rows // _BLOCK)
