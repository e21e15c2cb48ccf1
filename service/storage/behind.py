"""Work for an app that its answers need not wait for, in its turn before anything that could tell the difference."""

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
"""Requests whose work may wait or be under way: what they hold, a picture each, stays bounded."""

logger = logging.getLogger(__name__)


class Behind:
    """One thread that does what answered requests have left. Thread-safe; one for a process and a database.

    Where it has enough to do, or failed the last time, whoever brings work does it himself, and hears of the failure.
    """

    def __init__(self, most: int = MOST_BEHIND) -> None:
        self._most = most
        self._thread = ThreadPoolExecutor(1, "aipface-behind")
        self._changed = threading.Condition()
        self._left: Counter[int] = Counter()
        self._failing = False

    def do(self, app_pk: int, work: Callable[[], None]) -> None:
        """Do ``work`` for an app: after this returns, or before. Raises what it raises in the second case.

        Were it to fail in the first, the log tells, and ``aipface_face_tokens_lost_total``.
        """
        if not self._leave(app_pk, work):
            work()
            self._failing = False

    def settle(self, app_pk: int) -> None:
        """Wait until what was left for an app is done."""
        if self._left[app_pk]:
            with self._changed:
                self._changed.wait_for(lambda: not self._left[app_pk])

    def stop(self) -> None:
        """Wait until everything is done; from now on work is done by whoever brings it."""
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
                self._left += Counter()  # forgets apps that nothing is left for
                self._changed.notify_all()

    def _lost(self) -> None:
        self._failing = True
        LOST_TOKENS.inc()
