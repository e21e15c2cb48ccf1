"""``aipface identity``: what is asked for wrongly is told before anything is opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.failures import MISUSED, Failure
from service.cli.main import application
from tests.fixtures.people import number

NAME = "韦小宝"


def failure(*arguments: str, typed: str = "") -> Failure:
    result = CliRunner().invoke(application, ["identity", *arguments], input=typed)
    assert isinstance(result.exception, Failure), result.output
    assert NAME not in result.output
    return result.exception


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("add", "123", "--name", NAME), "that is no number of an identity card"),
        (("add", number(1), "--name", "张3"), "that is no name"),
        (("add", number(1), "--name", NAME, "--valid-from", "x"), "--valid-from: not eight digits"),
        (("add", number(1), "--name", NAME, "--valid-from", "20160304"), "--valid-to"),
        (("add", number(1), "--name", NAME, "--picture", "FOLDER/none.jpg"), "none.jpg"),
        (("import", "FOLDER/empty.csv"), "has no column id_card_number and no column name"),
        (("import", "FOLDER/none.csv"), "cannot be read as CSV"),
        (("import", "FOLDER/empty.csv", "--pictures", "FOLDER/none"), "there is no folder"),
    ],
)
def test_what_is_asked_for_wrongly(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    told = failure(*(argument.replace("FOLDER", str(tmp_path)) for argument in arguments))
    assert words in str(told)
    assert told.status == MISUSED
    assert number(1) not in str(told)


def test_numbers_and_names_are_asked_for_and_not_shown() -> None:
    assert "that is no name" in str(failure("add", typed=f"{number(1)}\n张3\n"))
    assert "that is no number" in str(failure("add", "--name", NAME, typed="1234567\n"))
