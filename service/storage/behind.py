"""Work that is done behind the answer of a request, yet before anybody could notice that it is not done."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from service.errors import ServiceUnavailable
from service.metrics import LOST_TOKENS

MOST_BEHIND = 2
"""Requests whose work may wait or be running. Bounded, since each of them keeps a picture in memory."""

logger = logging.getLogger(__name__)


class Behind:
    """One thread that does the work which answered requests have left behind. Thread-safe; one per ``Database``.

    Work is done at once, in the calling thread, while enough is waiting and after a failure: then its caller learns
    whether it succeeds.
    """

    def __init__(self, most: int = MOST_BEHIND) -> None:
        self._most = most
        self._thread = ThreadPoolExecutor(1, "aipface-behind")
        self._changed = threading.Condition()
        self._left: Counter[int] = Counter()
        self._failing = False

    def do(self, app_pk: int, work: Callable[[], None]) -> None:
        """Do ``work`` for an app, either here or in the thread after this has returned.

        Raises what ``work`` raises if it is done here. A failure in the thread is logged and counted by
        ``aipface_face_tokens_lost_total``.
        """
        if not self._leave(app_pk, work):
            work()
            self._failing = False

    def settle(self, app_pk: int) -> None:
        """Wait until all work left behind for an app is done."""
        if self._left[app_pk]:
            with self._changed:
                self._changed.wait_for(lambda: not self._left[app_pk])

    def stop(self) -> None:
        """Wait until everything is done. From now on ``do`` does work in the calling thread."""
        self._thread.shutdown()

    def _leave(self, app_pk: int, work: Callable[[], None]) -> bool:
        with self._changed:
            if self._failing or self._left.total() >= self._most:
                return False
            try:
                self._thread.submit(partial(self._do, app_pk, work))
            except RuntimeError:  # stopped
                return False
            self._left[app_pk] += 1
        return True

    def _do(self, app_pk: int, work: Callable[[], None]) -> None:
        try:
            work()
        except ServiceUnavailable as error:
            self._lost()
            logger.warning("the face tokens of an answer are lost: %s", error)
        except Exception:
            self._lost()
            logger.exception("the face tokens of an answer are lost")
        finally:
            with self._changed:
                self._left[app_pk] -= 1
                self._left += Counter()  # drops the apps whose count is zero
                self._changed.notify_all()

    def _lost(self) -> None:
        self._failing = True
        LOST_TOKENS.inc()
