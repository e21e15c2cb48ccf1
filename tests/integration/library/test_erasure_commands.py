"""``aipface erase`` and ``aipface user export`` of people who are in the register of identities too."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.administration import Admin, open_admin
from service.cli.failures import FAILED, MISUSED, Failure
from service.cli.main import application
from service.identity.claims import check_character
from service.identity.register import Person
from service.settings import load_settings
from service.values import App
from tests.fixtures.library import enrol, random_embedding
from tests.fixtures.people import claim, number

WITH_LETTER = next(each for each in range(1000) if number(each).endswith("X"))
"""Somebody whose number people type in several ways."""
TYPED = f" {number(WITH_LETTER).lower()} \n"
NOBODYS = number(WITH_LETTER + 1)


@pytest.fixture
def admin(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Admin]:
    """The parts of the installation that the commands below work on."""
    monkeypatch.setenv("AIPFACE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIPFACE_DATABASE_URL", database_url)
    with open_admin(load_settings()) as admin:
        yield admin


@pytest.fixture
def app(admin: Admin) -> App:
    """An app with one user, who is in the register of all apps."""
    app = admin.apps.by_app_id(admin.apps.create("one").app_id)
    assert app is not None
    enrol(admin.database, app, "group", "ada", "token", random_embedding(1))
    admin.register.put(Person(claim(WITH_LETTER), None, None), b"handed in")
    return app


def ran(*arguments: str, typed: str = "") -> Result:
    result = CliRunner().invoke(application, arguments, input=typed)
    assert NOBODYS not in result.output
    assert number(WITH_LETTER) not in result.output
    return result


def failure(result: Result) -> tuple[str, int]:
    assert isinstance(result.exception, Failure), result.output
    return str(result.exception), result.exception.status


def users(admin: Admin, app: App) -> list[str]:
    with admin.database.read() as reader:
        return [entry.group_id for entry in reader.users.entries(app.pk, "ada")]


def test_a_number_is_known_however_it_is_typed(admin: Admin, app: App, tmp_path: Path) -> None:
    out = tmp_path / "ada.zip"
    done = ran("user", "export", app.app_id, "ada", "--identity", "--out", str(out), typed=TYPED)
    assert done.exit_code == 0, done.output
    with zipfile.ZipFile(out) as archive:
        assert json.loads(archive.read("person.json"))["identity"]["number"] == number(WITH_LETTER)
    done = ran("erase", "user", app.app_id, "ada", "--identity", "--yes", typed=TYPED)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout[done.stdout.index("{") :])["identity"] is True
    assert admin.register.find(number(WITH_LETTER)) is None
    assert users(admin, app) == []


def test_what_is_no_number_erases_nothing(admin: Admin, app: App, tmp_path: Path) -> None:
    digits = number(WITH_LETTER)[:17]
    wrong = digits + ("0" if check_character(digits) != "0" else "1")
    for command in (("user", "export", "--out", str(tmp_path / "x.zip")), ("erase", "user", "--yes")):
        told, status = failure(ran(*command[:2], app.app_id, "ada", *command[2:], "--identity", typed=f"{wrong}\n"))
        assert (told.startswith("that is no number of an identity card"), status) == (True, MISUSED)
    assert users(admin, app) == ["group"]
    assert not (tmp_path / "x.zip").exists()


def test_a_number_that_nobody_has_is_told_when_the_rest_is_erased(admin: Admin, app: App) -> None:
    done = ran("erase", "user", app.app_id, "ada", "--identity", "--yes", typed=f"{NOBODYS}\n")
    told, status = failure(done)
    assert ("nobody with that number" in told, status) == (True, FAILED)
    receipt = json.loads(done.stdout[done.stdout.index("{") :])
    assert (receipt["counts"]["users"], receipt["identity"]) == (1, False)
    assert users(admin, app) == []


def test_somebody_whom_the_library_does_not_know_goes_from_the_register(admin: Admin, app: App) -> None:
    done = ran("erase", "user", app.app_id, "eve", "--yes")
    assert str(done.exception) == f"nothing is known of a user eve in app {app.app_id}"
    done = ran("erase", "user", app.app_id, "eve", "--identity", "--yes", typed=TYPED)
    assert str(done.exception) == f"nothing is known of a user eve in app {app.app_id}"
    done = ran("erase", "user", app.app_id, "eve", "--identity", "--gone", "--yes", typed=TYPED)
    assert (done.exit_code, "nobody is enrolled as eve" in done.stderr) == (0, True)
    assert admin.register.find(number(WITH_LETTER)) is None


def test_what_a_vector_database_keeps_is_told_where_one_is_in_use(
    app: App, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for backend, told in (("memory", False), ("milvus", True)):
        monkeypatch.setenv("AIPFACE_MILVUS_URI", str(tmp_path / "milvus.db"))
        monkeypatch.setenv("AIPFACE_SEARCH_BACKEND", backend)
        done = ran("erase", "user", app.app_id, "ada", "--gone", "--yes")
        remains = json.loads(done.stdout[done.stdout.index("{") :])["remains"]
        assert any("Milvus" in each for each in remains) is told, backend


def test_notes_of_imports_in_the_home_go_with_an_app(app: App, tmp_path: Path) -> None:
    folder = tmp_path / "home" / "imports"
    folder.mkdir()
    for owner in (app.app_id, f"{app.app_id}1"):
        (folder / f"{owner}-model-none.txt").write_text(f"{'0' * 32} token\n")
    done = ran("erase", "app", app.app_id, "--yes")
    assert done.exit_code == 0, done.output
    assert [path.name for path in folder.glob("*.txt")] == [f"{app.app_id}1-model-none.txt"]


def test_notes_that_could_not_be_looked_through_are_told_with_the_receipt(
    admin: Admin, app: App, tmp_path: Path
) -> None:
    notes = tmp_path / "home" / "imports" / f"{app.app_id}-model-none.txt"
    notes.mkdir(parents=True)  # no file
    done = ran("erase", "user", app.app_id, "ada", "--yes")
    told, status = failure(done)
    assert (told.startswith("notes of imports could not be looked through"), status) == (True, FAILED)
    receipt = json.loads(done.stdout[done.stdout.index("{") :])
    assert receipt["counts"]["users"] == 1
    assert receipt["remains"][0].startswith("notes of imports could not be looked through")
    assert users(admin, app) == []
