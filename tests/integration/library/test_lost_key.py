"""A master key that is missing, damaged or another's: no start takes a new one for it, and nothing advises its end."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.access.keys import KeyringError
from service.administration import open_admin
from service.cli.doctor import Check, examine
from service.cli.failures import Failure
from service.cli.main import application
from service.identity.register import Person
from service.settings import Settings, load_settings
from service.storage import migrations
from tests.fixtures.people import claim


@pytest.fixture
def settings(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("AIPFACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIPFACE_DATABASE_URL", database_url)
    return load_settings()


def with_an_app(settings: Settings) -> str:
    with open_admin(settings) as admin:
        return admin.apps.create("one").app_id


def secret_key(settings: Settings) -> Check:
    return next(check for check in examine(settings) if check.name == "secret key")


def problem(settings: Settings) -> Check:
    check = secret_key(settings)
    assert not check.ok, check.found
    assert "delete" not in check.mend
    return check


def test_a_new_installation_makes_its_key(settings: Settings) -> None:
    assert "not made yet" in secret_key(settings).found
    with_an_app(settings)
    check = secret_key(settings)
    assert (check.ok, check.found) == (True, f"{settings.secret_key_file}, readable by its owner alone")


def test_a_lost_key_is_told_and_no_other_takes_its_place(settings: Settings) -> None:
    app_id = with_an_app(settings)
    key = settings.secret_key_file
    key.rename(key.with_suffix(".away"))
    for _ in range(2):
        with pytest.raises(KeyringError, match="is missing"), open_admin(settings):
            pass
        with pytest.raises(Failure, match="no master key"):
            CliRunner().invoke(application, ["key", "rotate"], catch_exceptions=False)
        assert not key.exists()
        assert "is missing" in problem(settings).found
    assert "lost" not in problem(settings).mend
    assert CliRunner().invoke(application, ["key", "add"]).exit_code == 0
    assert len(key.read_text().split()) == 1  # faces are named by the oldest: no other may lie behind it
    assert app_id in problem(settings).found  # it is there, and does not open
    with open_admin(settings) as admin:
        admin.apps.rotate(app_id)
    assert secret_key(settings).ok


def test_of_two_first_starts_the_slower_one_takes_the_key_of_the_other(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = migrations.upgrade

    def slower(url: str) -> None:
        monkeypatch.setattr(migrations, "upgrade", upgrade)
        upgrade(url)
        with_an_app(settings)  # the other one, from beginning to end

    monkeypatch.setattr(migrations, "upgrade", slower)
    with open_admin(settings) as admin:
        (app,) = admin.apps.list()
        assert admin.apps.secret(app)


def test_what_else_is_lost_is_told(settings: Settings) -> None:
    with open_admin(settings) as admin:
        admin.register.put(Person(claim(1), None, None), b"handed in")
    settings.secret_key_file.unlink()
    with pytest.raises(KeyringError, match="is missing"), open_admin(settings):
        pass
    assert "lost" in problem(settings).mend


def test_a_key_that_cannot_be_read_is_sound_perhaps(settings: Settings) -> None:
    with_an_app(settings)
    key = settings.secret_key_file
    content = key.read_text()
    key.write_text(content[:40])
    assert "backup" in problem(settings).mend
    key.unlink()
    key.mkdir(mode=0o700)  # which not even root can read as a file
    found = problem(settings)
    assert "cannot be read" in found.found
    assert "chown" in found.mend
    assert "rotate" not in found.mend


def test_a_backup_without_its_key_goes_on_with_a_new_one(
    settings: Settings, empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app_id = with_an_app(settings)
    run = CliRunner().invoke
    assert run(application, ["backup", str(tmp_path / "backup")]).exit_code == 0
    monkeypatch.setenv("AIPFACE_HOME", str(tmp_path / "new"))
    monkeypatch.setenv("AIPFACE_DATABASE_URL", empty_database_url)
    done = run(application, ["restore", "--any-key", str(tmp_path / "backup")])
    assert done.exit_code == 0, done.output
    assert app_id in problem(load_settings()).found
    assert run(application, ["app", "rotate", app_id]).exit_code == 0
