"""A database that was put back has its key beside it, whenever the restore ends; without the key it is not there."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from service.access.keys import Keyring, load
from service.cli import backup as commands
from service.cli.failures import FAILED, Failure
from service.library import backup
from service.settings import load_settings
from service.storage.backup import BackupError
from service.storage.engine import Database
from tests.fixtures.library import new_app
from tests.fixtures.places import environment
from tests.fixtures.sealing import execute
from tests.fixtures.server import Home

DYING = """
import os, signal
from service.cli import backup
from service.cli.main import main
from service.storage import migrations

end = lambda: os.kill(os.getpid(), signal.SIGKILL)
keep, upgrade = backup._keep, migrations.upgrade

def kept(*given, **named):
    keep(*given, **named)
    end()

def upgraded(url, revision=None):
    upgrade(url, revision) if revision else end()  # what follows the commit is told no revision

{patch}
main()
"""
RING = Keyring(bytes(32))


@pytest.fixture
def old(tmp_path: Path, database_url: str) -> Home:
    (tmp_path / "old").mkdir()
    home = Home(tmp_path / "old", {"DATABASE_URL": database_url})
    home.create_app("kept")
    (home.folder / "calibration").mkdir()
    (home.folder / "calibration" / "model.json").write_text("{}", encoding="utf-8")
    return home


@pytest.fixture
def new(tmp_path: Path, empty_database_url: str) -> Home:
    return Home(tmp_path / "new", {"DATABASE_URL": empty_database_url})


@pytest.fixture
def words(old: Home, tmp_path: Path) -> list[str]:
    """Of a restore of everything, with the key."""
    phrase, file = tmp_path / "phrase", str(tmp_path / "backup")
    phrase.write_text("correct horse\n", encoding="utf-8")
    words = [file, "--passphrase-file", str(phrase)]
    done = old.run("backup", "--with-key", *words)
    assert done.returncode == 0, done.stderr
    return ["restore", *words]


def ended(home: Home, words: list[str], patch: str) -> None:
    """Run a command to where it is killed."""
    program = [sys.executable, "-c", DYING.format(patch=patch), *words]
    variables = environment(home.folder, **home.settings)
    done = subprocess.run(program, env=variables, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr


def apps(home: Home) -> list[str]:
    """Names of those whose secret opens with the key of the home."""
    listed = json.loads(home.run("app", "list", "--json").stdout)
    resealed = home.run("key", "reseal")
    assert resealed.returncode == 0, resealed.stderr
    return [app["name"] for app in listed]


def test_killed_after_the_commit_it_has_left_the_key(old: Home, new: Home, words: list[str]) -> None:
    ended(new, words, "migrations.upgrade = upgraded")
    assert (new.folder / "secret.key").read_bytes() == (old.folder / "secret.key").read_bytes()
    assert (new.folder / "calibration" / "model.json").read_text(encoding="utf-8") == "{}"
    assert apps(new) == ["kept"]


def test_killed_before_the_commit_it_is_repeated(new: Home, words: list[str]) -> None:
    ended(new, words, "backup._keep = kept")
    done = new.run(*words)
    assert done.returncode == 0, done.stderr
    assert apps(new) == ["kept"]


def test_what_cannot_be_put_into_its_place_leaves_nothing(new: Home, words: list[str], empty_database_url: str) -> None:
    new.folder.mkdir()
    in_the_way = new.folder / "calibration"
    in_the_way.write_text("")
    done = new.run(*words)
    assert (done.returncode, done.stderr) == (
        FAILED,
        f"aipface: {in_the_way / 'model.json'} cannot be written: Not a directory; nothing was restored\n",
    )
    assert execute(empty_database_url, "SELECT FROM apps") == []
    assert not (new.folder / "secret.key").exists()
    in_the_way.unlink()
    done = new.run(*words)
    assert done.returncode == 0, done.stderr
    assert apps(new) == ["kept"]


def test_files_are_kept_before_anybody_sees_the_database(database: Database, empty_database_url: str) -> None:
    new_app(database)
    content = io.BytesIO()
    backup.write(database, RING, content, files={"calibration/x.json": b"{}"})
    seen: list[tuple[Mapping[str, bytes], int]] = []

    def keep(files: Mapping[str, bytes]) -> None:
        seen.append((files, len(execute(empty_database_url, "SELECT FROM apps"))))
        raise Failure("the disk is full")

    content.seek(0)
    head = backup.read_head(content)
    with pytest.raises(Failure):
        backup.restore(content, head, b"", empty_database_url, keep)
    assert seen == [({"calibration/x.json": b"{}"}, 0)]
    assert execute(empty_database_url, "SELECT FROM apps") == []


def test_a_damaged_backup_leaves_no_file(database: Database, empty_database_url: str) -> None:
    """Also where the sum at its end alone is wrong."""
    content = io.BytesIO()
    backup.write(database, RING, content, files={"calibration/x.json": b"{}"})
    whole = content.getvalue()
    damaged = io.BytesIO(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
    head, files = backup.read_head(damaged), dict[str, bytes]()
    with pytest.raises(BackupError):
        backup.restore(damaged, head, b"", empty_database_url, files.update)
    assert files == {}


def test_a_key_that_came_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that was started in the new home before the restore was done."""
    monkeypatch.setenv("AIPFACE_HOME", str(tmp_path))
    settings = load_settings()
    mark = backup.key_marks(RING)[0]
    head = backup.Head("", "", "", 16, mark, holds_key=True, sealed=None, line=b"")
    files = {backup.KEY_FILE: bytes(32).hex().encode()}
    key = settings.secret_key_file
    key.write_text("ab" * 32)
    key.chmod(0o600)
    with pytest.raises(Failure, match="take a new home"):
        commands._keep(settings, head, files, any_key=False)
    assert key.read_text() == "ab" * 32
    commands._keep(settings, head, files, any_key=True)
    assert key.read_text() == "ab" * 32
    key.unlink()
    for _ in range(2):
        commands._keep(settings, head, files, any_key=False)
        assert backup.key_marks(load(key)) == [mark]
