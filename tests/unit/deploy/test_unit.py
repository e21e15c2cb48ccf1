"""The unit of systemd: that it parses, starts a command that exists, and is patient enough when it stops it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections import defaultdict
from pathlib import Path

import pytest
import typer.main

from service.cli.main import application
from service.search.keeper import CLOSING_SECONDS
from service.settings import Settings
from service.storage.embedded import STOP_SECONDS
from tests.fixtures.places import ROOT

UNIT = ROOT / "deploy" / "aipface.service"
Sections = dict[str, dict[str, list[str]]]


@pytest.fixture(scope="module")
def sections() -> Sections:
    """Every value of every name, in order: a name may stand several times."""
    found: Sections = defaultdict(lambda: defaultdict(list))
    section = ""
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            assert equals
            assert value.strip()
            found[section][name].append(value)
    return found


def test_it_starts_a_command_that_there_is(sections: Sections) -> None:
    (start,) = sections["Service"]["ExecStart"]
    program, command, *options = shlex.split(start)
    assert program.endswith("/bin/aipface")
    root = typer.main.get_command(application)
    found = root.get_command(root.make_context("aipface", [], resilient_parsing=True), command)  # type: ignore[attr-defined]
    assert found is not None
    found.make_context(command, list(options), resilient_parsing=True)


def test_its_variables_are_settings(sections: Sections) -> None:
    variables = dict(pair.split("=", 1) for pair in sections["Service"]["Environment"])
    assert {name.removeprefix("AIPFACE_").lower() for name in variables} <= set(Settings.model_fields)
    assert variables["AIPFACE_HOME"] == f"/var/lib/{sections['Service']['StateDirectory'][0]}"


def test_a_stop_may_take_as_long_as_ours_does(sections: Sections) -> None:
    fields = Settings.model_fields
    ours = fields["shutdown_delay"].default + fields["shutdown_grace"].default + CLOSING_SECONDS + STOP_SECONDS
    assert int(sections["Service"]["TimeoutStopSec"][0]) > ours


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd")
def test_systemd_knows_every_word(sections: Sections, tmp_path: Path) -> None:
    """It says what it does not know and ends well all the same. The program that it looks for is another one here."""
    (program, _) = shlex.split(sections["Service"]["ExecStart"][0])
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text(encoding="utf-8").replace(program, "/bin/true"), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)], check=False, capture_output=True, text=True, timeout=60
    )
    assert [line for line in done.stderr.splitlines() if UNIT.name in line] == []
