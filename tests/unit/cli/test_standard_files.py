"""Commands that were started with standard files closed, as some supervisors do."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fixtures.places import ROOT

PROGRAM = """
import os, sys
from service.cli.common import on_terminal
from service.cli.main import complete_standard_files
complete_standard_files()
assert not on_terminal()
print("told", file=sys.stderr)
os._exit(os.open(os.devnull, os.O_RDONLY))
"""


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-", ">&-", ""])
def test_no_file_takes_the_number_of_a_closed_one(closed: str) -> None:
    command = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, PROGRAM]
    ended = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert 2 < ended.returncode < 10
