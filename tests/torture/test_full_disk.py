"""A disk without room: a small file system of memory under the home, filled to the last byte."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.pictures import Pictures
from tests.fixtures.server import Home
from tests.torture.caller import Caller
from tests.torture.figures import Figures
from tests.torture.ledger import GROUP, Ledger
from tests.torture.test_durability import SYSTEM_BUSY, await_readiness

STORAGE_FULL = 222302
SIZE = 160
"""MiB: a new database takes about 60."""


@pytest.fixture
def small_home(model_dir: Path) -> Iterator[Home]:
    """A home on a file system of its own; skips where none may be mounted."""
    del model_dir
    folder = Path(tempfile.mkdtemp(prefix="aipface-test-"))
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}m,mode=0755", "aipface-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mounting, capture_output=True, check=False).returncode:
        folder.rmdir()
        pytest.skip("mounting is not permitted here")
    home = Home(folder)
    try:
        yield home
    finally:
        home.sweep()
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


def fill(path: Path) -> None:
    """Write until nothing more goes."""
    with path.open("wb", buffering=0) as file:
        for size in (2**20, 4096, 1):
            try:
                while True:
                    file.write(os.urandom(size))
            except OSError:
                continue


def test_a_full_disk(small_home: Home, pictures: Pictures, long: bool, figures: Figures) -> None:
    with small_home.serving() as server, Caller(server.base_url, small_home.create_app("full")).connected() as caller:
        caller.log_in()
        ledger = Ledger(caller, pictures)
        ledger.detect()
        rounds = 5 if long else 1
        for _ in range(rounds):
            with ledger.writing():
                ledger.await_acknowledgements(10)
            ballast = small_home.folder / "ballast"
            fill(ballast)
            with ledger.writing():
                ledger.await_answers(10, {STORAGE_FULL, SYSTEM_BUSY})
            # Who only reads is not told no, unless the log had no room either and the database had to stop.
            code, _ = caller.call("faceset/group/getusers", {"group_id": GROUP})
            assert code in (0, SYSTEM_BUSY)
            ballast.unlink()
            seconds = await_readiness(caller)
            ledger.detect()
            with ledger.writing():
                ledger.await_acknowledgements(10)
            faces = ledger.audit(small_home.folder)
        assert caller.statuses == {200}
        figures.add(
            "disk full",
            times=rounds,
            acknowledged_writes=ledger.codes[0],
            told_222302=ledger.codes[STORAGE_FULL],
            told_2=ledger.codes[SYSTEM_BUSY],
            faces=faces,
            lost=0,
            last_recovery=f"{seconds:.1f} s",
        )
