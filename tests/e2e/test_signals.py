"""A command that a signal ends leaves neither its database running nor half a file."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

from service.storage import postmaster
from tests.fixtures.lived import patience
from tests.fixtures.places import environment
from tests.fixtures.server import PROGRAM, WAIT_SECONDS, temporary_home
from tests.fixtures.signals import as_in_a_terminal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_ended_leaves_nothing_behind(number: signal.Signals) -> None:
    with temporary_home() as home, as_in_a_terminal():
        pipe = home.folder / "pipe"  # which nobody reads, so that writing waits
        os.mkfifo(pipe)
        process = subprocess.Popen([PROGRAM, "audit", "export", str(pipe)], env=environment(home.folder))
        for _ in patience(WAIT_SECONDS):
            if postmaster.running(home.folder / "postgres") is not None:
                break
            assert process.poll() is None
        process.send_signal(number)
        assert process.wait(WAIT_SECONDS) == 128 + number
        assert home.processes() == []
        assert pipe.is_fifo()
