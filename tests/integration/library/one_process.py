"""One of several processes that ask for the same app, or guess the same secret: run as a program of its own.

Arguments: the database's address and what to do. Says "ready", waits for a line that names the moment to begin
(seconds since the epoch), and writes what came of it as one line of JSON.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from service.access.attempts import Attempts
from service.access.failures import Failures
from service.errors import QuotaExceeded, RateExceeded, TooManyFailures, WrongSecret
from service.library.logins import SharedFailures
from service.library.quotas import Quotas
from service.storage.engine import Database
from service.values import App

THREADS = 4
MOST_GUESSES = 25
WINDOW = 600.0


def asking(database: Database, app_id: str, times: str) -> Counter[str]:
    """Make so many requests, in several threads: what became of them."""
    app, quotas = known(database, app_id), Quotas(database)

    def ask() -> str:
        try:
            with quotas.admitted(app, "detect"):
                return "answered"
        except QuotaExceeded as error:
            return type(error).__name__

    with ThreadPoolExecutor(THREADS) as pool:
        answers = Counter(pool.map(lambda _: ask(), range(int(times))))
    quotas.stop()
    return answers


def staying(database: Database, app_id: str, times: str) -> Counter[str]:
    """Enter so many requests and stay inside until a line comes."""
    app, quotas = known(database, app_id), Quotas(database)
    answers: Counter[str] = Counter()
    quotas.start()  # tells every second that the process lives
    with contextlib.ExitStack() as stack:
        for _ in range(int(times)):
            try:
                stack.enter_context(quotas.admitted(app, "detect"))
            except RateExceeded:
                answers["RateExceeded"] += 1
            else:
                answers["answered"] += 1
        say(answers)
        sys.stdin.readline()
    quotas.stop()
    return answers


def guessing(database: Database, key: str, failures: str) -> Counter[str]:
    """Guess a secret from one address until nobody looks any more."""
    attempts = Attempts(int(failures), Failures(WINDOW, shared=SharedFailures(database)))
    answers: Counter[str] = Counter()
    for _ in range(MOST_GUESSES):
        try:
            with attempts.attempt(key, "203.0.113.9"):
                raise WrongSecret
        except WrongSecret:
            answers["looked at"] += 1
        except TooManyFailures:
            answers["refused"] += 1
    return answers


def known(database: Database, app_id: str) -> App:
    with database.read() as reader:
        app = reader.apps.by_app_id(app_id)
    assert app is not None
    return app


WORK: Mapping[str, Callable[[Database, str, str], Counter[str]]] = {
    "ask": asking,
    "stay": staying,
    "guess": guessing,
}


def say(content: object) -> None:
    sys.stdout.write(json.dumps(content) + "\n")
    sys.stdout.flush()


def main() -> None:
    _, url, work, subject, number = sys.argv
    database = Database(url)
    with database.read() as reader:
        reader.apps.all()
    say("ready")
    begin = float(sys.stdin.readline())
    time.sleep(max(0.0, begin - time.time()))
    began = time.time()
    answers = WORK[work](database, subject, number)
    say({**answers, "began": began, "ended": time.time()})
    database.close()


if __name__ == "__main__":
    main()
