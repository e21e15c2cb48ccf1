"""``aipface console``: the password is set, and removed."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.failures import Failure
from service.cli.main import application
from service.console.password import FILE, PasswordFile

PASSWORD = "correct horse battery"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIPFACE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("options", "typed"), [(["--stdin"], f"{PASSWORD}\n"), ([], f"{PASSWORD}\n{PASSWORD}\n")], ids=["line", "asked"]
)
def test_the_password_is_set_and_removed(home: Path, options: list[str], typed: str) -> None:
    done = CliRunner().invoke(application, ["console", "password", *options], input=typed)
    assert done.exit_code == 0, done.output
    assert PASSWORD not in done.output
    assert PasswordFile(home / FILE).accepts(PASSWORD)
    assert CliRunner().invoke(application, ["console", "off"]).exit_code == 0
    assert PasswordFile(home / FILE).content is None
    assert CliRunner().invoke(application, ["console", "off"]).exit_code == 0


@pytest.mark.usefixtures("home")
def test_a_short_one_is_refused_in_a_sentence() -> None:
    refused = CliRunner().invoke(application, ["console", "password", "--stdin"], input="short\n")
    assert isinstance(refused.exception, Failure)
    assert "at least 10" in str(refused.exception)
