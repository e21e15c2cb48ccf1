"""Faces rewritten as coded segments, by codes that fit them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import numpy as np

from service.search.codec import LEAST_TRAINING_ROWS, TRAINING_ROWS, Codec
from service.search.protocol import Faces
from service.search.segment import BLOCK, Segment
from service.search.tuning import short_list

logger = logging.getLogger(__name__)

RETRAIN_RATIO = 4
"""Codes are learnt anew for a segment with this many times the rows that they were learnt from."""
POOR_LIST = 4.0
"""Codes learnt from other faces fit a segment badly if its list is longer than this many times the square root of its
rows. With their own codes, synthetic faces need lists of 1.6 (a million rows) to 3.3 (30,000) times the root, by
hand."""
LEAST_JUDGED = 2048
"""Codes of segments with fewer rows are not judged: these are compared as a whole in no time."""
TRY_AGAIN = 1.5
"""Where newly learnt codes were no better, they are learnt again only for this many times the rows."""


class Sealer:
    """Makes segments, by codes learnt of most faces so far. Used by one thread at a time."""

    def __init__(self) -> None:
        self.codec: Codec | None = None
        self._in_vain = 0

    def sealed(self, faces: Faces, pause: Callable[[], None]) -> Segment:
        """A segment of the faces, coded where they are enough; ``pause`` is called in between and may raise."""
        begun = time.monotonic()
        segment = Segment(faces)
        total = len(segment.face_pks)
        if total < LEAST_TRAINING_ROWS:
            return segment
        codec = self.codec
        if codec is None or total >= RETRAIN_RATIO * codec.population:
            codec = _learnt(segment)
            _code(segment, codec, pause)
        else:
            _code(segment, codec, pause)
            if _is_poor(segment.short_list, total) and total >= TRY_AGAIN * self._in_vain:
                own = self._better(segment, codec, pause)
                # Of fewer faces than the known codes they are this segment's alone.
                codec = own if own.population >= codec.population else codec
        self.codec = codec
        seconds = time.monotonic() - begun
        logger.info("sealed a segment of %d faces in %.1f s, short list %d", total, seconds, segment.short_list)
        return segment

    def _better(self, segment: Segment, codec: Codec, pause: Callable[[], None]) -> Codec:
        """Have ``segment`` coded anew by what is learnt of it; whichever codec serves it better."""
        before, old = segment.short_list, segment.take_codes()
        own = _learnt(segment)
        _code(segment, own, pause)
        if segment.short_list and (not before or segment.short_list < before):
            logger.info("codes were learnt anew: a list of %d instead of %d", segment.short_list, before)
            return own
        segment.put_codes(old, before)
        self._in_vain = len(segment.face_pks)
        return codec


def _is_poor(length: int, total: int) -> bool:
    return total >= LEAST_JUDGED and (length == 0 or length > POOR_LIST * total**0.5)


def _learnt(segment: Segment) -> Codec:
    total = len(segment.face_pks)
    rows = np.random.default_rng(0).choice(total, min(total, TRAINING_ROWS), replace=False)
    return Codec(segment.embeddings[np.sort(rows)].astype(np.float32), total)


def _code(segment: Segment, codec: Codec, pause: Callable[[], None]) -> None:
    total = len(segment.face_pks)
    for start in range(0, total, BLOCK):
        segment.code(codec, start, min(start + BLOCK, total))
        pause()
    segment.short_list = short_list([segment], pause)
