"""The thread that reorganises large indexes beside the searches."""

from __future__ import annotations

import logging
import os
import queue
import sys
import threading
import weakref
from typing import Protocol

import faiss

from service.background import Background

logger = logging.getLogger(__name__)

NICENESS = 4
"""Linux gives such a thread 0.4 times the time of one that searches. Much less (7, 10) did harm: a thread that waits
long for a processor keeps what it holds meanwhile, the interpreter or the process' memory map, from all others."""


class Maintained(Protocol):
    """Something that has work to do now and then."""

    def maintain(self, stopping: threading.Event) -> None:
        """Do what is due; give up soon, leaving things as they were, when ``stopping`` is set."""


class Maintenance:
    """Indexes say when they are due; one after the other is seen to, on one processor."""

    def __init__(self) -> None:
        self._due: queue.SimpleQueue[weakref.ReferenceType[Maintained] | None] = queue.SimpleQueue()
        self._background = Background("index maintenance", self._run)

    def start(self) -> None:
        """Begin; what is due already is seen to."""
        self._background.start()

    def stop(self) -> None:
        """Stop; returns when the thread has ended. What is due stays undone, which costs only time at searches."""
        self._background.stopping.set()
        self._due.put(None)
        self._background.stop()

    def due(self, index: Maintained) -> None:
        """``index`` wants to be maintained; it is forgotten when nobody else holds it."""
        self._due.put(weakref.ref(index))

    def _run(self) -> None:
        faiss.omp_set_num_threads(1)  # of this thread: the other processors are for searches
        _give_way()
        while (reference := self._due.get()) is not None and not self._background.stopping.is_set():
            index = reference()
            if index is None:
                continue
            try:
                index.maintain(self._background.stopping)
            except Exception:
                logger.exception("maintenance of an index failed")
            del index


def _give_way() -> None:
    """Let the system prefer all other threads to this one, where it tells threads apart by that."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
