"""Whether large groups still find what they should: now and then a stored face is looked for in both ways.

What a segment's short list misses is measured when the segment is written (:mod:`service.search.tuning`); this watches
what becomes of it in service, as counters for Prometheus.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Sequence
from typing import Protocol, TypeGuard, runtime_checkable

from service.background import Background
from service.metrics import PROBED

logger = logging.getLogger(__name__)

SECONDS = 60.0
"""Between probes. One takes as long as comparing a probe with every face of the group, on one processor."""


@runtime_checkable
class Probed(Protocol):
    """An index that may miss users."""

    def coded_faces(self) -> int:
        """How many faces are searched by something that may miss them."""

    def probe_recall(self) -> tuple[int, int]:
        """Look for a stored face; how many of the best users should be found, and how many of them were."""


class RecallProbe:
    """A thread that probes one large index after the other, chosen by chance in proportion to their faces."""

    def __init__(self, indexes: Callable[[], Sequence[object]], *, seconds: float = SECONDS) -> None:
        """``indexes`` tells what there is; what is not :class:`Probed` is exact and left out."""
        self._indexes = indexes
        self._seconds = seconds
        self._background = Background("recall probe", self._run)

    def start(self) -> None:
        """Begin; the first probe comes after ``seconds``."""
        self._background.start()

    def stop(self) -> None:
        """Stop; returns when the thread has ended."""
        self._background.stop()

    def probe(self) -> tuple[int, int] | None:
        """Probe one index and count what was found; ``None`` where every index is exact."""
        large = [index for index in self._indexes() if _may_miss(index)]
        if not large:
            return None
        (index,) = random.choices(large, [each.coded_faces() for each in large])  # noqa: S311 - a sample
        expected, found = index.probe_recall()
        PROBED["found"].inc(found)
        PROBED["missed"].inc(expected - found)
        return expected, found

    def _run(self) -> None:
        for _ in self._background.rounds(self._seconds):
            try:
                self.probe()
            except Exception:
                logger.exception("a recall probe failed")


def _may_miss(index: object) -> TypeGuard[Probed]:
    return isinstance(index, Probed) and index.coded_faces() > 0
