"""What an operator can mend is one sentence, wherever it comes up: a home, a revision, a full standard output."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from service.cli.failures import FAILED, MISUSED
from service.storage.urls import driver_address
from tests.fixtures.places import environment
from tests.fixtures.server import PROGRAM, Home

FULL = os.makedev(1, 7)
"""The device that every write fails on, in a file of our own: ``/dev/full`` is everybody's."""

FIRST_START = """
import sys
from types import SimpleNamespace
from service.administration import open_admin
from service.cli.failures import one_sentence
from service.cli.serve import _introduce_first_app
from service.settings import load_settings
settings = load_settings()
with one_sentence(), open_admin(settings) as admin:
    _introduce_first_app(SimpleNamespace(apps=admin.apps), settings)
"""


def sentence(done: subprocess.CompletedProcess[str], status: int) -> str:
    assert (done.returncode, len(done.stderr.splitlines())) == (status, 1), done.stderr
    return done.stderr


@pytest.mark.parametrize("command", [("app", "list"), ("tls", "init"), ("restore", "--any-key", "backup")])
def test_a_home_that_cannot_be_made(tmp_path: Path, database_url: str, command: tuple[str, ...]) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "disk" / "home")  # of a disk that is not there
    place = Home(tmp_path, {"DATABASE_URL": database_url})
    assert place.run("backup", str(tmp_path / "backup")).returncode == 0
    nowhere = {"AIPFACE_HOME": str(tmp_path / "link")}
    arguments = [str(tmp_path / word) if word == "backup" else word for word in command]
    assert "File exists" in sentence(place.run(*arguments, variables=nowhere), FAILED)


def test_a_revision_that_there_is_none_of(tmp_path: Path, database_url: str) -> None:
    home = Home(tmp_path, {"DATABASE_URL": database_url})
    for command in (("upgrade", "9999"), ("downgrade", "9999", "--yes"), ("upgrade", "+1")):
        told = sentence(home.run("db", *command), MISUSED)
        assert command[1] in told
        assert "needs a newer program" not in told


def test_nobody_is_asked_about_a_revision_that_there_is_none_of(tmp_path: Path, database_url: str) -> None:
    home = Home(tmp_path, {"DATABASE_URL": database_url})
    for revision in ("0099", "0099-1", "00"):
        assert "Can't locate revision" in sentence(home.run("db", "downgrade", revision), MISUSED)
    for revision in ("0012", "base", "-1", "0013-1"):
        assert "Go back to" in home.run("db", "downgrade", "--", revision).stderr


def test_a_passphrase_without_a_terminal(tmp_path: Path, database_url: str) -> None:
    home, out, phrase = Home(tmp_path, {"DATABASE_URL": database_url}), tmp_path / "backup", tmp_path / "phrase"
    phrase.write_text("a passphrase")
    assert home.run("backup", str(out), "--passphrase-file", str(phrase)).returncode == 0
    variables = environment(home.folder, **home.settings)
    for command in (["restore", str(out), "--check"], ["backup", str(tmp_path / "other"), "--encrypt"]):
        done = subprocess.run(
            [PROGRAM, *command],
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,  # which has no terminal, though whoever runs the tests may
        )
        assert "no terminal to ask for the passphrase at: name its file with --passphrase-file" in sentence(
            done, MISUSED
        )


def test_a_database_of_a_newer_release(tmp_path: Path, database_url: str) -> None:
    with psycopg.connect(driver_address(database_url)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    done = Home(tmp_path, {"DATABASE_URL": database_url}).run("app", "list")
    assert "with a database of a newer release, take that" in sentence(done, FAILED)


def into_a_full_disk(home: Home, command: list[str]) -> subprocess.CompletedProcess[str]:
    device = home.folder / "full"
    try:
        if not device.exists():
            os.mknod(device, 0o20600, FULL)
        output = device.open("w")
    except PermissionError:
        pytest.skip("no devices can be made here")
    with output:
        variables = environment(home.folder, **home.settings)
        return subprocess.run(command, env=variables, stdout=output, stderr=subprocess.PIPE, text=True, check=False)


def test_the_keys_of_a_first_app_that_cannot_be_shown(tmp_path: Path, database_url: str) -> None:
    home = Home(tmp_path, {"DATABASE_URL": database_url})
    words = sentence(into_a_full_disk(home, [sys.executable, "-c", FIRST_START]), FAILED).split()
    assert home.run("app", "rotate", words[words.index("rotate") + 1]).returncode == 0


def test_keys_that_cannot_be_shown(tmp_path: Path, database_url: str) -> None:
    home = Home(tmp_path, {"DATABASE_URL": database_url})
    app_id = home.create_app("one").app_id
    for command in (("rotate", app_id), ("create", "two", "--json"), ("create", "two")):
        told = sentence(into_a_full_disk(home, [PROGRAM, "app", *command]), FAILED)
        assert "cannot be shown (No space left on device): aipface app rotate " in told
    words = told.split()
    assert home.run("app", "rotate", words[words.index("rotate") + 1]).returncode == 0


def test_no_keys_are_made_where_standard_output_is_closed(tmp_path: Path, database_url: str) -> None:
    home = Home(tmp_path, {"DATABASE_URL": database_url})
    variables = environment(home.folder, **home.settings)

    def refused(program: str) -> None:
        closed = ["/bin/sh", "-c", f"exec {program} >&-"]
        done = subprocess.run(closed, env=variables, stderr=subprocess.PIPE, text=True, check=False)
        assert "standard output is closed, and the keys could be shown nowhere" in sentence(done, FAILED)

    refused(f"{shlex.quote(sys.executable)} -c {shlex.quote(FIRST_START)}")
    app_id = home.create_app("one").app_id
    made = home.run("audit", "list", "--json").stdout
    assert len(json.loads(made)) == 1
    refused(f"{shlex.quote(PROGRAM)} app create two")
    refused(f"{shlex.quote(PROGRAM)} app rotate {app_id}")
    assert home.run("audit", "list", "--json").stdout == made


@pytest.mark.parametrize("command", ["backup", "audit export"])
def test_a_file_into_a_full_standard_output(tmp_path: Path, database_url: str, command: str) -> None:
    home = Home(tmp_path, {"DATABASE_URL": database_url})
    home.create_app("one")
    told = sentence(into_a_full_disk(home, [PROGRAM, *command.split(), "-"]), FAILED)
    assert "standard output cannot be written: No space left on device" in told
