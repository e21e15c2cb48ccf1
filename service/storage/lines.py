"""The open connections of a process, which it breaks off to come to its end while the database stands still."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import weakref
from typing import Any

import psycopg

logger = logging.getLogger(__name__)


class Lines:
    """Thread-safe.

    A database that was stopped, or whose disk hangs, keeps its connections open and answers nothing: its own time
    limits end no statement then, and nothing tells this from one that takes long.
    """

    def __init__(self) -> None:
        self._open: weakref.WeakSet[psycopg.Connection[Any]] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self.were_cut = False
        """Nothing is to be connected any more."""

    def check(self) -> None:
        """To be called before connecting. Raises ``psycopg.OperationalError`` once the connections were cut."""
        if self.were_cut:
            raise psycopg.OperationalError("the connections to the database were broken off, for the process ends")

    def add(self, connection: psycopg.Connection[Any]) -> None:
        """Take note of a connection; one that was being made while the others were cut is cut like them."""
        with self._lock:
            self._open.add(connection)
            late = self.were_cut
        if late:
            _break_off(connection)

    def cut_after(self, seconds: float) -> None:
        """Cut them then, unless ``spare`` was called or the process has ended by itself."""
        self._timer = threading.Timer(seconds, self.cut)
        self._timer.daemon = True
        self._timer.start()

    def spare(self) -> None:
        """Everything has come to its end in time."""
        if self._timer is not None:
            self._timer.cancel()

    def cut(self) -> None:
        """Break off every connection: who waits for an answer hears that there will be none."""
        with self._lock:
            self.were_cut = True
            found = list(self._open)
        for connection in found:
            _break_off(connection)


def _break_off(connection: psycopg.Connection[Any]) -> None:
    # What was closed meanwhile has no number; the system wakes up who waits for what is shut down.
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as line:
        line.shutdown(socket.SHUT_RDWR)
        logger.warning("a connection to the database is broken off, which did not answer before the end")
