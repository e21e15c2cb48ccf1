"""Killing the server, killing its database, and taking the database away, while faces are being enrolled."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
import pytest

from service.storage import postmaster
from tests.fixtures.lived import patience
from tests.fixtures.pictures import Pictures
from tests.fixtures.server import Server, temporary_home
from tests.torture.caller import BROKEN, Caller
from tests.torture.figures import Figures
from tests.torture.ledger import TOKEN_GONE, Ledger

SYSTEM_BUSY = 2
"""Code of a database that does not answer."""
RECOVERY_SECONDS = 90.0


@pytest.fixture(scope="module")
def server(model_dir: Path) -> Iterator[Server]:
    """A server of this module's own, for it may not survive."""
    del model_dir
    with temporary_home() as home, home.serving() as running:
        yield running


@pytest.fixture
def ledger(server: Server, pictures: Pictures) -> Iterator[Ledger]:
    """An open book for a fresh app."""
    with Caller(server.base_url, server.home.create_app("ledger")).connected() as caller:
        caller.log_in()
        book = Ledger(caller, pictures)
        book.detect()
        yield book


def await_readiness(caller: Caller) -> float:
    """Seconds until ``/readyz`` agrees."""
    for seconds in patience(RECOVERY_SECONDS):
        if caller.ready():
            return seconds
    raise AssertionError("no recovery")


def postgres(home: Path) -> psutil.Process:
    found = postmaster.running(home / "postgres")
    assert found is not None
    return psutil.Process(found.pid)


def test_kills_of_the_server(model_dir: Path, pictures: Pictures, long: bool, figures: Figures) -> None:
    del model_dir
    choice, kills = random.Random(7), 20 if long else 2  # noqa: S311 (a plan that repeats)
    with temporary_home() as home, Caller("", home.create_app("ledger")).connected() as caller:
        ledger = Ledger(caller, pictures)
        for _ in range(kills):
            server = home.start()
            try:
                server.wait_until_ready()
                caller.base_url = server.base_url
                caller.log_in()
                ledger.detect()
                ledger.audit(home.folder, everybody=False)
                with ledger.writing():
                    ledger.await_acknowledgements(choice.randint(*((40, 120) if long else (10, 20))))
                    server.kill()
            finally:
                server.kill()
        with home.serving() as survivor:
            caller.base_url = survivor.base_url
            ledger.detect()
            faces = ledger.audit(home.folder)
            assert caller.checks()["index"].split(";")[0] == f"{faces} faces"
    acknowledged = ledger.codes[0]
    assert set(ledger.codes) <= {0, BROKEN}
    assert caller.statuses == {200}
    figures.add("kill -9 of the server", kills=kills, acknowledged_writes=acknowledged, faces=faces, lost=0)


def test_kills_of_the_database(server: Server, ledger: Ledger, long: bool, figures: Figures) -> None:
    """The postmaster and, every other time, one of its connections: both end every connection."""
    choice, kills, waits = random.Random(8), 20 if long else 2, []  # noqa: S311
    for number in range(kills):
        with ledger.writing():
            ledger.await_acknowledgements(choice.randint(*((40, 120) if long else (10, 20))))
            victim = postgres(server.home.folder)
            if number % 2:
                clients = [child for child in victim.children() if "idle" in " ".join(child.cmdline())]
                victim = choice.choice(clients or [victim])
            victim.kill()
            time.sleep(0.3)
            waits.append(await_readiness(ledger.caller))
        await_readiness(ledger.caller)
        ledger.detect()
        ledger.audit(server.home.folder, everybody=not long or number == kills - 1)
    assert set(ledger.codes) <= {0, SYSTEM_BUSY, TOKEN_GONE}
    assert ledger.caller.statuses <= {200, 503}
    figures.add(
        "kill -9 of PostgreSQL",
        kills=kills,
        acknowledged_writes=ledger.codes[0],
        refused_meanwhile=ledger.codes[SYSTEM_BUSY],
        lost=0,
        longest_recovery=f"{max(waits):.1f} s",
    )


def send(family: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Signal those that are left: workers come and go."""
    for process in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def test_a_database_that_stands_still(server: Server, ledger: Ledger, long: bool, figures: Figures) -> None:
    """Stopped amid its work, like a virtual machine that moves: late answers or code 2, then all is well."""
    pause = 45.0 if long else 3.0
    family = [postgres(server.home.folder), *postgres(server.home.folder).children()]
    with ledger.writing():
        ledger.await_acknowledgements(10)
        send(family, signal.SIGSTOP)
        try:
            time.sleep(pause)
        finally:
            send(reversed(family), signal.SIGCONT)
        seconds = await_readiness(ledger.caller)
        ledger.await_acknowledgements(3)
    ledger.audit(server.home.folder)
    assert set(ledger.codes) <= {0, SYSTEM_BUSY}
    figures.add(
        "PostgreSQL stopped",
        seconds=pause,
        acknowledged_writes=ledger.codes[0],
        refused=ledger.codes[SYSTEM_BUSY],
        recovery=f"{seconds:.1f} s",
    )
