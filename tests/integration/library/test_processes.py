"""Quotas and failed log-ins over several processes of the operating system, on one database."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.library.quotas import Quotas
from service.storage.engine import Database
from service.values import App, Limits
from tests.fixtures.library import new_app
from tests.fixtures.places import ROOT

PROGRAM = Path(__file__).with_name("one_process.py")
PROCESSES = 3

Process = subprocess.Popen[str]
Told = dict[str, float]


@contextlib.contextmanager
def processes(url: str, work: str, subject: str, number: int) -> Iterator[list[Process]]:
    """Several processes that have all begun with the same work at the same moment."""
    command = [sys.executable, str(PROGRAM), url, work, subject, str(number)]
    started: list[Process] = []
    try:
        for _ in range(PROCESSES):
            pipe = subprocess.PIPE
            started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1, cwd=ROOT))
        for each in started:
            assert told(each) == "ready"
        for each in started:
            write(each, str(time.time() + 0.2))
        yield started
        for each in started:
            assert each.wait(60) == 0
    finally:
        for each in started:
            each.kill()
            each.wait(60)
            for stream in (each.stdin, each.stdout):
                if stream is not None:
                    stream.close()


def told(process: Process) -> object:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def write(process: Process, line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{line}\n")


def outcome(started: list[Process]) -> list[Told]:
    """What each process tells at its end."""
    found = [told(each) for each in started]
    assert all(isinstance(each, dict) for each in found)
    return found  # type: ignore[return-value]


def total(outcomes: list[Told], name: str) -> float:
    return sum(each.get(name, 0) for each in outcomes)


def limited(database: Database, limits: Limits) -> App:
    app = new_app(database)
    Quotas(database).set_limits(app, limits)
    return app


@pytest.mark.parametrize(
    ("limits", "refusal"), [(Limits(daily=300), "DailyQuotaExceeded"), (Limits(total=300), "TotalQuotaExceeded")]
)
def test_a_budget_is_never_exceeded_and_used_up_but_for_what_was_given_back(
    database: Database, database_url: str, limits: Limits, refusal: str
) -> None:
    app = limited(database, limits)
    with processes(database_url, "ask", app.app_id, 200) as started:
        outcomes = outcome(started)
    answered = total(outcomes, "answered")
    assert answered + total(outcomes, refusal) == PROCESSES * 200
    usage = Quotas(database).usage(app)
    assert usage.standing.total_taken == answered <= 300
    quotas = Quotas(database)
    with database.read() as reader:
        again = reader.apps.by_app_id(app.app_id)
    assert again is not None
    for _ in range(300 - int(answered)):
        with quotas.admitted(again, "detect"):
            pass
    assert Quotas(database).usage(app).standing.total_taken <= 300


def test_no_second_lets_more_through_than_the_limit(database: Database, database_url: str) -> None:
    app = limited(database, Limits(qps=25))
    with processes(database_url, "ask", app.app_id, 400) as started:
        outcomes = outcome(started)
    # The processes' clock and the database's are this machine's: no other second can have been counted.
    seconds = int(max(each["ended"] for each in outcomes)) - int(min(each["began"] for each in outcomes)) + 1
    assert 1 <= total(outcomes, "answered") <= 25 * seconds
    assert total(outcomes, "answered") + total(outcomes, "RateExceeded") == PROCESSES * 400


def test_no_more_at_once_than_the_limit(database: Database, database_url: str) -> None:
    """All stay inside until each has been told what it got: nothing else could make room."""
    app = limited(database, Limits(concurrent=10))
    with processes(database_url, "stay", app.app_id, 20) as started:
        inside = outcome(started)
        for each in started:
            write(each, "go on")
        outcome(started)
    assert 1 <= total(inside, "answered") <= 10
    assert total(inside, "answered") + total(inside, "RateExceeded") == PROCESSES * 20


def test_guesses_are_limited_for_all_processes_together(database_url: str) -> None:
    """Each may look at one more than the limit, for it learns of the others' with its own."""
    with processes(database_url, "guess", "key", 8) as started:
        outcomes = outcome(started)
    assert 8 <= total(outcomes, "looked at") <= 8 + PROCESSES - 1
    assert all(each["refused"] for each in outcomes)
