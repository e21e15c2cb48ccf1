"""A circuit breaker that many threads pass at once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NoReturn, TypeVar

import pybreaker

from service.errors import AuthorityUnavailable

T = TypeVar("T")


class Breaker:
    """After ``failures`` failures in a row nothing is tried for ``seconds``; then one trial decides.

    ``pybreaker`` counts failures and keeps the time, but holds a lock during a call. So while the circuit is closed it
    is only told how calls ended. The trial alone runs under its lock; other calls are refused meanwhile, without
    waiting.
    """

    def __init__(self, failures: int, seconds: float) -> None:
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=failures, reset_timeout=seconds, throw_new_error_on_trip=False
        )
        self._trial = threading.Lock()

    @property
    def closed(self) -> bool:
        """Whether calls go through."""
        return bool(self._breaker.current_state == pybreaker.STATE_CLOSED)

    def call(self, work: Callable[[], T]) -> T:
        """The outcome of ``work``. Raises what it raises; each ``AuthorityUnavailable`` counts as a failure.

        Raises ``AuthorityUnavailable`` without doing anything while the circuit is open.
        """
        if not self.closed:
            return self._try(work)
        try:
            outcome = work()
        except AuthorityUnavailable as failure:
            self._tell(failure)
            raise
        self._tell(None)
        return outcome

    def _try(self, work: Callable[[], T]) -> T:
        if not self._trial.acquire(blocking=False):
            raise AuthorityUnavailable("another question is on trial")
        try:
            outcome: T = self._breaker.call(work)
        except pybreaker.CircuitBreakerError:
            raise AuthorityUnavailable("it failed too often just now") from None
        finally:
            self._trial.release()
        return outcome

    def _tell(self, failure: AuthorityUnavailable | None) -> None:
        """Count an outcome; one that comes when others have opened the circuit changes nothing."""

        def outcome() -> None:
            if failure is not None:
                _raise(failure)

        try:
            self._breaker.call(outcome)
        except (AuthorityUnavailable, pybreaker.CircuitBreakerError):
            return


def _raise(failure: AuthorityUnavailable) -> NoReturn:
    raise failure
