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
"""Linux gives such a thread 0.4 times the time of one that searches. Higher values (7, 10) did harm: a thread that
waits long for a processor may hold the interpreter's lock or that of the process' memory map while it waits."""


class Maintained(Protocol):
    """An index that needs maintenance now and then."""

    def maintain(self, stopping: threading.Event) -> None:
        """Do what is due. When ``stopping`` is set, give up soon and leave the index as it was."""


class Maintenance:
    """A thread that maintains indexes one after the other, after they have called :meth:`due`."""

    def __init__(self) -> None:
        self._due: queue.SimpleQueue[weakref.ReferenceType[Maintained] | None] = queue.SimpleQueue()
        self._background = Background("index maintenance", self._run)

    def start(self) -> None:
        """Begin, with what is due already."""
        self._background.start()

    def stop(self) -> None:
        """Stop; returns when the thread has ended. Maintenance that is due is not done; searches only take longer."""
        self._background.stopping.set()
        self._due.put(None)
        self._background.stop()

    def due(self, index: Maintained) -> None:
        """Have ``index`` maintained, unless it is garbage collected before."""
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
    """Lower the priority of this thread alone, which only Linux can do."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
