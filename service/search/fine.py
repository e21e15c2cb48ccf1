"""Fine codes: more axes than those of :mod:`service.search.codec`, a byte each, to look again at what those have found.

A short list is long because short codes are coarse, and to compare a row with its embedding costs most in waiting for
a kilobyte from memory. A fine code is less than a fifth of that and errs a seventh as much as a short one, so that only
a small part of the list has to be compared.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.search.codec import Codec, Matrix
from service.search.pages import prefer_huge

SHARE = 0.1875
"""Most memory that they may take, as a share of the embeddings'. With codes and keys the whole stays below 1.3 times
the embeddings. So embeddings of 512 numbers have them, those of 192 do not: of these they would be a half."""


Bytes = NDArray[np.int8]


def are_worth(axes: int, dimension: int) -> bool:
    """Whether fine codes are enough smaller than embeddings in half precision."""
    return axes <= SHARE * 2 * dimension


def room_for(codec: Codec, rows: int) -> Bytes | None:
    """Zeros for the fine codes ``(rows, axes)`` of so many rows; ``None`` where they are not worth their memory."""
    if not are_worth(codec.fine_axes, codec.dimension):
        return None
    room = np.zeros((rows, codec.fine_axes), dtype=np.int8)
    prefer_huge(room.ctypes.data, room.nbytes)
    return room


def refined(fine: Bytes, question: Matrix, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Estimated similarities ``(n,)`` of some rows with what :meth:`Codec.fine_question` made."""
    near: NDArray[np.float32] = fine.take(rows, axis=0, mode="clip").astype(np.float32) @ question
    return near
