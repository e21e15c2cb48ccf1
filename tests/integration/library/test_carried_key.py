"""A backup carries its master key to where a setting wants it, and goes through pipes, as containers do it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from service.cli.failures import FAILED, MISUSED
from tests.fixtures.places import environment
from tests.fixtures.sealing import execute
from tests.fixtures.server import PROGRAM, Home

PHRASE = b"correct horse\n"
KEYS = f"{'ab' * 32} {'cd' * 32}"
"""Of the installation that is lost, the current one first."""


def piped(home: Home, *words: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run ``aipface`` with something on its standard input."""
    variables = environment(home.folder, **home.settings)
    return subprocess.run([PROGRAM, *words], env=variables, input=given, capture_output=True, timeout=180, check=False)


@pytest.fixture
def lost(tmp_path: Path, database_url: str) -> Home:
    """An installation whose key is a setting, as docker-compose.yml has it."""
    (tmp_path / "lost").mkdir()
    home = Home(tmp_path / "lost", {"DATABASE_URL": database_url, "SECRET_KEY": KEYS})
    home.create_app("kept")
    return home


@pytest.fixture
def new(tmp_path: Path, empty_database_url: str) -> Home:
    """Another one, for which deploy/init-secrets has made another key."""
    return Home(tmp_path / "new", {"DATABASE_URL": empty_database_url, "SECRET_KEY": "ef" * 32})


@pytest.fixture
def backup(lost: Home) -> bytes:
    """What went through a pipe, the passphrase ahead of it on the way in."""
    done = piped(lost, "backup", "-", "--with-key", "--passphrase-file", "-", given=PHRASE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_installation_is_put_back_from_its_backup_alone(
    new: Home, backup: bytes, tmp_path: Path, empty_database_url: str
) -> None:
    refused = piped(new, "restore", "-", "--passphrase-file", "-", given=PHRASE + backup)
    assert refused.returncode == FAILED
    assert b"aipface restore --key-to FILE" in refused.stderr

    key = tmp_path / "key"
    words = ("restore", "-", "--passphrase-file", "-", "--key-to", str(key))
    done = piped(new, *words, given=PHRASE + backup)
    assert done.returncode == 0, done.stderr
    assert key.read_text(encoding="ascii").split() == KEYS.split()
    assert key.stat().st_mode & 0o777 == 0o600
    assert execute(empty_database_url, "SELECT FROM pg_class WHERE relname = 'apps'") == []

    shown = piped(new, *words[:-1], "-", given=PHRASE + backup)
    assert shown.stdout == key.read_bytes()

    new.settings = {**new.settings, "SECRET_KEY": " ".join(key.read_text(encoding="ascii").split())}
    done = piped(new, "restore", "-", "--passphrase-file", "-", given=PHRASE + backup)
    assert done.returncode == 0, done.stderr
    assert [app["name"] for app in json.loads(new.run("app", "list", "--json").stdout)] == ["kept"]
    assert new.run("key", "reseal").returncode == 0  # which opens everything that is sealed


def test_what_is_there_stays(new: Home, backup: bytes, tmp_path: Path) -> None:
    key, leading = tmp_path / "key", tmp_path / "link"
    key.write_text("mine")
    leading.symlink_to(tmp_path / "nowhere")
    for place in (key, leading):
        done = piped(new, "restore", "-", "--passphrase-file", "-", "--key-to", str(place), given=PHRASE + backup)
        assert (done.returncode, b"left as it is" in done.stderr) == (MISUSED, True)
    assert key.read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_nothing_is_written_of_a_backup_without_its_key_or_a_damaged_one(
    lost: Home, new: Home, backup: bytes, tmp_path: Path
) -> None:
    plain = piped(lost, "backup", "-").stdout
    key = tmp_path / "key"
    done = piped(new, "restore", "-", "--key-to", str(key), given=plain)
    assert (done.returncode, b"made without --with-key" in done.stderr) == (FAILED, True)
    words = ("restore", "-", "--passphrase-file", "-", "--key-to", str(key))
    for given in (b"another\n" + backup, PHRASE + backup[:-1]):
        done = piped(new, *words, given=given)
        assert (done.returncode, b"damaged or cut off" in done.stderr) == (FAILED, True)
    done = piped(new, *words[:-1], str(tmp_path / "gone" / "key"), given=PHRASE + backup)
    assert (done.returncode, b"cannot be written: No such file" in done.stderr) == (FAILED, True)
    done = piped(new, *words[:-1], str(tmp_path / ("x" * 300)), given=PHRASE + backup)  # cannot be asked for, either
    assert (done.returncode, b"cannot be written: File name too long" in done.stderr) == (FAILED, True)
    assert not key.exists()


def test_a_passphrase_that_runs_into_the_backup_is_called_so(new: Home, backup: bytes) -> None:
    """Its file lacks the newline, which nothing minded when the backup was made."""
    done = piped(new, "restore", "-", "--passphrase-file", "-", "--check", given=PHRASE.strip() + backup)
    assert (done.returncode, b"needs a line of its own" in done.stderr) == (MISUSED, True)


def test_a_home_without_a_key_takes_that_of_the_backup_with_any_key_too(
    new: Home, backup: bytes, empty_database_url: str
) -> None:
    new.settings = {"DATABASE_URL": empty_database_url}
    done = piped(new, "restore", "-", "--any-key", "--passphrase-file", "-", given=PHRASE + backup)
    assert done.returncode == 0, done.stderr
    assert (new.folder / "secret.key").read_text(encoding="ascii").split() == KEYS.split()


def test_a_key_may_stand_in_front_too(lost: Home, new: Home) -> None:
    given = b"12" * 32 + b"\n"
    made = piped(lost, "backup", "-", "--key-file", "-", given=given).stdout
    done = piped(new, "restore", "-", "--check", "--key-file", "-", given=given + made)
    assert done.returncode == 0, done.stderr
    assert b"sound" in done.stderr


@pytest.mark.parametrize("word", ["--check", "--any-key"])
def test_a_key_is_written_alone(new: Home, tmp_path: Path, word: str) -> None:
    done = piped(new, "restore", "-", "--key-to", str(tmp_path / "key"), word)
    assert done.returncode == MISUSED
    assert b"leave out" in done.stderr
    assert not (tmp_path / "key").exists()
