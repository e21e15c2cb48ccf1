"""Copies of something that one caller at a time can use, made when they are missing, beside those who wait."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

logger = logging.getLogger(__name__)

C = TypeVar("C")

PATIENCE = 60.0
"""Seconds until it is tried again after one could not be made."""


class Copies(Generic[C]):
    """A pool that grows to as many copies as there were callers at once.

    A caller who finds no free copy has another one made in a separate thread and takes the first that becomes free:
    making a copy may take much longer than another caller needs to finish.
    """

    def __init__(self, make: Callable[[], C]) -> None:
        """Make the first one here. Raises what ``make`` raises; later failures are logged, and who waits goes on."""
        self._make = make
        self._free = [make()]
        self._given_back = threading.Condition()
        self._waiting = 0
        self._making = False
        self._not_before = -math.inf

    @contextmanager
    def one(self) -> Iterator[C]:
        """One that nobody else uses within the block; waits until there is one."""
        copy = self._take()
        try:
            yield copy
        finally:
            self._give_back(copy)

    def _take(self) -> C:
        copy = self._pop()
        if copy is not None:
            return copy
        with self._given_back:
            # Counted before looking again: who gives back does the one after the other, too, so that nobody is missed.
            self._waiting += 1
            try:
                while (copy := self._pop()) is None:
                    self._ask_for_another()
                    self._given_back.wait()
                return copy
            finally:
                self._waiting -= 1

    def _pop(self) -> C | None:
        try:
            return self._free.pop()  # the last one given back: what it needs may still be in the caches
        except IndexError:
            return None

    def _give_back(self, copy: C) -> None:
        self._free.append(copy)
        if self._waiting:
            with self._given_back:
                self._given_back.notify()

    def _ask_for_another(self) -> None:
        """While others wait."""
        if self._making or time.monotonic() < self._not_before:
            return
        try:
            threading.Thread(target=self._add, name="aipface-copies").start()
            self._making = True
        except RuntimeError:  # the process ends: those that there are have to do
            return

    def _add(self) -> None:
        try:
            self._free.append(self._make())
        except Exception:
            self._not_before = time.monotonic() + PATIENCE
            logger.exception("no further copy could be made; callers take turns with those that there are")
        with self._given_back:
            self._making = False
            self._given_back.notify_all()  # whoever still finds none asks for another one
